"""The walk through a volume and the blend of two sides, with steps that are known by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from napari_scsam.core.errors import InputError
from napari_scsam.propagation.settings import SETTINGS
from napari_scsam.propagation.walk import (
    TWO_SIDES,
    Carried,
    Trail,
    label_of,
    propagate,
)

SHAPE = (12, 40)


def column(at: int, class_id: int = 1, width: int = 4) -> np.ndarray:
    label = np.zeros(SHAPE, np.uint8)
    label[4:8, at : at + width] = class_id
    return label


class Mover:
    """A step that moves every mask by some columns, and stops classes where it is told to."""

    def __init__(self, by: int = 0, stops: dict[tuple[int, int], str] | None = None) -> None:
        self.by, self.stops = by, stops or {}
        self.asked: list[int] = []

    def __call__(self, index: int, trail: Trail) -> Carried:
        self.asked.append(index)
        logits, flags = {}, {}
        for class_id in trail.areas:
            if (index, class_id) in self.stops:
                flags[class_id] = self.stops[index, class_id]
            else:
                moved = np.roll(trail.label == class_id, self.by, axis=1)
                logits[class_id] = np.where(moved, 4.0, -4.0).astype(np.float32)
        label = label_of(logits, SHAPE)
        return Carried(Trail(label, dict.fromkeys(logits, (1,))), logits, flags)


def last_of_each(
    step: Any, anchors: Any, count: int, spacing: float | None = None
) -> dict[int, Any]:
    return {filled.index: filled for filled in propagate(step, anchors, count, spacing)}


def test_one_plane_fills_the_volume_both_ways_and_is_not_asked_itself() -> None:
    step = Mover()
    found = last_of_each(step, {3: column(5)}, 8)
    assert sorted(found) == [0, 1, 2, 4, 5, 6, 7]
    assert all((filled.label == column(5)).all() for filled in found.values())
    assert step.asked[0] == 3  # to learn, once
    assert sorted(step.asked[1:]) == sorted(found)


def test_a_class_goes_on_where_another_has_stopped() -> None:
    anchor = np.maximum(column(5, 1), column(20, 2))
    found = last_of_each(Mover(stops={(2, 2): "area doubled"}), {0: anchor}, 6)
    assert found[1].label.max() == 2
    assert found[2].flags == {2: "area doubled"}
    assert [found[i].label.max() for i in (2, 3, 4, 5)] == [1, 1, 1, 1]
    assert not found[3].flags


def test_nothing_is_asked_beyond_the_plane_where_the_last_class_stopped() -> None:
    step = Mover(stops={(2, 1): "no outline found"})
    found = last_of_each(step, {0: column(5)}, 9)
    assert step.asked == [0, 1, 2]
    assert not found[2].label.any()


def test_between_two_planes_the_nearer_side_weighs_more() -> None:
    step = Mover()
    found = last_of_each(step, {0: column(5), 5: column(7)}, 6)
    for index, expected in ((1, column(5)), (2, column(5)), (3, column(7)), (4, column(7))):
        np.testing.assert_array_equal(found[index].label, expected)
    assert sorted(step.asked) == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]


def test_sides_that_do_not_meet_want_a_look_and_sides_that_do_settle_a_doubt() -> None:
    apart = last_of_each(Mover(), {0: column(5), 3: column(30)}, 4)
    assert [apart[i].flags for i in (1, 2)] == [{1: TWO_SIDES}] * 2

    class Doubter(Mover):
        def __call__(self, index: int, trail: Trail) -> Carried:
            carried = super().__call__(index, trail)
            return Carried(carried.trail, carried.logits, {1: "outline unsure"})

    once = [filled.flags for filled in propagate(Doubter(), {0: column(5), 3: column(5)}, 4)]
    assert {1: "outline unsure"} in once  # while only one side had come
    settled = last_of_each(Doubter(), {0: column(5), 3: column(5)}, 4)
    assert [settled[i].flags for i in (1, 2)] == [{}, {}]


def test_a_side_that_stopped_leaves_the_gap_to_the_other() -> None:
    found = last_of_each(Mover(stops={(2, 1): "area halved"}), {0: column(5), 6: column(5)}, 7)
    # Stopped at 2 on its way up from 0, and at 2 again on the way down from 6.
    assert not found[2].label.any()
    assert found[2].flags == {1: "area halved"}
    assert all(found[i].label.any() for i in (1, 3, 4, 5))


def test_stopping_early_keeps_what_was_made() -> None:
    kept = {}
    for filled in propagate(Mover(), {4: column(5)}, 9):
        kept[filled.index] = filled
        if len(kept) == 3:
            break
    assert len(kept) == 3
    assert all(filled.label.any() for filled in kept.values())


class Shaky(Mover):
    """Outlines of the annotated plane, with a pixel of its own too many on each plane."""

    def __call__(self, index: int, trail: Trail) -> Carried:
        carried = super().__call__(index, replace(trail, label=column(5)))
        odds = carried.logits[1].copy()
        odds[10, index % SHAPE[1]] = 4
        # Not told to the next plane.
        return Carried(carried.trail, {1: odds}, {1: "area grew"} if index == 6 else {})


def test_planes_that_lie_close_are_evened_and_their_doubts_stay() -> None:
    found = last_of_each(Shaky(), {4: column(5)}, 10, SETTINGS.smoothing_mm / 2)
    assert sorted(found) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    for filled in found.values():
        np.testing.assert_array_equal(filled.label, column(5))
    assert found[6].flags == {1: "area grew"}
    assert not found[5].flags


@pytest.mark.parametrize("spacing", [None, 10.0])
def test_planes_that_lie_apart_are_left_as_they_are(spacing: float | None) -> None:
    found = last_of_each(Shaky(), {4: column(5)}, 10, spacing)
    assert all(filled.label[10, index] == 1 for index, filled in found.items())


def test_what_moves_too_far_from_plane_to_plane_is_not_evened_away() -> None:
    found = last_of_each(Mover(by=6), {0: column(5)}, 5, SETTINGS.smoothing_mm / 4)
    for index in (1, 2, 3, 4):  # it has moved once where it learns
        np.testing.assert_array_equal(found[index].label, column(11 + 6 * index))


def test_255_is_no_class() -> None:
    label = column(5)
    label[0] = 255
    assert Trail.start(label).areas == {1: (16,)}


@pytest.mark.parametrize("anchors", [{}, {9: column(5)}, {-1: column(5)}])
def test_planes_that_are_not_there_are_refused(anchors: Any) -> None:
    with pytest.raises(InputError, match="slices 0 to 3"):
        list(propagate(Mover(), anchors, 4))
