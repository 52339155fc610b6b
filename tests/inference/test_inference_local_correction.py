"""A correction of an outline changes the region of the click alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_scsam.core.geometry import Plane
from napari_scsam.core.prompts import PointPrompt, Prompts, PromptSet
from napari_scsam.inference.answering import Answering, LoadedModels
from napari_scsam.inference.local_correction import corrected_near, log_odds_of
from napari_scsam.inference.messages import Question
from napari_scsam.models import Decoded, Embedding

SHAPE = (30, 40)


def square(*corners: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    for r0, c0, r1, c1 in corners:
        mask[r0:r1, c0:c1] = True
    return mask


# SAM loses the outline's right half, and finds two parts more: one of them touches at a corner.
OUTLINE = square((10, 10, 20, 30))
ANSWER = square((10, 10, 20, 20), (5, 4, 10, 10), (25, 30, 29, 38))


def answer(mask: np.ndarray = ANSWER) -> Decoded:
    return Decoded(mask, np.where(mask, 1.5, -1.5).astype(np.float32), 0.9)


def click(row: int, col: int, positive: bool = True) -> PointPrompt:
    return PointPrompt(row, col, 1, positive)


def test_an_inside_click_adds_its_region_and_loses_nothing() -> None:
    found = corrected_near(log_odds_of(OUTLINE), answer(), click(6, 5))
    np.testing.assert_array_equal(found.mask, OUTLINE | square((5, 4, 10, 10)))
    np.testing.assert_array_equal(found.mask, found.logits > 0)
    assert found.logits[6, 5] == 1.5


def test_an_outside_click_removes_its_region_and_adds_nothing() -> None:
    found = corrected_near(log_odds_of(OUTLINE), answer(), click(15, 25, positive=False))
    np.testing.assert_array_equal(found.mask, square((10, 10, 20, 20)))


def test_an_outside_click_beside_the_outline_changes_nothing() -> None:
    found = corrected_near(log_odds_of(OUTLINE), answer(), click(2, 35, positive=False))
    np.testing.assert_array_equal(found.mask, OUTLINE)


def test_a_click_reaches_no_farther_than_twice_its_distance_from_the_border() -> None:
    everything = answer(np.ones(SHAPE, bool))
    found = corrected_near(log_odds_of(OUTLINE), everything, click(20, 12))  # just below it
    added = np.argwhere(found.mask & ~OUTLINE)
    assert found.mask[OUTLINE].all()
    assert 0 < np.hypot(*(added - (20, 12)).T).max() <= 2
    more = corrected_near(log_odds_of(OUTLINE), everything, click(24, 12))
    assert found.mask.sum() < more.mask.sum() < np.prod(SHAPE)


@pytest.mark.parametrize(("where", "positive"), [((15, 35), True), ((15, 12), False)])
def test_a_click_that_sam_does_not_follow_changes_a_disc_up_to_the_border(
    where: tuple[int, int], positive: bool
) -> None:
    found = corrected_near(log_odds_of(OUTLINE), answer(), click(*where, positive))
    assert found.mask[where] == positive
    changed = np.argwhere(found.mask != OUTLINE)
    depth = 6 if positive else 3  # to the nearest pixel of the other side
    assert np.hypot(*(changed - where).T).max() <= depth
    assert len(changed) > depth**2


def test_a_click_on_a_pixel_that_is_right_changes_nothing() -> None:
    found = corrected_near(log_odds_of(OUTLINE), answer(), click(15, 12))
    np.testing.assert_array_equal(found.mask, OUTLINE)
    assert found.iou == 1 > answer().iou  # of the outline, not of SAM's mask for the click


class Sam:
    """Follows clicks, and always answers the same."""

    understands_points, device, base_hash = True, "cpu", "b"

    def __init__(self) -> None:
        self.asked: list[Prompts] = []

    def decode(self, _embedding: Any, prompts: Prompts, *, class_id: Any = None) -> Decoded:
        self.asked.append(prompts)
        return answer()


class Cache:
    def get_or_embed(self, _sam: Any, pixels: Any, _cancel: Any = None) -> Embedding:
        return Embedding(None, pixels.shape[:2], np.ones(SHAPE, np.float32), "key")  # type: ignore[arg-type]


class Round:
    """Suggests the outline."""

    class_ids = (1,)

    def __init__(self, sam: Sam) -> None:
        self.sam = self.base = sam

    def decode(self, *_: Any, proposed: bool) -> Decoded:
        assert proposed
        return answer(OUTLINE)


def label(prompts: PromptSet, *, draft: Any = None, with_round: bool = False) -> np.ndarray:
    """The displayed label."""
    sam: Any = Sam()
    made: Any = Round(sam) if with_round else None
    cache: Any = Cache()
    pixels = np.arange(np.prod(SHAPE), dtype=float).reshape(SHAPE)
    folder = Path("rounds/0001") if with_round else None
    question = Question(("image", Plane()), pixels, prompts, folder, draft)
    return Answering(LoadedModels(sam, made), cache).decode(question).preview > 0


def test_a_suggestion_a_draft_and_a_committed_label_are_corrected_where_the_click_is() -> None:
    proposed = PointPrompt(15, 15, 1, origin="model", state="proposed", round=1)
    wanted = OUTLINE | square((5, 4, 10, 10))
    suggested = PromptSet((proposed, click(6, 5)))
    np.testing.assert_array_equal(label(suggested, with_round=True), wanted)
    two = PromptSet((proposed, click(6, 5), click(15, 25, positive=False)))
    expected = wanted & ~square((10, 20, 20, 30))
    np.testing.assert_array_equal(label(two, with_round=True), expected)
    draft = OUTLINE.astype(np.uint8)
    np.testing.assert_array_equal(label(PromptSet((click(6, 5),)), draft=draft), wanted)


def test_each_of_several_outside_clicks_takes_its_part_from_a_draft() -> None:
    draft = (OUTLINE | square((25, 2, 29, 8))).astype(np.uint8)
    first, second = click(11, 28, positive=False), click(15, 25, positive=False)
    one = label(PromptSet((first,)), draft=draft)
    both = label(PromptSet((first, second)), draft=draft)
    assert not one[11, 28] and not both[11, 28] and not both[15, 25]
    assert both.sum() < one.sum()


@pytest.mark.parametrize("positive", [True, False])
def test_a_click_on_another_part_of_a_draft_than_the_box_keeps_that_part(positive: bool) -> None:
    other = square((25, 2, 29, 38))
    draft, box = (OUTLINE | other).astype(np.uint8), {(1, 1): (4.0, 4.0, 20.0, 34.0)}
    alone = label(PromptSet(boxes=box), draft=draft)
    assert alone[other].all()
    clicked = label(PromptSet((click(27, 5, positive),), box), draft=draft)
    np.testing.assert_array_equal(clicked & ~other, alone & ~other)
    assert clicked[27, 20] and clicked[27, 5] == positive


def test_the_mask_of_a_box_is_corrected_where_the_click_is() -> None:
    prompts = PromptSet((click(17, 22),), {(1, 1): (4.0, 4.0, 20.0, 20.0)})
    corrected = label(prompts)
    np.testing.assert_array_equal(corrected[:, :20], ANSWER[:, :20])
    assert corrected[17, 22] and not corrected[17, 30]


def test_sams_own_clicks_take_its_whole_answer() -> None:
    clicks = PromptSet((click(15, 15), click(6, 5)))
    np.testing.assert_array_equal(label(clicks), ANSWER)


def test_the_border_is_found_however_far_the_click_is() -> None:
    outline, nothing = np.zeros((40, 400), bool), np.zeros((40, 400), bool)
    outline[:, :100] = True
    found = corrected_near(log_odds_of(outline), answer(nothing), click(20, 300))
    added = np.argwhere(found.mask & ~outline)
    assert added[:, 1].min() == 100  # the disc reaches the outline, 201 pixels away
    assert found.mask[20, 101:].all()
