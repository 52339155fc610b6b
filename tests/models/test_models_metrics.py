"""Metrics against brute force: every pair of surface pixels, by scipy's cdist."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from napari_scsam.core.errors import InputError
from napari_scsam.models import evaluate
from napari_scsam.models.metrics import surface_distances


def surface(mask: np.ndarray) -> np.ndarray:
    """Coordinates of a mask's pixels that have a face neighbour outside it."""
    padded = np.pad(mask, 1)
    inside = np.ones_like(padded)
    for axis in range(mask.ndim):
        inside &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
    return np.argwhere(padded & ~inside) - 1


def brute_force(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...]) -> tuple[float, float]:
    distances = cdist(surface(a) * spacing, surface(b) * spacing)
    there, back = distances.min(axis=1), distances.min(axis=0)
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return hd95, np.concatenate([there, back]).mean()


def ball(shape: tuple[int, ...], centre: Any, radii: Any) -> np.ndarray:
    grid = np.indices(shape).astype(float)
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) <= 1


CASES = {
    "shifted discs": (
        ball((90, 70), (40, 30), (20, 12)),
        ball((90, 70), (44, 37), (17, 14)),
        (1.0, 1.0),
    ),
    "anisotropic pixels": (
        ball((60, 60), (30, 30), (20, 20)),
        ball((60, 60), (30, 36), (16, 20)),
        (0.5, 2.0),
    ),
    "touching the border": (
        ball((40, 50), (2, 5), (12, 15)),
        ball((40, 50), (0, 0), (10, 20)),
        (1.0, 1.0),
    ),
    "anisotropic voxels": (
        ball((12, 40, 36), (6, 18, 18), (4, 12, 10)),
        ball((12, 40, 36), (7, 20, 16), (3, 14, 9)),
        (5.0, 0.7, 0.9),
    ),
    "one pixel each": (
        ball((20, 20), (3, 4), (0.5, 0.5)),
        ball((20, 20), (9, 12), (0.5, 0.5)),
        (2.0, 1.0),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_distances_equal_brute_force(name: str) -> None:
    a, b, spacing = CASES[name]
    assert surface_distances(a, b, spacing) == pytest.approx(brute_force(a, b, spacing), rel=1e-5)


def test_a_disc_moved_62_pixels_down_is_62_pixels_away() -> None:
    truth = ball((256, 256), (90, 120), (30, 30)).astype(np.uint8)
    moved = np.roll(truth, 62, axis=0)
    score = evaluate(moved, truth).classes[0]
    assert score.dice == 0
    assert 60 < score.hd95 <= 62


def counted(predicted: np.ndarray, truth: np.ndarray, class_id: int) -> tuple[float, float]:
    """Dice and IoU by sets of pixels, those that are not annotated left out."""
    known = {place for place in np.ndindex(truth.shape) if truth[place] != 255}
    a = {place for place in known if predicted[place] == class_id}
    b = {place for place in known if truth[place] == class_id}
    if not a | b:
        return 1.0, 1.0
    return 2 * len(a & b) / (len(a) + len(b)), len(a & b) / len(a | b)


@pytest.mark.parametrize("shape", [(17, 23), (5, 9, 11)])
def test_overlap_equals_brute_force_with_several_classes_and_gaps(shape: tuple[int, ...]) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        truth = rng.choice([0, 1, 2, 255], shape, p=[0.5, 0.2, 0.1, 0.2]).astype(np.uint8)
        predicted = np.where(rng.random(shape) < 0.6, truth, rng.integers(0, 3, shape))
        predicted[predicted == 255] = 2
        names = {1: "a", 2: "b", 3: "in neither"}
        found = evaluate(predicted, truth, class_names=names)
        for score in found.classes:
            expected = counted(predicted, truth, score.class_id)
            assert (score.dice, score.iou) == pytest.approx(expected, abs=1e-12)
        assert found.classes[0].dice < 1 and found.classes[2].dice == 1


@pytest.mark.parametrize("name", CASES)
def test_an_evaluation_measures_each_class_in_the_given_spacing(name: str) -> None:
    predicted, truth, spacing = CASES[name]
    # Class 2 is class 1 upside down, so that neither's distances can stand in for the other's.
    both = [np.where(m, 1, np.where(m[::-1], 2, 0)) for m in (predicted, truth)]
    found = evaluate(*both, spacing_mm=spacing)
    assert found.unit == "mm" and len(found.classes) == 2
    for score in found.classes:
        masks = [labels == score.class_id for labels in both]
        expected = brute_force(*masks, spacing)
        assert (score.hd95, score.assd) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(6, 7), (4, 6, 7)])
