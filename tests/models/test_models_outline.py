from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_scsam.core.prompts import Prompts, pixels_of
from napari_scsam.models import Decoded, Embedding
from napari_scsam.models.outline import expected_iou, log_odds, picked_parts
from napari_scsam.models.pair import Pair

if TYPE_CHECKING:
    from napari_scsam.core.arrays import FloatArray, Pixels


@pytest.fixture
def probabilities() -> FloatArray:
    """Two blobs of class 1 at the left and right, one of class 2 below; (3, 40, 60)."""
    maps = np.full((3, 40, 60), 0.05, np.float32)
    maps[0] = 0.9
    for position, rows, cols in (
        (1, slice(5, 15), slice(5, 20)),
        (1, slice(5, 15), slice(40, 55)),
        (2, slice(25, 35), slice(10, 30)),
    ):
        maps[:, rows, cols] = 0.05
        maps[position, rows, cols] = 0.9
    return maps


def test_log_odds_are_positive_where_the_class_wins(probabilities: FloatArray) -> None:
    won = probabilities.argmax(0)
    for position in (0, 1, 2):
        np.testing.assert_array_equal(log_odds(probabilities, position) > 0, won == position)


def test_a_click_picks_the_part_that_it_lies_on(probabilities: FloatArray) -> None:
    logits, missed = picked_parts(log_odds(probabilities, 1), Prompts([(10, 45)], [1]))
    assert (logits[5:15, 40:55] > 0).all()
    assert (logits > 0).sum() == 150
    assert missed.is_empty


@pytest.mark.parametrize(("place", "hit"), [((4.5, 10), True), ((14.5, 10), False)])
def test_between_two_pixels_a_click_means_the_one_that_it_means_to_a_sam_of_boxes(
    probabilities: FloatArray, place: Any, hit: bool
) -> None:
    _, missed = picked_parts(log_odds(probabilities, 1), Prompts([place], [1]))
    assert missed.is_empty is hit
    assert [tuple(at) for at in pixels_of([place], (40, 60))] == [(int(place[0] + 0.5), 10)]


def test_a_click_beside_every_part_is_left_for_sam_with_the_outside_clicks(
    probabilities: FloatArray,
) -> None:
    prompts = Prompts([(10, 10), (20, 30), (10, 45)], [1, 1, 0])
    logits, missed = picked_parts(log_odds(probabilities, 1), prompts)
    assert (logits > 0).sum() == 150 and logits[10, 10] > 0
    assert missed.points == ((20, 30), (10, 45)) and missed.labels == (1, 0)


def test_expected_iou_of_a_certain_and_of_an_undecided_mask() -> None:
    certain = np.where(np.arange(100).reshape(10, 10) < 40, 50.0, -50.0).astype(np.float32)
    assert expected_iou(certain, certain > 0) == pytest.approx(1)
    assert expected_iou(certain, np.zeros((10, 10), bool)) == 0
    undecided = np.zeros((10, 10), np.float32)
    half = certain > 0
    assert expected_iou(undecided, half) == pytest.approx(0.5 * 40 / (40 + 0.5 * 60))


class Unet:
    class_ids = (3, 7)

    def __init__(self, probabilities: Any) -> None:
        self.maps, self.calls = probabilities, 0

    def probabilities(
        self, image: Pixels, around: Any = None, embedding: Embedding | None = None
    ) -> FloatArray:
        self.calls += 1
        return self.maps


class Sam:
    """Answers a square around the first point, and nothing for class tokens."""

    def __init__(self, understands_points: bool = False) -> None:
        self.understands_points, self.asked = understands_points, []

    def decode(
        self, embedding: Embedding, prompts: Prompts, *, class_id: int | None = None
    ) -> Decoded:
        self.asked.append((prompts, class_id))
        logits = np.full(embedding.shape, -5.0, np.float32)
        if prompts.points:
            row, col = (int(v) for v in prompts.points[0])
            logits[row - 2 : row + 3, col - 2 : col + 3] = 5
        return Decoded(logits > 0, logits, 0.5, "points")


@pytest.fixture
def scene(probabilities: FloatArray) -> tuple[Any, Embedding, Any]:
    image = np.random.default_rng(0).random((40, 60)).astype(np.float32)
    return image, Embedding(None, (40, 60), image, "key"), Unet(probabilities)


def test_until_sam_follows_clicks_the_pairs_outline_is_picked_and_corrected(
    scene: tuple[Any, Embedding, Any],
) -> None:
    image, embedding, unet = scene
    sam = Sam()
    pair = Pair(unet, sam, [1.0, 1.0])
    one = pair.decode(image, embedding, Prompts([(10, 10)], [1]), 3)
    assert one.via == "outline" and one.mask.sum() == 150 and one.mask[5:15, 5:20].all()
    more = pair.decode(image, embedding, Prompts([(10, 10), (30, 50)], [1, 1]), 3)
    assert more.mask.sum() == 150 + 25 and more.mask[30, 50]
    less = pair.decode(image, embedding, Prompts([(10, 6), (10, 18)], [1, 0]), 3)
    assert less.mask[10, 6] and not less.mask[10, 18]
    assert unet.calls == 1  # the slice's maps are kept between clicks


def test_a_box_and_a_sam_that_follows_clicks_go_to_sam(scene: tuple[Any, Embedding, Any]) -> None:
    image, embedding, unet = scene
    for understands, prompts in (
        (True, Prompts([(9, 9)], [1])),
        (False, Prompts(box=(1, 1, 9, 9))),
    ):
        sam = Sam(understands)
        Pair(unet, sam).decode(image, embedding, prompts, 7)
        assert sam.asked == [(prompts, 7)]


def test_what_the_round_proposed_is_its_outline_even_where_sam_follows_clicks(
    scene: tuple[Any, Embedding, Any],
) -> None:
    image, embedding, unet = scene
    sam = Sam(understands_points=True)
    pair = Pair(unet, sam, [1.0, 1.0])
    one = pair.decode(image, embedding, Prompts([(10, 10)], [1]), 3, proposed=True)
    assert one.via == "outline" and one.mask.sum() == 150
    assert pair.decode(image, embedding, Prompts([(10, 10)], [1]), 3).mask.sum() == 25
