"""Edits of the prompts of a plane, as pure functions from prompts to prompts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_scsam.core.prompts import Box, Kind, ObjectKey, PointPrompt, PromptSet, State

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


def replace_point(prompts: PromptSet, index: int, point: PointPrompt) -> PromptSet:
    """Return `prompts` with point `index` replaced."""
    points = (*prompts.points[:index], point, *prompts.points[index + 1 :])
    return replace(prompts, points=points)


def edited(point: PointPrompt) -> PointPrompt:
    """Return `point` as a person's decision: a proposal becomes 'edited' with confidence 1."""
    if point.origin == "model":
        return replace(point, state="edited", confidence=1.0)
    return replace(point, state="accepted", confidence=1.0)


def flipped(point: PointPrompt) -> PointPrompt:
    """Return `point` with the other polarity, as a person's decision."""
    positive = not point.positive
    kind: Kind = "confirm" if positive else "negative"
    return edited(replace(point, positive=positive, kind=kind))


def with_state(prompts: PromptSet, state: State) -> PromptSet:
    """Return `prompts` with every undecided proposal set to `state`."""
    points = tuple(replace(p, state=state) if p.state == "proposed" else p for p in prompts.points)
    return replace(prompts, points=points)


def with_proposals(
    prompts: PromptSet, proposals: Iterable[PointPrompt], class_ids: Iterable[int]
) -> PromptSet:
    """Return `prompts` with the undecided proposals of some classes replaced by new ones."""
    ids = set(class_ids)
    kept = [p for p in prompts.points if p.state != "proposed" or p.class_id not in ids]
    return replace(prompts, points=(*kept, *proposals))


def without_point(prompts: PromptSet, index: int) -> PromptSet:
    """Return `prompts` without a person's point; a deleted proposal is kept as rejected."""
    point = prompts.points[index]
    if point.origin == "model":
        return replace_point(prompts, index, replace(point, state="rejected"))
    return replace(prompts, points=prompts.points[:index] + prompts.points[index + 1 :])


def is_question(point: PointPrompt) -> bool:
    """Whether a proposal asks for a decision."""
    return point.kind in ("query", "missed") and point.state == "proposed"


def answered(point: PointPrompt, inside: bool) -> PointPrompt:
    """Return `point` with a person's answer to "is this inside?"."""
    return edited(point) if point.positive == inside else flipped(point)


def next_question(prompts: PromptSet, after: int | None) -> int | None:
    """Return the index of the next point that asks for a decision, cyclically."""
    waiting = [i for i, p in enumerate(prompts.points) if is_question(p)]
    later = [i for i in waiting if after is not None and i > after]
    return next(iter(later or waiting), None)


def with_box(prompts: PromptSet, key: ObjectKey, box: Box | None) -> PromptSet:
    """Return `prompts` with the box of one object replaced or removed."""
    boxes = {k: v for k, v in prompts.boxes.items() if k != key}
    if box is not None:
        boxes[key] = box
    return replace(prompts, boxes=boxes)


def to_decode(prompts: PromptSet) -> PromptSet:
    """Return `prompts` without the undecided points that are not part of a suggested outline.

    The points of kind 'confirm' stand for the outline that the models suggest. The others ask for
    a decision about it; decoded, they would change it before anyone has decided.
    """
    return replace(prompts, points=tuple(p for p in prompts.points if not _is_open(p)))


def accepted(prompts: PromptSet) -> PromptSet:
    """Return `prompts` as accepted by a commit: only those that took part in the mask."""
    points = tuple(
        replace(p, state="accepted") if p.state == "proposed" and not _is_open(p) else p
        for p in prompts.points
    )
    return replace(prompts, points=points)


def _is_open(point: PointPrompt) -> bool:
    """Whether a point has no part in the mask until a person decides about it."""
    return point.state == "proposed" and point.kind != "confirm"


def is_drawn(prompts: PromptSet, key: ObjectKey) -> bool:
    """Whether an object has a box or a stroke."""
    return key in prompts.boxes or any(s.object_key == key for s in prompts.strokes)


def askable_objects(prompts: PromptSet, drafted: Iterable[int] = ()) -> tuple[ObjectKey, ...]:
    """Return the objects with a box, a stroke or an inside point, which can be decoded.

    Parameters
    ----------
    prompts : PromptSet
    drafted : iterable of int
        Classes in a draft: for their first object, outside prompts are sufficient.
    """
    inside = {p.object_key for p in prompts.points if p.positive and p.state != "rejected"}
    inside |= {s.object_key for s in prompts.strokes if s.positive}
    first = {(class_id, 1) for class_id in drafted}
    return tuple(sorted(inside | set(prompts.boxes) | (first & set(prompts.objects()))))


def of_classes(prompts: PromptSet, class_ids: Collection[int]) -> PromptSet:
    """Return the prompts of some classes alone."""
    return PromptSet(
        tuple(p for p in prompts.points if p.class_id in class_ids),
        {key: box for key, box in prompts.boxes.items() if key[0] in class_ids},
        tuple(s for s in prompts.strokes if s.class_id in class_ids),
    )


def without(prompts: PromptSet, others: PromptSet) -> PromptSet:
    """Return the prompts that are not among `others`."""
    return PromptSet(
        tuple(p for p in prompts.points if p not in others.points),
        {key: box for key, box in prompts.boxes.items() if others.boxes.get(key) != box},
        tuple(s for s in prompts.strokes if s not in others.strokes),
    )


def decode_steps(prompts: PromptSet, key: ObjectKey, *, begun: bool = False) -> list[PromptSet]:
    """Return the prompts for each decode of one object, adding a person's later clicks one by one.

    Proposals, boxes and strokes come first, together. The mask of each entry is the mask prompt of
    the next, so that the final mask depends on the prompts alone, regardless of what was undone.
    With `begun` there is a mask before the first entry.
    """
    mine = [p for p in prompts.points if p.object_key == key and p.state != "rejected"]
    together = [p for p in mine if p.origin == "model"]
    one_by_one = [p for p in mine if p.origin == "person"]
    strokes = tuple(s for s in prompts.strokes if s.object_key == key)
    boxes = {k: v for k, v in prompts.boxes.items() if k == key}
    if not (together or strokes or boxes):
        together, one_by_one = one_by_one[:1], one_by_one[1:]
    sets = [
        PromptSet((*together, *one_by_one[:n]), boxes, strokes) for n in range(len(one_by_one) + 1)
    ]
    if begun:
        return sets
    # Outside clicks alone can't be decoded: they wait for the first step that can.
    return [s for s in sets if askable_objects(s)] or sets[-1:]
