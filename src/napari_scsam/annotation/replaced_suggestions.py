"""Suggested outlines that a click replaces, or that go with one of their points."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scipy import ndimage

from napari_scsam.annotation.objects import another_object
from napari_scsam.core.prompt_edits import is_drawn
from napari_scsam.core.prompts import pixels_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from napari_scsam.core.arrays import LabelArray, Mask
    from napari_scsam.core.prompts import PointPrompt, PromptSet


def replaced_by(
    prompts: PromptSet, label: LabelArray, point: PointPrompt
) -> tuple[PromptSet, PointPrompt] | None:
    """Reject the suggested outline that a click lies in, so that SAM segments the click alone.

    A click inside an outline does not say what is wrong with it, so it is no correction. A click
    beside the outline, or an outside click in it, is one.

    Parameters
    ----------
    prompts : PromptSet
        Prompts of the plane.
    label : ndarray of shape (rows, cols), uint8
        The displayed label.
    point : PointPrompt
        The click.

    Returns
    -------
    prompts : PromptSet
        With the suggested points of the outline rejected, and without the click.
    point : PointPrompt
        The click; of a new object if the class has other suggested outlines.

    None if nothing is replaced: the click is outside of each suggested outline, or a person has
    added to this object before.
    """
    mine = [p for p in prompts.points if p.object_key == point.object_key and p.state != "rejected"]
    drawn = is_drawn(prompts, point.object_key)
    if not point.positive or drawn or any(p.state != "proposed" for p in mine):
        return None
    hit = _outlined_with(mine, label, point)
    if not hit:
        return None
    others = any(p.kind == "confirm" and p not in hit for p in mine)
    # What was asked about the outline is settled, too, unless another one is left to ask about.
    number = another_object(prompts, point.class_id) if others else point.object_id
    return _rejected(prompts, hit if others else mine), replace(point, object_id=number)


def without_outline(prompts: PromptSet, label: LabelArray, index: int) -> PromptSet:
    """Reject a suggested point, and those that suggest the same connected outline.

    Otherwise the outline would stay, since each of its points stands for all of it.

    Parameters
    ----------
    prompts : PromptSet
    label : ndarray of shape (rows, cols), uint8
        The displayed label.
    index : int
        Of a proposed point of kind 'confirm'.
    """
    point = prompts.points[index]
    mine = [p for p in prompts.points if p.object_key == point.object_key]
    hit = _outlined_with([p for p in mine if p.state == "proposed"], label, point)
    return _rejected(prompts, [point, *hit])


def _outlined_with(
    points: Iterable[PointPrompt], label: LabelArray, point: PointPrompt
) -> list[PointPrompt]:
    """Return those points of outlines that are in the same connected part of a class as another."""
    outline = _part_at(label == point.class_id, point)
    if outline is None:
        return []
    return [p for p in points if p.kind == "confirm" and _is_in(outline, p)]


def _rejected(prompts: PromptSet, points: Collection[PointPrompt]) -> PromptSet:
    changed = (replace(p, state="rejected") if p in points else p for p in prompts.points)
    return replace(prompts, points=tuple(changed))


def _part_at(mask: Mask, point: PointPrompt) -> Mask | None:
    """Return the connected part of a mask (rows, cols) that a point is in."""
    if not _is_in(mask, point):
        return None
    parts, _ = ndimage.label(mask)
    (row, col) = pixels_of([(point.row, point.col)], mask.shape)[0]
    part: Mask = parts == parts[row, col]
    return part


def _is_in(mask: Mask, point: PointPrompt) -> bool:
    (row, col) = pixels_of([(point.row, point.col)], mask.shape)[0]
    return bool(mask[row, col])
