"""What stays of a label, whatever the models answer next."""

from __future__ import annotations

import numpy as np
import pytest

from napari_scsam.annotation.working_label import (
    WorkingLabel,
    already_included,
    changed_classes,
    drawable,
    initial_label,
    merged,
)
from napari_scsam.core.patches import Patch, patch_of
from napari_scsam.core.prompts import PointPrompt, PromptSet

SHAPE = (12, 12)


def square(value: int, r0: int, c0: int, r1: int, c1: int) -> np.ndarray:
    label = np.zeros(SHAPE, np.uint8)
    label[r0:r1, c0:c1] = value
    return label


def clicks(*points: tuple[int, int, int, bool]) -> PromptSet:
    return PromptSet(tuple(PointPrompt(r, c, value, inside) for r, c, value, inside in points))


def test_a_new_class_gets_what_is_free_and_a_switch_gives_it_the_rest() -> None:
    kept, asked = square(1, 2, 2, 8, 8), clicks((4, 4, 2, True))
    answer = square(2, 0, 0, 12, 12)
    free = merged(WorkingLabel(kept), asked, answer)
    np.testing.assert_array_equal(free == 1, kept == 1)
    assert (free[kept == 0] == 2).all()
    everything = merged(WorkingLabel(kept, over="all"), asked, answer)
    np.testing.assert_array_equal(everything, answer)
    three = kept + square(3, 9, 0, 12, 12)
    only = merged(WorkingLabel(three, over=3), asked, answer)
    np.testing.assert_array_equal(only == 1, kept == 1)
    assert not (only == 3).any()


def test_a_class_under_the_hand_may_shrink_and_others_do_not_move() -> None:
    before = square(1, 0, 0, 6, 6) + square(2, 6, 6, 12, 12)
    included = clicks((2, 2, 1, True), (8, 8, 2, True))
    asked = PromptSet((*included.points, PointPrompt(5, 5, 1, False)))
    after = merged(WorkingLabel(before, included), asked, square(1, 0, 0, 3, 3))
    np.testing.assert_array_equal(after == 1, square(1, 0, 0, 3, 3) == 1)
    np.testing.assert_array_equal(after == 2, before == 2)


def test_what_was_drawn_outlives_answers_until_a_click_contradicts_it_there() -> None:
    patch = patch_of(square(1, 8, 8, 10, 10) > 0, square(1, 8, 8, 10, 10))
    assert patch is not None
    included = clicks((2, 2, 1, True))
    working = WorkingLabel(square(1, 0, 0, 4, 4)).with_patch(patch, included, square(1, 0, 0, 4, 4))
    assert working.label[9, 9] == 1
    elsewhere = PromptSet((*included.points, PointPrompt(3, 3, 1)))
    assert merged(working, elsewhere, square(1, 0, 0, 4, 4))[9, 9] == 1
    against = PromptSet((*included.points, PointPrompt(9, 9, 1, False)))
    assert not merged(working, against, square(1, 0, 0, 4, 4))[8:10, 8:10].any()


def test_what_was_erased_is_not_filled_again() -> None:
    hole = patch_of(square(1, 3, 3, 5, 5) > 0, np.zeros(SHAPE, np.uint8))
    assert hole is not None
    whole, included = square(1, 0, 0, 8, 8), clicks((1, 1, 1, True))
    working = WorkingLabel(whole).with_patch(hole, included, whole)
    more = PromptSet((*included.points, PointPrompt(7, 7, 1)))
    again = merged(working, more, whole)
    assert not again[3:5, 3:5].any()
    assert again.sum() == whole.sum() - 4


def test_a_class_drawn_by_hand_is_asked_from_its_pixels_and_only_what_is_new() -> None:
    included = clicks((1, 1, 1, True), (9, 9, 2, True))
    shown = square(1, 0, 0, 4, 4) + square(2, 8, 8, 12, 12)
    patch = patch_of(square(1, 4, 0, 6, 2) > 0, square(1, 4, 0, 6, 2))
    assert patch is not None
    working = WorkingLabel(np.zeros(SHAPE, np.uint8)).with_patch(patch, included, shown)
    more = PromptSet((*included.points, PointPrompt(3, 3, 1)))
    begun = initial_label(working, None, more)
    np.testing.assert_array_equal(begun, working.label)
    assert already_included(working, more) == included
    # Class 2 was only asked for: it is asked again as a whole, as ever.
    other = PromptSet((*included.points, PointPrompt(9, 10, 2)))
    begun = initial_label(working, None, other)
    assert begun is not None
    assert not (begun == 2).any()
    assert {p.class_id for p in already_included(working, other).points} == {1}


def test_a_stroke_leaves_other_classes_alone_and_says_which() -> None:
    before = square(1, 0, 0, 6, 6)
    patch, left = drawable(before, square(2, 0, 0, 12, 12), "free", 2)
    assert patch is not None
    drawn = before.copy()
    patch.onto(drawn)
    np.testing.assert_array_equal(drawn == 1, before == 1)
    assert left == {1}
    patch, left = drawable(before, square(2, 0, 0, 12, 12), "all", 2)
    assert not left
    assert drawable(before, np.zeros(SHAPE, np.uint8), "free", 2) == (None, {1})
    patch, left = drawable(before, np.zeros(SHAPE, np.uint8), "free", 1)
    assert (patch is not None, left) == (True, set())


def test_a_patch_comes_back_from_the_journal_and_a_damaged_one_says_so() -> None:
    patch = patch_of(square(3, 2, 4, 5, 9) > 0, square(3, 2, 4, 5, 9))
    assert patch is not None
    again = Patch.from_json(patch.to_json())
    assert (again.row, again.col) == (2, 4)
    np.testing.assert_array_equal(again.values, patch.values)
    with pytest.raises(ValueError, match="damaged"):
        Patch.from_json({**patch.to_json(), "zlib": "AAAA"})


def test_only_classes_that_were_said_something_of_have_changed() -> None:
    included = clicks((1, 1, 1, True), (5, 5, 2, True))
    assert changed_classes(included, included) == frozenset()
    assert changed_classes(clicks((1, 1, 1, True)), included) == {2}
    assert changed_classes(PromptSet((*included.points, PointPrompt(2, 2, 3))), included) == {3}


def test_a_box_around_another_class_makes_a_ring_of_it() -> None:
    cavity = square(3, 4, 4, 8, 8)
    box = PromptSet(boxes={(2, 1): (1.0, 1.0, 10.0, 10.0)})
    inner = square(2, 4, 4, 8, 8)  # the model outlines the cavity again
    ring = merged(WorkingLabel(cavity), box, inner)
    np.testing.assert_array_equal(ring == 3, cavity == 3)
    assert ring[5, 1] == ring[1, 5] == ring[10, 5] == ring[5, 10] == 2
    assert ring[1, 1] == ring[0, 5] == 0
    outer = square(2, 1, 1, 11, 11)  # or the wall, as it should
    assert merged(WorkingLabel(cavity), box, outer)[1, 1] == 2
    replaced = merged(WorkingLabel(cavity, over="all"), box, inner)
    np.testing.assert_array_equal(replaced, inner)
    beside = PromptSet(boxes={(2, 1): (1.0, 6.0, 10.0, 10.0)})  # cuts through the cavity
    assert not (merged(WorkingLabel(cavity), beside, inner) == 2).any()
