"""SAM asked once more for what U-Net and SAM found together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.core.prompts import Prompts, bounding_box
from napari_scsam.models import Decoded, Embedding
from napari_scsam.models.pair import Pair
from napari_scsam.models.self_prompting import largest_parts, refined

if TYPE_CHECKING:
    from napari_scsam.core.arrays import FloatArray, Pixels

SHAPE = (60, 80)
TOLD = Embedding(None, SHAPE, np.zeros((2, 2), np.float32), "k")


class BoxSam:
    """Fills the box that it is asked by; without one it knows class 3 everywhere, faintly."""

    understands_points = True
    device = "cpu"

    def __init__(self) -> None:
        self.asked = []

    def embed(self, image: Pixels) -> Embedding:
        return TOLD

    def decode(
        self, embedding: Embedding, prompts: Prompts, *, class_id: int | None = None
    ) -> Decoded:
        logits = np.full(embedding.shape, -6.0, np.float32)
        if prompts.box is None:
            logits[:] = 0.1 if class_id == 3 else -6.0
        else:
            self.asked.append((class_id, prompts))
            r0, c0, r1, c1 = (int(v) for v in prompts.box)
            logits[r0 : r1 + 1, c0 : c1 + 1] = 6.0
        return Decoded(logits > 0, logits, 0.5)


class TwoBlobs:
    """Class 3 as a cross, a second part, and a speck; class 4 as a bar."""

    class_ids = (3, 4)

    def __init__(self) -> None:
        self.three = np.zeros(SHAPE, bool)
        self.three[10:31, 18:23] = self.three[18:23, 10:31] = True
        self.three[40:50, 60:70] = True
        self.three[2:4, 70:73] = True
        self.four = np.zeros(SHAPE, bool)
        self.four[52:58, 5:30] = True

    def probabilities(
        self, image: Pixels, around: Any = None, embedding: Embedding | None = None
    ) -> FloatArray:
        maps = np.full((3, *SHAPE), 0.01, np.float32)
        maps[1][self.three], maps[2][self.four] = 0.97, 0.97
        maps[0] = 1 - maps[1:].sum(0)
        return maps


def test_large_parts_first_and_no_specks() -> None:
    unet = TwoBlobs()
    first, second = largest_parts(unet.three)
    assert first.sum() == 185 and second.sum() == 100
    assert bounding_box(first) == (10, 10, 30, 30)
    assert largest_parts(np.zeros(SHAPE, bool)) == []
    many = np.zeros((60, 60), bool)
    for at in range(6):
        many[10 * at : 10 * at + 5 + at // 3, 0:8] = True
    assert len(largest_parts(many)) == 4


def test_each_part_is_asked_for_by_its_box_and_outline() -> None:
    sam, unet = BoxSam(), TwoBlobs()
    odds = np.where(unet.three, 20.0, -20.0).astype(np.float32)
    found = refined(sam, TOLD, odds, 3)
    # The boxes of 21 and of 10 px have 5/256 of 80 px and a tenth of 10 px of air.
    (_, one), (_, two) = sam.asked
    np.testing.assert_allclose(one.box, (8.4375, 8.4375, 31.5625, 31.5625))
    np.testing.assert_allclose(two.box, (39, 59, 50, 70))
    assert (found > 0).sum() == 24 * 24 + 12 * 12
    assert one.mask.max() == 8 and one.mask.min() == -8
    assert one.mask[20, 20] > 0 > one.mask[45, 65]  # the other part is not this one's
    assert refined(sam, TOLD, -np.abs(odds), 3) is None


def test_only_guided_classes_are_asked_again_and_the_rest_stays() -> None:
    picture = np.arange(SHAPE[0] * SHAPE[1], dtype=float).reshape(SHAPE)
    plain = Pair(TwoBlobs(), BoxSam(), [1.0, 1.0]).members(picture, TOLD)
    sam, unet = BoxSam(), TwoBlobs()
    guided = Pair(unet, sam, [1.0, 1.0], guided=[True, False]).members(picture, TOLD)
    for member in ("unet", "sam"):
        np.testing.assert_array_equal(guided[member], plain[member])
    label = guided["pair"].argmax(0)
    # By the U-Net's map, both classes; by that of the pair, the guided one.
    asked = [class_id for class_id, _ in sam.asked]
    assert (asked.count(3), asked.count(4)) == (4, 1)
    np.testing.assert_array_equal(label == 2, unet.four)
    assert (label == 1).sum() == 24 * 24 + 12 * 12
    np.testing.assert_allclose(guided["pair"].sum(0), 1, rtol=1e-5)
    np.testing.assert_array_equal(plain["pair"].argmax(0) == 1, unet.three)
