"""The state of the dock, as a frozen value that a pure function computes from the situation."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from napari_scsam.annotation.objects import object_numbers
from napari_scsam.core.prompt_edits import is_question
from napari_scsam.core.prompts import Line, ObjectKey, PointPrompt, PromptSet
from napari_scsam.core.smooth_outline import LEAST_VERTICES

if TYPE_CHECKING:
    from napari_scsam.annotation.unfinished_outline import UnfinishedOutline
    from napari_scsam.annotation.work import Draft
    from napari_scsam.annotation.working_label import Over
    from napari_scsam.core.geometry import Plane
    from napari_scsam.core.labels import LabelClass

Busy = Literal["", "opening", "thinking", "saving"]
Tool = Literal[
    "inside", "outside", "box", "scribble", "lasso", "brush", "eraser", "outline", "smooth", "fill"
]
# napari's tools, which change label pixels directly.
PAINT_TOOLS = frozenset({"brush", "eraser", "outline", "fill"})

# What to do first on a plane without prompts, with each tool.
_FIRST_CLICK = "Click the structure, or drag a box with the right button."
_FIRST: dict[Tool, str] = {
    "outside": "Click what does not belong to the structure.",
    "box": "Drag a box around the structure.",
    "scribble": "Draw a line inside the structure.",
    "lasso": "Draw a line around the structure.",
    "brush": "Paint the structure.",
    "eraser": "Erase what should not be there.",
    "outline": "Draw along the border, or click corner by corner.",
    "smooth": "Click along the border: a smooth outline goes through your clicks.",
    "fill": "Click a region to fill it.",
}

# Name of each kind of proposal, singular and plural, and its symbol on the canvas.
_KIND_WORDS = {
    "confirm": ("sure", "sure", "●"),
    "query": ("question", "questions", "◆"),
    "missed": ("maybe missed", "maybe missed", "○"),
    "negative": ("outside", "outside", "✕"),
}

# (least value of SAM's own IoU estimate, word for it). Arbitrary.
SURENESS = ((0.85, "sure"), (0.65, "fair"), (0.0, "unsure"))


@dataclass(frozen=True)
class Situation:
    """Everything that decides which controls are enabled and what they show.

    Attributes
    ----------
    image_name : str, optional
        None without an image.
    plane : Plane, optional
        None in the 3D view.
    plane_count : int
        Planes along the axis of `plane`; 1 for a two-dimensional image.
    prompts : PromptSet
        Of the plane.
    plane_names : tuple of str
        Names of the planes along each axis; empty for a two-dimensional image.
    selected : int, optional
        Index into ``prompts.points``.
    line : (class id, object number) or int, optional
        The selected box, or index into ``prompts.strokes``.
    active : (class id, object number)
        The object that the next click belongs to.
    outline : UnfinishedOutline, optional
        The smooth outline of the plane that is not closed yet.
    corners : int
        Corners of the viewer's own unfinished polygon, at most 3, which stands for more.
    iou : float, optional
        SAM's own estimate of the IoU of the displayed mask.
    draft : Draft, optional
        Of the plane.
    drafts, flagged : int
        Numbers of unflagged and of flagged drafts of the image.
    propagating : str
        Progress of the propagation, such as ``"31 of 60 slices"``; empty while none runs.
    has_preview, is_committed : bool
        Whether the plane shows a preview; whether its label is committed.
    can_undo, can_redo, read_only : bool
    busy : {'', 'opening', 'thinking', 'saving'}
    message, error : str
        The last message; while there is an `error`, it is shown instead.
    blocked : str
        Why a click has no effect now; empty while it has one.
    tool : Tool
    over : {'free', 'all'} or int
        Whose pixels the edited class may replace.
    drawn : int
        Number of strokes painted on the plane.
    can_suggest : bool
        Whether a round, or a SAM tuned on a few outlines, makes suggestions.
    """

    image_name: str | None = None
    plane: Plane | None = None
    plane_count: int = 1
    prompts: PromptSet = PromptSet()
    plane_names: tuple[str, ...] = ()
    selected: int | None = None
    line: Line | None = None
    active: ObjectKey = (1, 1)
    outline: UnfinishedOutline | None = None
    corners: int = 0
    iou: float | None = None
    draft: Draft | None = None
    drafts: int = 0
    flagged: int = 0
    propagating: str = ""
    has_preview: bool = False
    is_committed: bool = False
    can_undo: bool = False
    can_redo: bool = False
    read_only: bool = False
    busy: Busy = ""
    message: str = ""
    error: str = ""
    blocked: str = ""
    tool: Tool = "inside"
    over: Over = "free"
    drawn: int = 0
    can_suggest: bool = False
    said: int = 0


@dataclass(frozen=True)
class ViewState:
    """The state of the dock.

    Attributes
    ----------
    enabled : frozenset of str
        Object names of the controls that can be used now (docs/reference/dock.md).
    heading : str
        Image and slice, such as ``"case_017, slice 14 (0 to 29)"``.
    counts : str
        The prompts of the plane, and what to do next.
    status : str
        One line, never shortened.
    is_error : bool
        Whether `status` is an error.
    lasts : bool
        Whether `status` is about what goes on, or about what stands in the way.
    said : int
        Number of messages up to `status`.
    axes : tuple of str
        Names of the planes along each axis; empty if there is no choice.
    axis : int
        The displayed one.
    propagate, commit_drafts : str
        Texts of the two buttons. Empty hides the button.
    tool : Tool
    over : {'free', 'all'} or int
    bright : frozenset of str
        Object names of the buttons for the likely next step.
    """

    enabled: frozenset[str]
    heading: str
    counts: str
    status: str
    is_error: bool
    axes: tuple[str, ...] = ()
    axis: int = 0
    propagate: str = "Propagate"
    commit_drafts: str = ""
    tool: Tool = "inside"
    over: Over = "free"
    bright: frozenset[str] = frozenset()
    lasts: bool = False
    said: int = 0


def resolve(now: Situation, classes: tuple[LabelClass, ...]) -> ViewState:
    """Compute the state of the dock.

    Parameters
    ----------
    now : Situation
    classes : tuple of LabelClass
        The project's; their names occur in messages.
    """
    enabled = _enabled(now)
    return ViewState(
        enabled=enabled,
        heading=_heading(now),
        counts=_counts(now, classes),
        status=now.error or "  ".join(filter(None, (now.message, now.blocked))) or _progress(now),
        is_error=bool(now.error),
        axes=now.plane_names if now.plane is not None else (),
        axis=0 if now.plane is None else now.plane.axis,
        propagate=_propagate(now),
        commit_drafts=_commit_drafts(now),
        tool=now.tool,
        over=now.over,
        bright=enabled & _next_steps(now),
        lasts=bool(now.blocked or now.propagating) or now.busy in ("opening", "saving"),
        said=now.said,
    )


def _enabled(now: Situation) -> frozenset[str]:
    names = {"queue", "class_list", "prompt_kind"}
    on_plane = now.image_name is not None and now.plane is not None
    if on_plane:
        names |= {"suggest", "skip"}
    idle = now.busy not in ("opening", "saving")
    if on_plane and idle:
        proposed = any(p.state == "proposed" for p in now.prompts.points)
        names |= {"accept_all", "reject"} if proposed else set()
        if not now.read_only:
            names |= {"commit", "accept_next", "new_object", "edit_classes"}
            names |= {"propagate"} if _can_propagate(now) else set()
            names |= {"commit_drafts"} if now.drafts else set()
    if now.propagating:
        names.add("propagate")
    if idle and (now.can_undo or _sets_vertices(now)):
        names.add("undo")
    if idle and now.can_redo:
        names.add("redo")
    return frozenset(names)


def _sets_vertices(now: Situation) -> bool:
    """Whether an outline is being set, whose last vertex undo removes."""
    polygon = now.tool == "outline" and now.corners > 0
    return polygon or (now.tool == "smooth" and now.outline is not None)


def _next_steps(now: Situation) -> frozenset[str]:
    """Buttons for the likely next step; none where a click on the image comes first."""
    if now.has_preview or now.draft is not None or not now.prompts.is_empty or now.drawn:
        return frozenset({"accept_next"})
    return frozenset({"suggest"} if now.can_suggest and not now.is_committed else ())


def _can_propagate(now: Situation) -> bool:
    mine = now.has_preview and (now.draft is None or not now.prompts.is_empty or now.drawn > 0)
    return now.plane_count > 1 and (mine or now.is_committed)


def _propagate(now: Situation) -> str:
    if now.propagating:
        return f"Stop   ·   {now.propagating}"
    return "" if now.plane is not None and now.plane_count == 1 else "Propagate"


def _progress(now: Situation) -> str:
    return f"Propagating: {now.propagating}." if now.propagating else ""


def _commit_drafts(now: Situation) -> str:
    if not now.drafts + now.flagged:
        return ""
    flagged = f"   ·   {now.flagged} flagged  N" if now.flagged else ""
    if not now.drafts:
        return f"No unflagged draft{flagged}"
    number = "the draft" if now.drafts == 1 else f"all {now.drafts} drafts"
    return f"Commit {number}{flagged}"


def _heading(now: Situation) -> str:
    if now.image_name is None:
        return "No image open"
    if now.plane is None:
        return f"{now.image_name}: switch to the 2D view to annotate"
    if now.plane_count == 1:
        return now.image_name
    # Counted from 0, as on napari's slider. `plane_axis` beside it displays the orientation.
    return f"{now.image_name}, slice {now.plane.index} (0 to {now.plane_count - 1})"


def _counts(now: Situation, classes: tuple[LabelClass, ...]) -> str:
    if now.image_name is None or now.plane is None:
        return ""
    names = {c.id: c.name for c in classes}
    if _sets_vertices(now):
        return _vertex_words(now, names)
    points = [p for p in now.prompts.points if p.state != "rejected"]
    if now.selected is not None:
        point = now.prompts.points[now.selected]
        if point.kind == "query" and point.state == "proposed":
            return f"Is this point inside the {_name(names, point.class_id)}?  Q yes  ·  W no"
    if now.line is not None:
        return _line_words(now.prompts, now.line, names)
    waits = _waiting_words(now, names)
    nothing = not points and not now.prompts.boxes and not now.prompts.strokes
    if nothing:
        return waits or _without_prompts(now)
    words = [_number(len(points), "point") + _kinds(points)] if points else []
    kinds = ["box"] * len(now.prompts.boxes) + [s.kind for s in now.prompts.strokes]
    words += [_number(n, kind) for kind, n in Counter(kinds).items()]
    words += ["painted by hand"] if now.drawn else []
    parts = [", ".join(words), _objects(now), _sureness(now.iou), waits]
    parts += ["N: next question"] if any(is_question(p) for p in points) else []
    return "  ·  ".join(part for part in parts if part)


def _without_prompts(now: Situation) -> str:
    """What a plane without prompts is, or what to do there first."""
    if now.drawn:
        return "Painted by hand."
    if now.draft is not None:
        flag = f" Flagged: {now.draft.flag}." if now.draft.flag else ""
        return f"Draft, propagated from other slices.{flag}"
    return "Committed." if now.is_committed else _FIRST.get(now.tool, _FIRST_CLICK)


def _vertex_words(now: Situation, names: dict[int, str]) -> str:
    """What a click adds to the outline that is being set, and how the outline ends."""
    outline = now.outline if now.tool == "smooth" else None
    number = now.corners if outline is None else len(outline.vertices)
    name = _name(names, now.active[0] if outline is None else outline.class_id)
    click = "Click corner by corner" if outline is None else "Click along its border"
    closes = "Enter closes it" if number >= LEAST_VERTICES else "Three points or more make one"
    ends = "U takes the last point back, Esc gives the outline up."
    return f"Outline of {name}. {click}. {closes}, {ends}"


def _waiting_words(now: Situation, names: dict[int, str]) -> str:
    """That an outline waits on this plane while the tool is another one."""
    if now.outline is None:
        return ""
    return f"Unfinished outline of {_name(names, now.outline.class_id)}: Y goes on with it."


def _line_words(prompts: PromptSet, line: Line, names: dict[int, str]) -> str:
    if isinstance(line, tuple):
        name = _name(names, line[0])
        return f"A box of {name} is selected: Delete removes it, Esc clears the selection."
    stroke = prompts.strokes[line]
    name = _name(names, stroke.class_id)
    side = name if stroke.positive else f"outside {name}"
    return f"A {stroke.kind}, {side}, is selected: Delete removes it, Esc clears the selection."


def _name(names: dict[int, str], class_id: int) -> str:
    """Name of a class; one that the class table no longer has is named by its number."""
    return names.get(class_id, f"class {class_id}")


def _objects(now: Situation) -> str:
    """Number of the active class's objects on the plane, if it is not just one."""
    class_id, active = now.active
    numbers = object_numbers(now.prompts, class_id)
    if not numbers or (len(numbers) == 1 and active in numbers):
        return ""
    which = f"now number {active}" if active in numbers else "now another"
    return f"{_number(len(numbers), 'object')}, {which}"


def _sureness(iou: float | None) -> str:
    if iou is None:
        return ""
    word = next(word for least, word in SURENESS if max(iou, 0.0) >= least)
    return f"outline: {word} {min(max(iou, 0.0), 1.0):.2f}"


def _kinds(points: list[PointPrompt]) -> str:
    kinds = Counter("yours" if p.origin == "person" else p.kind for p in points)
    parts = []
    for kind, n in kinds.items():
        one, more, mark = _KIND_WORDS.get(kind, ("by you", "by you", ""))
        parts.append(f"{n} {one if n == 1 else more} {mark}".rstrip())
    if len(parts) == 1:
        # The number precedes already: "2 points by you", "2 points, sure".
        kind = parts[0].split(" ", 1)[1]
        return f" {kind}" if kind == "by you" else f", {kind}"
    return f": {', '.join(parts)}"


def _number(n: int, word: str) -> str:
    plural = "es" if word == "box" else "s"
    return f"{n} {word}{'' if n == 1 else plural}"
