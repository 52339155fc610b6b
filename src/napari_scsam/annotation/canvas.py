"""What the annotation room asks of the picture: to draw a scene, and to tell what hands do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_scsam.annotation.scene import Scene
    from napari_scsam.annotation.view_state import Tool
    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.geometry import Plane
    from napari_scsam.core.prompts import Box, Line, Point, StrokeKind


def _ignore(*_: object) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class CanvasListener:
    """Who is told what a person does; rows and columns are pixels of the shown plane.

    Attributes
    ----------
    add_point : callable
        (row, col, positive): a click inside (True), or outside; also beside the image.
    move_point : callable
        (index, row, col): point `index` of those last shown was dragged here.
    select_point : callable
        (index): point `index` of those last shown was clicked; None when all is let go.
    select_line : callable
        (line): a box or a stroke of those last shown was clicked.
    delete_selected : callable
        (): Delete was pressed.
    set_box : callable
        (box): a box was drawn; perhaps without an area, or beyond the image.
    add_stroke : callable
        (kind, path, positive): a scribble or a lasso was drawn; perhaps beyond the image.
    plane_changed : callable
        (plane): the slider moved; None in a three-dimensional view.
    paint : callable
        (plane, before, after): a brush, an eraser or a polygon made `after` of the label plane
        `before`, both uint8 (rows, cols).
    tool_changed : callable
        (tool or None, why): a person took one of our tools through napari's own controls, and
        why a click on the picture does nothing now; empty while it does something.
    undo, redo : callable
        (): napari's own keys for it were pressed on one of our layers.
    """

    add_point: Callable[[float, float, bool], None] = _ignore
    move_point: Callable[[int, float, float], None] = _ignore
    select_point: Callable[[int | None], None] = _ignore
    select_line: Callable[[Line], None] = _ignore
    delete_selected: Callable[[], None] = _ignore
    set_box: Callable[[Box], None] = _ignore
    add_stroke: Callable[[StrokeKind, Sequence[Point], bool], None] = _ignore
    plane_changed: Callable[[Plane | None], None] = _ignore
    paint: Callable[[Plane, LabelArray, LabelArray], None] = _ignore
    tool_changed: Callable[[Tool | None, str], None] = _ignore
    undo: Callable[[], None] = _ignore
    redo: Callable[[], None] = _ignore


class Canvas(ABC):
    """Draws one image, its prompts, its previews and its committed label."""

    @abstractmethod
    def listen(self, listener: CanvasListener) -> None:
        """Report to `listener` from now on."""

    @abstractmethod
    def render(self, scene: Scene) -> None:
        """Draw what differs from the scene before; what is drawn by this is not reported."""

    @abstractmethod
    def index_along(self, axis: int) -> int:
        """Where the view is along `axis` of the open image, also where it shows that axis."""

    def activate_tool(self) -> None:  # noqa: B027 - a canvas that always listens has nothing to do
        """Have the mouse go to our tool, whatever had it."""

    def finish_stroke(self) -> None:  # noqa: B027 - a canvas without brushes has none
        """Report what is drawn so far of a stroke under way."""
