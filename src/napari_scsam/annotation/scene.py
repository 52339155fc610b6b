"""Everything that is drawn, as a frozen value that a pure function computes from the state."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_scsam.annotation import view_state
from napari_scsam.annotation.view_state import PAINT_TOOLS, Situation, Tool, ViewState
from napari_scsam.annotation.work import crossing
from napari_scsam.core.geometry import Plane
from napari_scsam.core.prompts import Line, ObjectKey, PromptSet

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from napari_scsam.annotation.intensity_window import Contrast
    from napari_scsam.annotation.state import AnnotationState, OpenImage
    from napari_scsam.annotation.unfinished_outline import UnfinishedOutline
    from napari_scsam.annotation.working_label import Over
    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.labels import LabelClass
    from napari_scsam.inference.messages import Answer

# What dragging with the left button does where there is no point.
# "outline" moves the picture as "pan" does, but its clicks set vertices.
Drag = Literal["pan", "box", "scribble", "lasso", "outline"]
_DRAGS: Mapping[Tool, Drag] = {
    "box": "box",
    "scribble": "scribble",
    "lasso": "lasso",
    "smooth": "outline",
}


@dataclass(frozen=True)
class ShownPrompts:
    """The displayed prompts of one plane.

    Attributes
    ----------
    plane : Plane
    prompts : PromptSet
        Without rejected points.
    selected : int, optional
        The highlighted point.
    line : (class id, object number) or int, optional
        The highlighted box or stroke.
    active : (class id, object number), optional
        The other objects of its class are dimmed.
    outline : UnfinishedOutline, optional
    """

    plane: Plane = Plane()
    prompts: PromptSet = PromptSet()
    selected: int | None = None
    line: Line | None = None
    active: ObjectKey | None = None
    outline: UnfinishedOutline | None = None


@dataclass(frozen=True, eq=False)
class ShownMask:
    """An uncommitted mask; two are equal if they share the same array.

    Attributes
    ----------
    label : ndarray of shape (rows, cols), uint8
    is_draft : bool
        Whether it was propagated; a draft's outline is dashed.
    """

    label: LabelArray
    is_draft: bool = False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ShownMask):
            return NotImplemented
        return self.label is other.label and self.is_draft == other.is_draft

    def __hash__(self) -> int:
        return hash((id(self.label), self.is_draft))


@dataclass(frozen=True)
class ShownTool:
    """The active tool, as the canvas applies it.

    Attributes
    ----------
    tool : Tool
    class_id : int
        The class that the brush paints.
    over : {'free', 'all'} or int
        Whose pixels it may replace.
    locked : str
        Why painting is disabled; empty if it is enabled.
    """

    tool: Tool = "inside"
    class_id: int = 1
    over: Over = "free"
    locked: str = ""


BACK = "press I to return to our tool."
IN_3D = f"In the 3D view, clicks only rotate the picture: {BACK}"
READ_ONLY = "The project is open read-only, so painting is disabled."
Mark = Literal["committed", "draft", "flagged"]


@dataclass(frozen=True)
class SliceMarks:
    """What the slices along the displayed axis are.

    Attributes
    ----------
    count, current : int
        Number of slices, and index of the displayed one.
    marks : mapping of int to {'committed', 'draft', 'flagged'}
        Open slices are left out. A slice with uncommitted prompts, strokes or an unfinished
        outline is a draft, too.
    """

    count: int
    current: int
    marks: Mapping[int, Mark]


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that is drawn; the canvas compares two scenes part by part.

    Attributes
    ----------
    image : OpenImage, optional
    classes : tuple of LabelClass
    plane : Plane, optional
        The position; None without an image or in the 3D view.
    prompts : ShownPrompts
        Points and lines of the plane.
    masks : mapping of Plane to ShownMask
        Previews and drafts of the image; the other planes have none.
    crossing : ShownMask, optional
        Cross-section of drafts along the other axes, if the displayed plane has no mask.
    committed : ndarray of uint8, optional
        The committed label of the whole image; a new array for each version.
    contrast : Contrast, optional
        The display range.
    drag : {'pan', 'box', 'scribble', 'lasso'}
        What dragging with the left button does.
    tool : ShownTool
    slices : SliceMarks, optional
        None without an image, for a two-dimensional one, and in the 3D view.
    dock : ViewState
        State of the dock.
    """

    image: OpenImage | None = None
    classes: tuple[LabelClass, ...] = ()
    plane: Plane | None = None
    prompts: ShownPrompts = ShownPrompts()
    masks: Mapping[Plane, ShownMask] = field(default_factory=dict)
    crossing: ShownMask | None = None
    committed: LabelArray | None = None
    contrast: Contrast | None = None
    drag: Drag = "pan"
    tool: ShownTool = ShownTool()
    slices: SliceMarks | None = None
    dock: ViewState = ViewState(frozenset(), "", "", "", False)


