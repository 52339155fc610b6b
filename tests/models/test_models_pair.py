from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Never

import numpy as np
import pytest

from napari_scsam.core.errors import ModelError
from napari_scsam.core.prompts import Prompts
from napari_scsam.models import Decoded, Embedding
from napari_scsam.models.pair import Pair, load_round

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_scsam.core.arrays import FloatArray, Pixels


class FixedUNet:
    """Says the same of every plane: classes 2 and 5, by thirds."""

    class_ids = (2, 5)

    def probabilities(
        self, image: Pixels, around: Any = None, embedding: Embedding | None = None
    ) -> FloatArray:
        maps = np.empty((3, *image.shape[:2]), np.float32)
        maps[0], maps[1], maps[2] = 0.2, 0.7, 0.1
        return maps


class FixedSam:
    """Logit 0 for class 2 and log 2 for class 5, and remembers what it was asked."""

    understands_points = False

    def __init__(self) -> None:
        self.asked = []

    def embed(self, image: Pixels) -> Embedding:
        return Embedding(None, image.shape[:2], np.zeros((2, 2), np.float32), "k")

    def decode(
        self, embedding: Embedding, prompts: Prompts, *, class_id: int | None = None
    ) -> Decoded:
        self.asked.append((class_id, prompts))
        logits = np.full(embedding.shape, {2: 0.0, 5: np.log(2)}[class_id], np.float32)
        return Decoded(logits > 0, logits, 0.5)


def plane() -> np.ndarray:
    return np.arange(30.0).reshape(5, 6)


def test_sam_is_asked_for_each_class_and_set_against_background() -> None:
    sam = FixedSam()
    found = Pair(FixedUNet(), sam).probabilities(plane(), which="sam")
    np.testing.assert_allclose(found[:, 0, 0], [0.25, 0.25, 0.5], rtol=1e-6)
    assert [class_id for class_id, _ in sam.asked] == [2, 5]
    assert all(prompts.is_empty for _, prompts in sam.asked)


def test_the_pair_mixes_by_its_shares() -> None:
    pair = Pair(FixedUNet(), FixedSam(), unet_shares=[1.0, 0.5])
    found = pair.probabilities(plane())
    raw = np.array([0.75 * 0.2 + 0.25 * 0.25, 0.7, 0.5 * 0.1 + 0.5 * 0.5])
    np.testing.assert_allclose(found[:, 2, 3], raw / raw.sum(), rtol=1e-5)
    np.testing.assert_allclose(found.sum(0), 1, rtol=1e-5)
    assert found.dtype == np.float32


def test_the_pair_mixes_with_sam_prompted_by_the_unet_where_it_learned_that() -> None:
    sam = FixedSam()
    pair = Pair(FixedUNet(), sam, unet_shares=[1.0, 0.5], partner="prompted")
    found = pair.probabilities(plane())
    # SAM is asked for class 2 alone, which the U-Net found; of class 5 the U-Net's map stays.
    prompted = np.array([1.0, 1.0, 0.1 / 0.2]) / 2.5
    raw = np.array([0.75 * 0.2 + 0.25 * prompted[0], 0.7, 0.5 * 0.1 + 0.5 * prompted[2]])
    np.testing.assert_allclose(found[:, 2, 3], raw / raw.sum(), rtol=1e-5)
    ((class_id, prompts),) = sam.asked
    assert class_id == 2 and prompts.box is not None and prompts.mask is not None
    members = pair.members(plane(), None)
    np.testing.assert_allclose(members["prompted"][:, 2, 3], prompted, rtol=1e-5)
    np.testing.assert_allclose(members["pair"], found, rtol=1e-5)


def test_an_empty_slice_is_background_and_costs_no_embedding() -> None:
    class NoSam(FixedSam):
        def embed(self, image: Pixels) -> Never:
            raise AssertionError("embedded")

    found = Pair(FixedUNet(), NoSam()).probabilities(np.zeros((4, 7)))
    assert found.shape == (3, 4, 7)
    assert (found[0] == 1).all() and (found[1:] == 0).all()


def test_the_unet_alone_needs_no_embedding() -> None:
    class NoSam(FixedSam):
        def embed(self, image: Pixels) -> Never:
            raise AssertionError("embedded")

    found = Pair(FixedUNet(), NoSam()).probabilities(plane(), which="unet")
    np.testing.assert_array_equal(found, FixedUNet().probabilities(plane()))


def make_manifest(folder: Path, **changes: Any) -> None:
    names = ["unet.safetensors", "config.json", "sam_adapter/adapter_model.safetensors"]
    (folder / "sam_adapter").mkdir()
    for name in names:
        (folder / name).write_bytes(name.encode())
    files = {name: hashlib.sha256(name.encode()).hexdigest() for name in names} | changes
    (folder / "manifest.json").write_text(json.dumps({"files": files}))


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: None, "not a finished round"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "not a finished round"),
        (lambda folder: (folder / "manifest.json").write_text("{}"), "does not list the weights"),
        (
            lambda folder: make_manifest(folder, **{"unet.safetensors": "0" * 64}),
            "not the file that the round wrote",
        ),
        (
            lambda folder: make_manifest(folder, **{"../secret": "0" * 64}),
            "outside its folder",
        ),
    ],
)
def test_folders_that_are_no_round_are_refused(
    tmp_path: Path, prepare: Callable[[Path], object], message: str
) -> None:
    prepare(tmp_path)
    with pytest.raises(ModelError, match=message):
        load_round(tmp_path, device="cpu")


class ClickableSam(FixedSam):
    """Follows clicks: inside everywhere."""

    understands_points = True

    def decode(
        self, embedding: Embedding, prompts: Prompts, *, class_id: int | None = None
    ) -> Decoded:
        self.asked.append((class_id, prompts))
        logits = np.full(embedding.shape, 3.0, np.float32)
        return Decoded(logits > 0, logits, 0.9, "points")


def test_until_the_rounds_sam_follows_clicks_its_base_is_asked_about_them() -> None:
    sam, base = FixedSam(), ClickableSam()
    pair = Pair(FixedUNet(), sam, base=base)
    embedding = sam.embed(plane())
    click = Prompts([(1, 1)], [1])
    # A class that the round does not know, and a click beside a box.
    assert pair.decode(plane(), embedding, click, class_id=9).via == "points"
    boxed = Prompts([(1, 1)], [1], box=(0, 0, 3, 3))
    assert pair.decode(plane(), embedding, boxed, class_id=2).via == "points"
    assert len(base.asked) == 2 and not sam.asked
    # A box alone is the round's own.
    pair.decode(plane(), embedding, Prompts(box=(0, 0, 3, 3)), class_id=5)
    assert len(sam.asked) == 1


def test_clicks_that_miss_the_outline_go_to_the_base() -> None:
    class Nothing(FixedUNet):
        def probabilities(
            self, image: Pixels, around: Any = None, embedding: Embedding | None = None
        ) -> FloatArray:
            maps = np.zeros((3, *image.shape[:2]), np.float32)
            maps[0] = 1
            return maps

    base = ClickableSam()
    pair = Pair(Nothing(), FixedSam(), unet_shares=[1.0, 1.0], base=base)
    found = pair.decode(plane(), FixedSam().embed(plane()), Prompts([(1, 1)], [1]), class_id=2)
    assert found.via == "outline" and found.mask.all()
    assert [prompts.points for _, prompts in base.asked] == [((1.0, 1.0),)]