@pytest.mark.parametrize("spacing", [1.0, 2.5])
def test_distances_of_empty_masks_are_none_or_endless_in_any_spacing(
    shape: tuple[int, ...], spacing: float
) -> None:
    empty, full = np.zeros(shape, bool), np.ones(shape, bool)
    steps = (spacing,) * len(shape)
    assert surface_distances(empty, empty, steps) == (0, 0)
    assert surface_distances(empty, full, steps) == (math.inf, math.inf)
    assert surface_distances(full, empty, steps) == (math.inf, math.inf)
    assert surface_distances(full, full, steps) == (0, 0)


def test_overlap_counts_are_right() -> None:
    truth = np.zeros((4, 5), np.uint8)
    truth[:2] = 1
    predicted = np.zeros_like(truth)
    predicted[1:3] = 1
    score = evaluate(predicted, truth).classes[0]
    assert (score.dice, score.iou) == (0.5, pytest.approx(1 / 3))
    assert (score.truth_pixels, score.predicted_pixels) == (10, 10)


def test_empties_follow_the_stated_rule() -> None:
    empty, full = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    full[2:5, 2:5] = 1
    names = {1: "organ"}
    both = evaluate(empty, empty, class_names=names).classes[0]
    assert (both.dice, both.iou, both.hd95, both.assd) == (1, 1, 0, 0)
    for pair in ((empty, full), (full, empty)):
        result = evaluate(*pair, class_names=names)
        score = result.classes[0]
        assert (score.dice, score.iou, score.hd95, score.assd) == (0, 0, math.inf, math.inf)
        written = json.loads(json.dumps(result.to_dict(), allow_nan=False))
        assert written["classes"][0]["hd95"] is None


def test_pixels_that_are_not_annotated_do_not_count() -> None:
    truth = np.zeros((2, 6, 6), np.uint8)
    truth[0, 1:4, 1:4] = 1
    truth[1] = 255
    predicted = truth.copy()
    predicted[1] = 1
    score = evaluate(predicted, truth).classes[0]
    assert (score.dice, score.hd95, score.predicted_pixels) == (1, 0, 9)


def test_unit_and_spacing() -> None:
    truth = np.zeros((6, 9), np.uint8)
    truth[2, 2] = 1
    predicted = np.roll(truth, 3, axis=1)
    assert evaluate(predicted, truth).unit == "px"
    assert evaluate(predicted, truth).classes[0].hd95 == 3
    result = evaluate(predicted, truth, spacing_mm=(1, 0.4))
    assert (result.unit, result.classes[0].assd) == ("mm", pytest.approx(1.2))


def test_classes_are_told_apart_and_named() -> None:
    truth = np.array([[1, 1, 2, 2]] * 4, np.int64)
    result = evaluate(truth[:, ::-1], truth, class_names={1: "left", 2: "right", 3: "absent"})
    assert [(s.name, s.dice) for s in result.classes] == [("left", 0), ("right", 0), ("absent", 1)]
    assert result.mean_dice == pytest.approx(1 / 3)


ONE = np.eye(4, dtype=np.uint8)


@pytest.mark.parametrize(
    ("prediction", "truth", "options", "says"),
    [
        (ONE, ONE[:3], {}, "shape"),
        (ONE * 0.5, ONE, {}, "whole numbers"),
        (ONE.astype(int) * -1, ONE, {}, "0 to 255"),
        (ONE * 255, ONE, {}, "--map 255=1"),
        (ONE * 0, ONE * 255, {}, "--map 255=1"),
        (ONE * 7, ONE, {"class_names": {1: "organ"}}, "--map 7=1"),
        (ONE * 0, ONE * 0, {}, "nothing to compare"),
        (ONE, ONE, {"spacing_mm": (1, 1, 1)}, "spacing"),
        (ONE, ONE, {"spacing_mm": (0, 1)}, "spacing"),
        (ONE, np.full((4, 4), 255), {}, "annotated"),
        (np.full((4, 4), np.nan), ONE, {}, "whole numbers"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(
    prediction: np.ndarray, truth: np.ndarray, options: Any, says: str
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        evaluate(prediction, truth, **options)
    assert "\n" not in str(caught.value)