@dataclass(frozen=True, eq=False)
class Facts:
    """Everything that a scene is resolved from.

    Attributes
    ----------
    state : AnnotationState
    classes : tuple of LabelClass
        The project's.
    answers : mapping of Plane to Answer
        Of the open image's planes, for their present prompts.
    committed : ndarray of uint8, optional
        The committed label of the open image.
    is_committed : bool
        Whether the displayed plane is annotated in it.
    base : ndarray of shape (rows, cols), uint8, optional
        The committed label of the displayed plane, if it is annotated.
    annotated : frozenset of int
        Annotated planes along axis 0.
    contrast : Contrast, optional
        None without an image.
    can_undo, can_redo, read_only : bool
    is_waiting : bool
        Whether a request to the models is running.
    """

    state: AnnotationState
    classes: tuple[LabelClass, ...]
    answers: Mapping[Plane, Answer] = field(default_factory=dict)
    committed: LabelArray | None = None
    is_committed: bool = False
    base: LabelArray | None = None
    annotated: frozenset[int] = frozenset()
    contrast: Contrast | None = None
    can_undo: bool = False
    can_redo: bool = False
    read_only: bool = False
    is_waiting: bool = False


def resolve(facts: Facts, before: Scene) -> Scene:
    """Compute the scene.

    Parameters
    ----------
    facts : Facts
    before : Scene
        The previous scene. A mask stays until the models have answered with the next one,
        and the 3D view keeps the prompts of the plane displayed before.
    """
    state = facts.state
    if before.image is not state.image:
        before = Scene()
    masks = _masks(facts, before)
    return Scene(
        image=state.image,
        classes=facts.classes,
        plane=state.plane,
        prompts=before.prompts if state.plane is None else _prompts(state, state.plane),
        masks=masks,
        crossing=None if state.plane in masks else _crossing(state, before),
        committed=facts.committed,
        contrast=facts.contrast,
        drag=_DRAGS.get(state.tool, "pan"),
        tool=ShownTool(
            state.tool,
            state.active_class.id,
            state.over,
            locked=_why_locked(facts),
        ),
        slices=_slices(facts),
        dock=view_state.resolve(_situation(facts), facts.classes),
    )


def _why_locked(facts: Facts) -> str:
    """Why painting is disabled; empty if it is enabled."""
    if facts.read_only:
        return READ_ONLY
    return IN_3D if facts.state.plane is None else ""


def shown_points(prompts: PromptSet) -> list[int]:
    """Indices of the displayed points: all but the rejected ones."""
    return [i for i, point in enumerate(prompts.points) if point.state != "rejected"]


def shown_label(state: AnnotationState, answer: Answer | None) -> LabelArray | None:
    """The mask of the displayed plane that a commit would save, or None.

    Parameters
    ----------
    state : AnnotationState
    answer : Answer, optional
        For the plane's prompts.
    """
    if answer is not None:
        return answer.preview
    return state.draft.label if state.draft is not None and state.prompts.is_empty else None


def _prompts(state: AnnotationState, plane: Plane) -> ShownPrompts:
    shown, selected = shown_points(state.prompts), state.selection.point
    return ShownPrompts(
        plane,
        replace(state.prompts, points=tuple(state.prompts.points[i] for i in shown)),
        shown.index(selected) if selected in shown else None,
        state.selection.line,
        state.active_object,
        state.outline,
    )


