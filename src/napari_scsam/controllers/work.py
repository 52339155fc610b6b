"""The person's work as immutable values: prompts of every plane, and label versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from napari_scsam.core.arrays import Logits
from napari_scsam.core.geometry import Plane
from napari_scsam.core.labels import BACKGROUND, NOT_ANNOTATED
from napari_scsam.core.log_odds import label_of
from napari_scsam.core.prompts import Box, Kind, ObjectKey, PointPrompt, PromptSet, State
from napari_scsam.core.volume import LabelArray, take_plane
from napari_scsam.models import Decoded

SliceKey = tuple[str, Plane]


@dataclass(frozen=True, eq=False)
class Draft:
    """A mask that was carried over from a neighbouring plane.

    Attributes
    ----------
    label : ndarray of shape (rows, cols), uint8
    flag : str
        Why the plane wants a look; empty where nothing speaks against the mask.
    """

    label: LabelArray
    flag: str = ""


@dataclass(frozen=True)
class Work:
    """One step of the history; undo goes back to the one before.

    Attributes
    ----------
    at : (image id, Plane), optional
        Where the step was taken, so that undo can show it.
    prompts : mapping of (image id, Plane) to PromptSet
        Only planes that have any.
    versions : mapping of image id to int or None
        Label version after the step, of the images committed in this session.
    drafts : mapping of (image id, Plane) to Draft
        Masks carried over from a neighbouring plane, which nobody has accepted yet.
    """

    at: SliceKey | None = None
    prompts: Mapping[SliceKey, PromptSet] = field(default_factory=dict)
    versions: Mapping[str, int | None] = field(default_factory=dict)
    drafts: Mapping[SliceKey, Draft] = field(default_factory=dict)

    def prompts_at(self, key: SliceKey) -> PromptSet:
        """Prompts of one plane; an empty set where there are none."""
        return self.prompts.get(key, PromptSet())

    def with_prompts(self, key: SliceKey, prompts: PromptSet) -> Work:
        """Same work with the prompts of one plane replaced."""
        others = {k: v for k, v in self.prompts.items() if k != key}
        if not prompts.is_empty:
            others[key] = prompts
        return replace(self, at=key, prompts=others)

    def with_drafts(self, drafts: Mapping[SliceKey, Draft | None]) -> Work:
        """Same work with the drafts of some planes replaced; None takes one away."""
        merged = {**self.drafts, **drafts}
        return replace(self, drafts={k: d for k, d in merged.items() if d is not None})

    def with_version(self, image_id: str, version: int | None) -> Work:
        """Same work with the label version of one image replaced."""
        return replace(self, versions={**self.versions, image_id: version})


def replace_point(prompts: PromptSet, index: int, point: PointPrompt) -> PromptSet:
    """`prompts` with point `index` replaced."""
    points = (*prompts.points[:index], point, *prompts.points[index + 1 :])
    return replace(prompts, points=points)


def edited(point: PointPrompt) -> PointPrompt:
    """`point` as a person's decision: a proposal becomes 'edited' and certain."""
    if point.origin == "model":
        return replace(point, state="edited", confidence=1.0)
    return replace(point, state="accepted", confidence=1.0)


def flipped(point: PointPrompt) -> PointPrompt:
    """`point` with the other polarity, as a person's decision."""
    positive = not point.positive
    kind: Kind = "confirm" if positive else "negative"
    return edited(replace(point, positive=positive, kind=kind))


def with_state(prompts: PromptSet, state: State) -> PromptSet:
    """`prompts` with every proposal that waits for a decision set to `state`."""
    points = tuple(replace(p, state=state) if p.state == "proposed" else p for p in prompts.points)
    return replace(prompts, points=points)


def with_proposals(
    prompts: PromptSet, proposals: Iterable[PointPrompt], class_ids: Iterable[int]
) -> PromptSet:
    """`prompts` with the undecided proposals of some classes replaced by new ones."""
    asked = set(class_ids)
    kept = [p for p in prompts.points if p.state != "proposed" or p.class_id not in asked]
    return replace(prompts, points=(*kept, *proposals))


def without_point(prompts: PromptSet, index: int) -> PromptSet:
    """`prompts` without a person's point; a deleted proposal is kept as rejected."""
    point = prompts.points[index]
    if point.origin == "model":
        return replace_point(prompts, index, replace(point, state="rejected"))
    return replace(prompts, points=prompts.points[:index] + prompts.points[index + 1 :])


def is_question(point: PointPrompt) -> bool:
    """Whether a proposal asks to be answered."""
    return point.kind in ("query", "missed") and point.state == "proposed"


def answered(point: PointPrompt, inside: bool) -> PointPrompt:
    """`point` with a person's answer to "is this inside?"."""
    return edited(point) if point.positive == inside else flipped(point)


def next_question(prompts: PromptSet, after: int | None) -> int | None:
    """Index of the next point that asks something, from the start again at the end."""
    waiting = [i for i, p in enumerate(prompts.points) if is_question(p)]
    later = [i for i in waiting if after is not None and i > after]
    return next(iter(later or waiting), None)


