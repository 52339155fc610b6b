"""Edits the prompts of the displayed plane."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.annotation.objects import (
    another_object,
    box_round,
    finds_it_right,
    has_area,
    object_for_outline,
    object_numbers,
    with_point,
    without_stroke,
)
from napari_scsam.annotation.replaced_suggestions import replaced_by, without_outline
from napari_scsam.annotation.scene import READ_ONLY, shown_points
from napari_scsam.annotation.state import Selection, StateStore
from napari_scsam.annotation.view_state import PAINT_TOOLS, Tool
from napari_scsam.core.errors import ReadOnlyError
from napari_scsam.core.prompt_edits import (
    answered,
    edited,
    flipped,
    is_question,
    next_question,
    replace_point,
    with_box,
    with_state,
    without_point,
)
from napari_scsam.core.prompts import (
    Box,
    Kind,
    Line,
    ObjectKey,
    Point,
    PointPrompt,
    PromptSet,
    Stroke,
    StrokeKind,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_scsam.annotation.working_label import Over
    from napari_scsam.annotation.working_labels import WorkingLabels
    from napari_scsam.core.labels import LabelClass

OUTSIDE_IMAGE = "That is outside the image. Nothing was added."
NO_AREA = "That box has no area. Drag it from one corner of the structure to the opposite one."
REPLACES = "Painting and clicks now replace other classes. T protects them again."
KEEPS = "Other classes are protected. Painting and clicks change free pixels only."
REPLACED = "Your click replaced the suggestion. Undo brings it back. A click beside it adds to it."
SMOOTH = (
    "Click along the border: a smooth outline goes through your clicks. Enter, or a click on the "
    "first one, completes it; a right click takes the last one back."
)
ALREADY = "That place is {side} {name} already, so the outline stays as it is."
TOO_SHORT = "That line is too short. Draw it with the mouse button held down."


class PromptEditor:
    """Adds, changes, selects and deletes prompts; each change is a step that can be undone.

    Parameters
    ----------
    store : StateStore
    working_labels : WorkingLabels
        Protect the other classes while one is edited.
    classes : sequence of LabelClass
        The project's.
    read_only : bool
        Whether changes are refused.
    """

    def __init__(
        self,
        store: StateStore,
        working_labels: WorkingLabels,
        classes: Sequence[LabelClass],
        *,
        read_only: bool,
    ) -> None:
        self._store = store
        self._working_labels = working_labels
        self._classes = classes
        self._read_only = read_only

    # ---------------------------------------------------------------- class, tool, object

    def set_class(self, class_id: int) -> None:
        """Choose the class of new prompts, and of the outline that is being set."""
        chosen = next(c for c in self._classes if c.id == class_id)
        now = replace(self._store.now, active_class=chosen)
        if now.outline is not None and now.tool == "smooth":
            now = now.with_outline(replace(now.outline, class_id=class_id))
        self._store.put(now)

    def set_tool(self, tool: Tool) -> None:
        """Choose what a click and a drag do."""
        if tool in (*PAINT_TOOLS, "smooth") and self._read_only:
            self._store.fail(ReadOnlyError(READ_ONLY))
            return
        now = replace(self._store.now, tool=tool)
        self._store.put(now.saying(SMOOTH, elsewhere=True) if tool == "smooth" else now)

    def tool_changed(self, tool: Tool | None, blocked: str) -> None:
        """Adopt a tool, or a layer, that the user picked through napari's controls."""
        now = self._store.now
        changed = replace(now, tool=tool or now.tool, blocked=blocked)
        if blocked and blocked != now.blocked:
            # The reason, not an older error, is what a click needs to know.
            changed = changed.saying("")
        unblocked = now.blocked and not blocked and not (now.status.message or now.status.error)
        if (changed.tool, changed.blocked) != (now.tool, now.blocked):
            self._store.put(changed.saying("Ready.") if unblocked else changed)

    def corners_changed(self, number: int) -> None:
        """Adopt the number of corners of the viewer's own unfinished polygon."""
        if number != self._store.now.corners:
            self._store.put(replace(self._store.now, corners=number))

    def set_over(self, over: Over) -> None:
        """Choose whose pixels the edited class may replace."""
        now = replace(self._store.now, over=over)
        working = None if now.key is None or now.is_untouched else self._working_labels.of(now.key)
        if now.key is None or working is None or working.over == over:
            self._store.put(now)
            return
        changed = now.work.with_working(now.key, replace(working, over=over))
        self._store.step(replace(now, work=changed))

    def switch_over(self) -> None:
        """Switch between protecting and replacing the pixels of other classes."""
        taken = self._store.now.over == "free"
        self.set_over("all" if taken else "free")
        self._store.say(REPLACES if taken else KEEPS, elsewhere=True)

    def new_object(self) -> None:
        """Start another object of the active class with the next prompt."""
        now = self._store.now
        name, class_id = now.active_class.name, now.active_class.id
        if now.key is None:
            return
        if not object_numbers(now.prompts, class_id):
            self._store.say(f"This is the first {name} on this slice. Click it, or draw a box.")
            return
        now = now.with_active((class_id, another_object(now.prompts, class_id)))
        now = replace(now, selection=Selection())
        self._store.put(now.saying(f"New object, {name}: click it, or draw a box."))

    # ---------------------------------------------------------------- points

    def add_point(self, row: float, col: float, positive: bool = True) -> None:
        """Add the user's point to the active object; the outside tool makes it negative.

        A point inside a suggested outline replaces that.
        """
        if not self._is_inside(row, col):
            self._store.say(OUTSIDE_IMAGE)
            return
        positive = self._is_positive(positive)
        kind: Kind = "confirm" if positive else "negative"
        class_id, object_id = self._store.now.active_object
        point = PointPrompt(row, col, class_id, positive, kind=kind, object_id=object_id)
        replaced = self._replaced_by(point)
        if replaced is None:
            self._edit_point(point, said=self._already(point))
        else:
            prompts, point = replaced
            prompts, active = with_point(prompts, point), point.object_key
            self._edit(prompts, len(prompts.points) - 1, active, said=REPLACED)

    def _replaced_by(self, point: PointPrompt) -> tuple[PromptSet, PointPrompt] | None:
        """The prompts with a suggestion replaced by a click in it; None if it replaces none."""
        now = self._store.now
        if now.key is None or self._working_labels.of(now.key) is not None:
            return None
        shown = self._working_labels.shown(now.key)
        return None if shown is None else replaced_by(now.prompts, shown[0], point)

    def _already(self, point: PointPrompt) -> str:
        """What to say of a click that finds an outline right already; empty for other clicks."""
        now = self._store.now
        shown = None if now.key is None else self._working_labels.shown(now.key)
        if now.key is None or shown is None or shown[1] != now.prompts:
            return ""
        began = self._working_labels.before_prompts(now.key, with_point(now.prompts, point))
        if not finds_it_right(now.prompts, shown[0], began, point):
            return ""
        side = "inside" if point.positive else "outside"
        return ALREADY.format(side=side, name=now.active_class.name)

    def move_point(self, index: int, row: float, col: float) -> None:
        """Move the displayed point `index`; one that is no prompt is ignored."""
        if not self._is_inside(row, col):
            self._store.say("Points must lie inside the image. The point was moved back.")
            return
        prompts, shown = self._store.now.prompts, shown_points(self._store.now.prompts)
        if index >= len(shown):
            return
        index = shown[index]
        self._edit_point(edited(replace(prompts.points[index], row=row, col=col)), index)

    def select_point(self, index: int | None) -> None:
        """Select the displayed point `index`; its object becomes the active one of its class.

        A point that is no prompt is ignored.
        """
        now = self._store.now
        if index is None:
            self._store.put(replace(now, selection=Selection()))
            return
        shown = shown_points(now.prompts)
        if index >= len(shown):
            return
        index = shown[index]
        now = now.with_active(now.prompts.points[index].object_key)
        self._store.put(replace(now, selection=Selection(point=index)))

    # ---------------------------------------------------------------- boxes and strokes

    def set_box(self, box: Box) -> None:
        """Give the active object a box, or start another object if the box is apart from it."""
        box = self._inside_image(box)
        if not has_area(box):
            self._store.say(NO_AREA)
            return
        now = self._store.now
        key = object_for_outline(now.prompts, now.active_object, box)
        self._edit(with_box(now.prompts, key, box), active=key)

    def add_stroke(self, kind: StrokeKind, path: Sequence[Point], positive: bool = True) -> None:
        """Add a scribble to the active object, or a lasso around it or around another one."""
        positive = self._is_positive(positive)
        places = self._on_image(kind, path)
        if not places:
            self._store.say(OUTSIDE_IMAGE)
            return
        around = box_round(places)
        if len(places) < 2 or (kind == "lasso" and not (len(places) > 2 and has_area(around))):
            self._store.say(TOO_SHORT)
            return
        prompts, key = self._store.now.prompts, self._store.now.active_object
        if kind == "lasso" and positive:
            key = object_for_outline(prompts, key, around)
        stroke = Stroke(kind, tuple(places), key[0], positive, key[1])
        self._edit(replace(prompts, strokes=(*prompts.strokes, stroke)), active=key)

    def select_line(self, line: Line) -> None:
        """Select a box or a stroke; its object becomes the active one of its class."""
        now = self._store.now
        key = line if isinstance(line, tuple) else now.prompts.strokes[line].object_key
        self._store.put(replace(now.with_active(key), selection=Selection(line=line)))

    def delete_selected(self) -> None:
        """Delete the selected point, box or stroke; a suggested outline goes with its point."""
        prompts, selection = self._store.now.prompts, self._store.now.selection
        if selection.point is not None:
            self._edit(self._without_point(selection.point))
        elif isinstance(selection.line, tuple):
            self._edit(with_box(prompts, selection.line, None))
        elif selection.line is not None:
            self._edit(without_stroke(prompts, selection.line))

    def _without_point(self, index: int) -> PromptSet:
        """The prompts without a point; of a suggested outline all points go."""
        now = self._store.now
        point, shown = now.prompts.points[index], None
        if now.key is not None and point.state == "proposed" and point.kind == "confirm":
            shown = self._working_labels.shown(now.key)
        if shown is None:
            return without_point(now.prompts, index)
        return without_outline(now.prompts, shown[0], index)

    # ---------------------------------------------------------------- proposals

    @property
    def has_question(self) -> bool:
        """Whether a proposed point of this plane is a question."""
        return next_question(self._store.now.prompts, None) is not None

    def answer(self, inside: bool) -> None:
        """Answer the selected question; "no" flips a selected point that is not a question."""
        prompts, index = self._store.now.prompts, self._store.now.selection.point
        if index is None:
            return
        point = prompts.points[index]
        if is_question(point):
            self._edit(replace_point(prompts, index, answered(point, inside)), select=index)
            self.next_question()
        elif not inside:
            self._edit(replace_point(prompts, index, flipped(point)), select=index)

    def next_question(self) -> None:
        """Select the next question of this plane."""
        now = self._store.now
        found = next_question(now.prompts, now.selection.point)
        if found is None:
            self._store.say("No question left on this slice.")
        else:
            self._store.put(replace(now, selection=Selection(point=found)))

    def accept_all(self) -> None:
        """Accept all proposals of the plane, without committing."""
        self._edit(with_state(self._store.now.prompts, "accepted"))

    def reject(self) -> None:
        """Reject all undecided proposals of the plane."""
        self._edit(with_state(self._store.now.prompts, "rejected"))

    # ---------------------------------------------------------------- steps of the history

    def _edit_point(self, point: PointPrompt, at: int | None = None, *, said: str = "") -> None:
        prompts = with_point(self._store.now.prompts, point, at)
        select = next(i for i, p in enumerate(prompts.points) if p is point)
        self._edit(prompts, select, said=said)

    def _edit(
        self,
        prompts: PromptSet,
        select: int | None = None,
        active: ObjectKey | None = None,
        *,
        said: str = "",
    ) -> None:
        now = self._store.now
        if now.key is None:
            return
        if prompts != now.prompts and self._read_only:
            error = ReadOnlyError("The project is open read-only, so prompts can't be changed.")
            self._store.fail(error)
            return
        changed = now if active is None else now.with_active(active)
        if prompts == now.prompts:
            self._store.put(changed)
            return
        working = self._working_labels.for_edit(now.key, prompts)
        work = now.work.with_prompts(now.key, prompts).with_working(now.key, working)
        self._store.step(replace(changed.saying(said), work=work, selection=Selection(select)))

    def _is_positive(self, positive: bool) -> bool:
        return positive and self._store.now.tool != "outside"

    def _is_inside(self, row: float, col: float) -> bool:
        rows, cols = self._store.now.plane_shape
        return -0.5 <= row <= rows - 0.5 and -0.5 <= col <= cols - 0.5

    def _inside_image(self, box: Box) -> Box:
        rows, cols = self._store.now.plane_shape
        r0, c0, r1, c1 = np.clip(box, 0, (rows - 1, cols - 1) * 2).tolist()
        return (r0, c0, r1, c1)

    def _on_image(self, kind: StrokeKind, path: Sequence[Point]) -> list[Point]:
        """Positions of a lasso clipped to the image, or those of a scribble that lie inside it."""
        if kind == "lasso":
            return [self._inside_image((*place, *place))[:2] for place in path]
        return [place for place in path if self._is_inside(*place)]