def _masks(facts: Facts, before: Scene) -> dict[Plane, ShownMask]:
    state = facts.state
    drafts = {plane: ShownMask(draft.label, True) for plane, draft in state.drafts.items()}
    worked = {**state.work.prompts, **state.work.working_labels}
    prompted = {plane for image, plane in worked if state.is_open(image)}
    masks = {plane: mask for plane, mask in drafts.items() if plane not in prompted}
    for plane in prompted:
        if plane in facts.answers:
            masks[plane] = ShownMask(facts.answers[plane].preview)
        elif plane in before.masks:
            masks[plane] = before.masks[plane]
    shown, paints = state.plane, state.tool in PAINT_TOOLS
    if paints and facts.base is not None and shown is not None and shown not in masks:
        # Painting starts from the committed label.
        masks[shown] = ShownMask(facts.base)
    return masks


def _crossing(state: AnnotationState, before: Scene) -> ShownMask | None:
    """Cross-section of drafts along the other axes on the displayed plane.

    Once the plane has prompts, the previous one stays until the models have answered.
    """
    plane, last = state.plane, before.crossing if state.plane == before.plane else None
    if plane is None or state.image is None:
        return None
    if not state.prompts.is_empty:
        return last
    labels = {place: draft.label for place, draft in state.drafts.items()}
    label = crossing(labels, plane, state.image.volume.shape)
    if label is None:
        return None
    unchanged = last is not None and np.array_equal(last.label, label)
    return last if unchanged else ShownMask(label, True)


def _slices(facts: Facts) -> SliceMarks | None:
    state = facts.state
    plane, volume = state.plane, None if state.image is None else state.image.volume
    if plane is None or volume is None or volume.plane_count(plane.axis) == 1:
        return None
    # Finding annotated planes along other axes would read the whole label each time.
    done = facts.annotated if plane.axis == 0 else ()
    marks: dict[int, Mark] = dict.fromkeys(done, "committed")
    uncommitted = {*state.work.prompts, *state.work.working_labels, *state.unfinished}
    worked = {place for image, place in uncommitted if state.is_open(image)}
    flagged = {place for place, draft in state.drafts.items() if draft.flag}
    drafted: tuple[tuple[Mark, Collection[Plane]], ...] = (
        ("draft", worked | set(state.drafts)),
        ("flagged", flagged),
    )
    for mark, places in drafted:
        marks |= dict.fromkeys((p.index for p in places if p.axis == plane.axis), mark)
    return SliceMarks(volume.plane_count(plane.axis), plane.index, marks)


def _situation(facts: Facts) -> Situation:
    state = facts.state
    plane, volume = state.plane, None if state.image is None else state.image.volume
    answer = None if plane is None else facts.answers.get(plane)
    flagged = sum(bool(draft.flag) for draft in state.drafts.values())
    return Situation(
        image_name=None if state.image is None else state.image.name,
        plane=plane,
        plane_count=1 if volume is None or plane is None else volume.plane_count(plane.axis),
        plane_names=() if volume is None else volume.plane_names,
        prompts=state.prompts,
        selected=state.selection.point,
        line=state.selection.line,
        active=state.active_object,
        outline=state.outline,
        corners=state.corners,
        iou=None if answer is None else answer.iou,
        draft=state.draft,
        drafts=len(state.drafts) - flagged,
        flagged=flagged,
        propagating=state.propagating,
        has_preview=shown_label(state, answer) is not None,
        is_committed=facts.is_committed,
        can_undo=facts.can_undo,
        can_redo=facts.can_redo,
        read_only=facts.read_only,
        busy=state.status.busy or ("thinking" if facts.is_waiting else ""),
        message=state.status.message,
        said=state.status.said,
        blocked=state.blocked,
        tool=state.tool,
        over=state.over,
        drawn=0 if state.working is None else len(state.working.patches),
        error=state.status.error,
        can_suggest=state.round is not None or state.tuned is not None,
    )
