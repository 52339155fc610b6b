"""What a person's hands do to the prompts of the plane on show, without Qt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.controllers.objects import (
    another_object,
    box_round,
    has_area,
    object_for_outline,
    object_numbers,
    with_point,
    without_stroke,
)
from napari_scsam.controllers.ports import Canvas, Drag, JobRunner, Line
from napari_scsam.controllers.previews import Previewer
from napari_scsam.controllers.prompting import PromptingController
from napari_scsam.controllers.view_state import Tool, ViewState
from napari_scsam.controllers.work import (
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
from napari_scsam.core.geometry import Plane
from napari_scsam.core.prompts import Box, Kind, Point, PointPrompt, Stroke, StrokeKind

if TYPE_CHECKING:
    from napari_scsam.project import Project

OUTSIDE_IMAGE = "That is beside the image: nothing was added."
NO_AREA = "That box has no area: drag it from one corner of the structure to the other."
TOO_SHORT = "That line is too short: draw it with the button held."
DRAGS: dict[Tool, Drag] = {"box": "box", "scribble": "scribble", "lasso": "lasso"}


class DrawingController(PromptingController):
    """Adds to the prompts, and changes, selects and deletes them.

    Parameters
    ----------
    project, canvas, previewer, files, on_change
        As of `PromptingController`.
    """

    def __init__(
        self,
        project: Project,
        canvas: Canvas,
        previewer: Previewer,
        files: JobRunner,
        on_change: Callable[[ViewState], None],
    ) -> None:
        super().__init__(project, canvas, previewer, files, on_change)
        self.tool: Tool = "inside"
        canvas.listen(self)

    # ---------------------------------------------------------------- class, tool, object

    def set_class(self, class_id: int) -> None:
        """Make a class the one that new prompts are for."""
        self.active_class = next(c for c in self._project.classes if c.id == class_id)
        self._refresh(redecode=False)

    def set_tool(self, tool: Tool) -> None:
        """Pick what a plain click and a drag do."""
        self.tool = tool
        self._canvas.set_drag(DRAGS.get(tool, "pan"))

    def new_object(self) -> None:
        """Let the next prompt begin another object of the active class."""
        if self.key is None:
            return
        name = self.active_class.name
        if not object_numbers(self.prompts, self.active_class.id):
            self.say(f"This is the first {name} here: click it, or draw a box.")
            return
        self._let_go()
        self._active[self.active_class.id] = another_object(self.prompts, self.active_class.id)
        self._refresh(redecode=False)
        self.say(f"Another {name}: click it, or draw a box.")

    def set_axis(self, axis: int) -> None:
        """Show the image along another of its axes, at the same place."""
        plane, volume = self._plane, self._volume
        if plane is None or volume is None or volume.ndim == 2 or axis == plane.axis:
            return
        index = self._canvas.index_along(axis)
        if self.prompts.points:
            # The last point is what the person looks at.
            point = self.prompts.points[-1]
            shown = [a for a in range(volume.ndim) if a != plane.axis]
            index = round((point.row, point.col)[shown.index(axis)])
        self._canvas.go_to(Plane(axis, int(np.clip(index, 0, volume.shape[axis] - 1))))

    # ---------------------------------------------------------------- points

    def add_point(self, row: float, col: float, positive: bool = True) -> None:
        """Add a person's point for the active object; the outside tool makes it outside."""
        if not self._is_inside(row, col):
            self.say(OUTSIDE_IMAGE)
            return
        positive = positive and self.tool != "outside"
        kind: Kind = "confirm" if positive else "negative"
        class_id, object_id = self.active_object
        point = PointPrompt(row, col, class_id, positive, kind=kind, object_id=object_id)
        self._edit_point(point)

    def move_point(self, index: int, row: float, col: float) -> None:
        """Move the shown point `index`."""
        if not self._is_inside(row, col):
            self._refresh(redecode=False)
            self.say("A point stays inside the image: it was put back.")
            return
        index = self._shown[index]
        self._edit_point(edited(replace(self.prompts.points[index], row=row, col=col)), index)

    def _edit_point(self, point: PointPrompt, at: int | None = None) -> None:
        prompts = with_point(self.prompts, point, at)
        self._edit(prompts, select=next(i for i, p in enumerate(prompts.points) if p is point))

    def select_point(self, index: int | None) -> None:
        """Select the shown point `index`; its object becomes the active one of its class."""
        self._let_go()
        if index is not None:
            self._selected = self._shown[index]
            self._make_active(self.prompts.points[self._selected].object_key)
        self._refresh(redecode=False)

    def flip_selected(self) -> None:
        """Turn the selected point from inside to outside, or back."""
        if self._selected is not None:
            point = flipped(self.prompts.points[self._selected])
            self._edit(replace_point(self.prompts, self._selected, point), select=self._selected)

    # ---------------------------------------------------------------- boxes and strokes

    def set_box(self, box: Box) -> None:
        """Give the active object a box, or another object where the box lies apart from it."""
        box = self._inside_image(box)
        if not has_area(box):
            self.say(NO_AREA)
            return
        key = object_for_outline(self.prompts, self.active_object, box)
        self._make_active(key)
        self._edit(with_box(self.prompts, key, box))

    def add_stroke(self, kind: StrokeKind, path: Sequence[Point], positive: bool = True) -> None:
        """Add a scribble to the active object, or a lasso round it or another one."""
        positive = positive and self.tool != "outside"
        if kind == "lasso":
            places = [self._inside_image((*place, *place))[:2] for place in path]
        else:
            places = [place for place in path if self._is_inside(*place)]
        if not places:
            self.say(OUTSIDE_IMAGE)
            return
        around = box_round(places)
        if len(places) < 2 or (kind == "lasso" and not (len(places) > 2 and has_area(around))):
            self.say(TOO_SHORT)
            return
        key = self.active_object
        if kind == "lasso" and positive:
            key = object_for_outline(self.prompts, key, around)
        self._make_active(key)
        stroke = Stroke(kind, tuple(places), key[0], positive, key[1])
        self._edit(replace(self.prompts, strokes=(*self.prompts.strokes, stroke)))

    def select_line(self, line: Line) -> None:
        """Select a box or a stroke; its object becomes the active one of its class."""
        self._let_go()
        self._line = line
        key = line if isinstance(line, tuple) else self.prompts.strokes[line].object_key
        self._make_active(key)
        self._refresh(redecode=False)

    def delete_selected(self) -> None:
        """Delete the selected point, box or stroke."""
        if self._selected is not None:
            self._edit(without_point(self.prompts, self._selected))
        elif isinstance(self._line, tuple):
            self._edit(with_box(self.prompts, self._line, None))
        elif self._line is not None:
            self._edit(without_stroke(self.prompts, self._line))

    def _is_inside(self, row: float, col: float) -> bool:
        rows, cols = self._plane_shape()
        return -0.5 <= row <= rows - 0.5 and -0.5 <= col <= cols - 0.5

    def _inside_image(self, box: Box) -> Box:
        rows, cols = self._plane_shape()
        r0, c0, r1, c1 = np.clip(box, 0, (rows - 1, cols - 1) * 2).tolist()
        return (r0, c0, r1, c1)

    def _plane_shape(self) -> tuple[int, int]:
        """(rows, cols) of the plane on show; nothing where there is none."""
        if self._volume is None or self._plane is None:
            return (0, 0)
        rows, cols = self._volume.plane(self._plane).shape[:2]
        return (rows, cols)

    # ---------------------------------------------------------------- proposals

    def answer(self, inside: bool) -> None:
        """Answer the selected question; "no" flips a selected point that asks nothing."""
        if self._selected is None:
            return
        point = self.prompts.points[self._selected]
        if is_question(point):
            index = self._selected
            self._edit(replace_point(self.prompts, index, answered(point, inside)), select=index)
            self.next_question()
        elif not inside:
            self.flip_selected()

    def next_question(self) -> None:
        """Select the next point of this plane that asks something."""
        found = next_question(self.prompts, self._selected)
        if found is None:
            self.say("No question left on this slice.")
            return
        self._let_go()
        self._selected = found
        self._refresh(redecode=False)

    def accept_all(self) -> None:
        """Accept every proposal of the plane, without committing."""
        self._edit(with_state(self.prompts, "accepted"))

    def reject(self) -> None:
        """Reject every proposal of the plane that waits for a decision."""
        self._edit(with_state(self.prompts, "rejected"))
