"""Objects that overlap: whole regions win or lose, and a label that is there is corrected."""

from __future__ import annotations

import numpy as np

from napari_scsam.core.prompts import PointPrompt, PromptSet
from napari_scsam.inference.composing import compose
from napari_scsam.inference.correcting import begun_from, says_nothing
from napari_scsam.models import Decoded

SHAPE = (20, 20)


def decoded(mask: np.ndarray, sure: np.ndarray | float = 4.0) -> Decoded:
    logits = np.where(mask, sure, -4.0).astype(np.float32)
    return Decoded(logits > 0, logits, 0.9)


def disc(radius: float, row: float = 10, col: float = 10) -> np.ndarray:
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return (rows - row) ** 2 + (cols - col) ** 2 <= radius**2


def test_two_classes_never_interleave_however_their_odds_do() -> None:
    rng = np.random.default_rng(3)
    left, right = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    left[:, :12], right[:, 8:] = True, True
    odds = [rng.uniform(0.1, 6, SHAPE) for _ in range(2)]
    label = compose({(1, 1): decoded(left, odds[0]), (2, 1): decoded(right, odds[1])}, SHAPE)
    assert len(np.unique(label[:, 8:12])) == 1  # what both claim went to one of them
    assert (label[:, :8] == 1).all()
    assert (label[:, 12:] == 2).all()


def test_what_lies_within_another_structure_is_not_lost_to_it() -> None:
    wall, cavity = disc(8), disc(4)
    for first, second in ((1, 2), (2, 1)):
        label = compose({(first, 1): decoded(wall, 6.0), (second, 1): decoded(cavity, 1.0)}, SHAPE)
        np.testing.assert_array_equal(label == second, cavity)
        np.testing.assert_array_equal(label == first, wall & ~cavity)


def test_a_prompt_corrects_the_piece_that_it_touches() -> None:
    draft = (disc(3, 5, 5) | disc(3, 14, 14)).astype(np.uint8)
    near = PromptSet((PointPrompt(5, 6, 1),))
    np.testing.assert_array_equal(begun_from(draft, (1, 1), near), disc(3, 5, 5))
    beside = PromptSet((PointPrompt(5, 14, 1, False),))
    np.testing.assert_array_equal(begun_from(draft, (1, 1), beside), draft == 1)
    apart = PromptSet(boxes={(1, 1): (15.0, 2.0, 18.0, 5.0)})
    assert begun_from(draft, (1, 1), apart) is None
    assert begun_from(draft, (1, 2), beside) is None
    assert begun_from(draft, (2, 1), near) is None


def test_an_outside_click_beside_an_object_says_nothing_and_one_on_it_does() -> None:
    beside = PromptSet((PointPrompt(1, 1, 1, False),))
    assert says_nothing(beside, (1, 1), disc(4))
    assert not says_nothing(PromptSet((PointPrompt(10, 10, 1, False),)), (1, 1), disc(4))
    inside, outside = PointPrompt(10, 10, 1), beside.points[0]
    assert not says_nothing(PromptSet((inside, outside)), (1, 1), disc(4))
    assert not says_nothing(beside, (1, 1), None)