def with_box(prompts: PromptSet, key: ObjectKey, box: Box | None) -> PromptSet:
    """`prompts` with the box of one object replaced, or taken away."""
    boxes = {k: v for k, v in prompts.boxes.items() if k != key}
    if box is not None:
        boxes[key] = box
    return replace(prompts, boxes=boxes)


def to_decode(prompts: PromptSet) -> PromptSet:
    """`prompts` without the "maybe missed" points that nobody has decided on.

    They ask to be looked at; a mask for them would show what is probably not there.
    """
    decided = (p for p in prompts.points if p.kind != "missed" or p.state != "proposed")
    return replace(prompts, points=tuple(decided))


def accepted(prompts: PromptSet) -> PromptSet:
    """`prompts` as a commit accepts them: what took part in the mask, and no more."""
    points = tuple(
        replace(p, state="accepted") if p.state == "proposed" and p.kind != "missed" else p
        for p in prompts.points
    )
    return replace(prompts, points=points)


def askable_objects(prompts: PromptSet, drafted: Iterable[int] = ()) -> tuple[ObjectKey, ...]:
    """Objects with a box, a stroke or a point inside; what is outside says nothing to decode.

    Parameters
    ----------
    prompts : PromptSet
    drafted : iterable of int
        Classes that a draft shows already: for their first object, outside is enough.
    """
    inside = {p.object_key for p in prompts.points if p.positive and p.state != "rejected"}
    inside |= {s.object_key for s in prompts.strokes if s.positive}
    first = {(class_id, 1) for class_id in drafted}
    return tuple(sorted(inside | set(prompts.boxes) | (first & set(prompts.objects()))))


def asked_in_turn(prompts: PromptSet, key: ObjectKey) -> list[PromptSet]:
    """The prompts of one object as they were asked, a person's later clicks one by one.

    What the model proposed, boxes and strokes come first, together. The answer to each entry
    is fed back with the next, so that the mask follows from the prompts alone, whatever was
    undone on the way.
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
    # Clicks outside alone can't be asked: they wait for the first one that can.
    return [s for s in sets if askable_objects(s)] or sets[-1:]


def compose(
    decoded: Mapping[ObjectKey, Decoded], shape: tuple[int, int], draft: LabelArray | None = None
) -> LabelArray:
    """One label plane out of the masks of several objects.

    Where masks overlap, the class with the higher log-odds has the pixel.

    Parameters
    ----------
    decoded : mapping of (class id, object number) to Decoded
    shape : (rows, cols)
    draft : ndarray of shape (rows, cols), uint8, optional
        What stays of the classes that nothing was asked about.

    Returns
    -------
    ndarray of shape (rows, cols), uint8
        0 where no class is inside.
    """
    odds: dict[int, Logits] = {}
    for (class_id, _), answer in decoded.items():
        odds[class_id] = np.maximum(odds.get(class_id, -np.inf), answer.logits)
    left = None if draft is None else np.where(np.isin(draft, list(odds)), BACKGROUND, draft)
    return label_of(odds, shape, left)


def crossing(
    drafts: Mapping[Plane, LabelArray], plane: Plane, shape: tuple[int, ...]
) -> LabelArray | None:
    """What drafts along the other axes show on `plane` of a volume; None where none crosses it.

    Parameters
    ----------
    drafts : mapping of Plane to ndarray of shape (rows, cols), uint8
    plane : Plane
    shape : tuple of int
        The image's spatial shape.

    Returns
    -------
    ndarray of shape (rows, cols), uint8, or None
    """
    others = {p: label for p, label in drafts.items() if p.axis != plane.axis}
    if not others:
        return None
    axes = [axis for axis in range(3) if axis != plane.axis]
    shown = np.zeros([shape[axis] for axis in axes], np.uint8)
    for other, label in others.items():
        across = [axis for axis in range(3) if axis != other.axis].index(plane.axis)
        line = np.take(label, plane.index, axis=across)
        np.moveaxis(shown, axes.index(other.axis), 0)[other.index] = line
    return shown


def merge_plane(
    before: LabelArray | None, preview: LabelArray, plane: Plane, touched: Iterable[int]
) -> LabelArray:
    """The label plane to commit: `preview` over what was committed there before.

    Parameters
    ----------
    before : ndarray of uint8, optional
        The committed label of the whole image.
    preview : ndarray of shape (rows, cols), uint8
        What the person sees and accepts.
    plane : Plane
        Where `preview` lies.
    touched : iterable of int
        Classes that were asked for on this plane; the others keep their pixels.
    """
    if before is None:
        return preview.copy()
    merged: LabelArray = np.array(take_plane(before, plane, before.ndim))
    merged[merged == NOT_ANNOTATED] = BACKGROUND
    merged[np.isin(merged, list(touched))] = BACKGROUND
    merged[preview > 0] = preview[preview > 0]
    return merged
