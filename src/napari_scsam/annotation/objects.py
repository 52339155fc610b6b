"""Which object of a class a prompt belongs to, and which prompts it replaces."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.core.prompt_edits import is_drawn, without_point
from napari_scsam.core.prompts import pixels_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.prompts import Box, ObjectKey, Point, PointPrompt, PromptSet

# Pixels. Derived: a narrower box contains no pixel centre for certain.
LEAST_SIDE = 1.0


def object_numbers(prompts: PromptSet, class_id: int) -> tuple[int, ...]:
    """Numbers of a class's objects that have any prompt, ascending."""
    return tuple(number for owner, number in prompts.objects() if owner == class_id)


def another_object(prompts: PromptSet, class_id: int) -> int:
    """The number of the class's next object."""
    return max(object_numbers(prompts, class_id), default=0) + 1


def object_for_outline(prompts: PromptSet, active: ObjectKey, box: Box) -> ObjectKey:
    """The object that a box or a lasso belongs to.

    If the active object has no positive prompt yet, or the outline overlaps it, the outline
    belongs to the active object. Otherwise it belongs to the object of the class that it
    overlaps, or to a new one if it overlaps none.

    Parameters
    ----------
    prompts : PromptSet
    active : (class id, object number)
    box : (row0, col0, row1, col1)
        The box, or the bounding box of the lasso.
    """
    class_id, _ = active
    if extent(prompts, active) is None:
        return active
    keys = [active, *((class_id, n) for n in object_numbers(prompts, class_id))]
    met = (key for key in keys if _meet(extent(prompts, key), box))
    return next(met, (class_id, another_object(prompts, class_id)))


def extent(prompts: PromptSet, key: ObjectKey) -> Box | None:
    """Bounding box of an object's positive prompts; None if it has none."""
    places: list[Point] = [
        (p.row, p.col)
        for p in prompts.points
        if p.object_key == key and p.positive and p.state != "rejected"
    ]
    for stroke in prompts.strokes:
        if stroke.object_key == key and stroke.positive:
            places += stroke.path
    if key in prompts.boxes:
        r0, c0, r1, c1 = prompts.boxes[key]
        places += [(r0, c0), (r1, c1)]
    return box_round(places) if places else None


def box_round(places: Iterable[Point]) -> Box:
    """The bounding box of `places` (row, col)."""
    rows_cols = np.asarray(list(places), float)
    (r0, c0), (r1, c1) = rows_cols.min(axis=0), rows_cols.max(axis=0)
    return (float(r0), float(c0), float(r1), float(c1))


def has_area(box: Box) -> bool:
    """Whether a box is large enough to contain a pixel."""
    r0, c0, r1, c1 = box
    return r1 - r0 >= LEAST_SIDE and c1 - c0 >= LEAST_SIDE


def _meet(a: Box | None, b: Box) -> bool:
    if a is None:
        return False
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def with_point(prompts: PromptSet, point: PointPrompt, at: int | None = None) -> PromptSet:
    """`prompts` with a point added, or replacing point `at`.

    It replaces earlier points of the same object on the same pixel, which it would repeat or
    contradict.
    """
    if at is None:
        points = (*prompts.points, point)
    else:
        points = (*prompts.points[:at], point, *prompts.points[at + 1 :])
    placed = replace(prompts, points=points)
    for index in reversed(range(len(points))):
        if points[index] is not point and _same_place(points[index], point):
            placed = without_point(placed, index)
    return placed


def finds_it_right(
    prompts: PromptSet, label: LabelArray, begun: LabelArray | None, point: PointPrompt
) -> bool:
    """Whether a click lies where the outline that it corrects is right, so that it changes nothing.

    An outline of clicks alone is none that is corrected: SAM segments all of its clicks anew.

    Parameters
    ----------
    prompts : PromptSet
        Prompts of the plane, without the click.
    label : ndarray of shape (rows, cols), uint8
        The displayed label.
    begun : ndarray of shape (rows, cols), uint8, optional
        The label that the plane had before the prompts.
    point : PointPrompt
        The click.
    """
    mine = (p for p in prompts.points if p.object_key == point.object_key)
    suggested = any(p.origin == "model" and p.state != "rejected" for p in mine)
    outlined = suggested or is_drawn(prompts, point.object_key)
    if not outlined and (begun is None or not (begun == point.class_id).any()):
        return False
    (row, col) = pixels_of([(point.row, point.col)], label.shape)[0]
    return bool((label[row, col] == point.class_id) == point.positive)


def _same_place(a: PointPrompt, b: PointPrompt) -> bool:
    same_pixel = (round(a.row), round(a.col)) == (round(b.row), round(b.col))
    return a.object_key == b.object_key and same_pixel


def without_stroke(prompts: PromptSet, index: int) -> PromptSet:
    """`prompts` without stroke `index`."""
    return replace(prompts, strokes=prompts.strokes[:index] + prompts.strokes[index + 1 :])
