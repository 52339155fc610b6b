"""The interface of a canvas: it draws scenes and reports the user's actions."""

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
    """Do nothing."""


@dataclass(frozen=True)
class CanvasListener:
    """Callbacks for the user's actions; rows and columns are pixels of the displayed plane.

    Attributes
    ----------
    add_point : callable
        (row, col, positive): a click; `positive` means inside the object. It may lie beside the
        image.
    move_point : callable
        (index, row, col): point `index` of the last scene was dragged to this position.
    select_point : callable
        (index): point `index` of the last scene was clicked; None clears the selection.
    select_line : callable
        (line): a box or a stroke of the last scene was clicked.
    delete_selected : callable
        (): Delete was pressed.
    set_box : callable
        (box): a box was drawn. It may have no area, or extend beyond the image.
    add_stroke : callable
        (kind, path, positive): a scribble or a lasso was drawn. It may extend beyond the image.
    set_vertices : callable
        (vertices): the user set or removed a vertex of the unfinished smooth outline; these are
        all of them. They may lie beside the image.
    complete_outline : callable
        (): the user closed the smooth outline.
    corners_changed : callable
        (number): the viewer's own unfinished polygon has this many corners, at most 3, which
        stands for more.
    plane_changed : callable
        (plane): the slider moved; None in the 3D view.
    paint : callable
        (plane, before, after): a paint tool changed the label of a plane from `before` to
        `after`, both uint8 (rows, cols).
    tool_changed : callable
        (tool or None, reason): the user picked one of our tools through napari's controls.
        `reason` says why a click has no effect now; it is empty while a click has one.
    tell : callable
        (message): the user tried what is disabled; the message says what to do instead.
    undo, redo : callable
        (): napari's keys for it were pressed on one of our layers.
    """

    add_point: Callable[[float, float, bool], None] = _ignore
    move_point: Callable[[int, float, float], None] = _ignore
    select_point: Callable[[int | None], None] = _ignore
    select_line: Callable[[Line], None] = _ignore
    delete_selected: Callable[[], None] = _ignore
    set_box: Callable[[Box], None] = _ignore
    add_stroke: Callable[[StrokeKind, Sequence[Point], bool], None] = _ignore
    set_vertices: Callable[[Sequence[Point]], None] = _ignore
    complete_outline: Callable[[], None] = _ignore
    corners_changed: Callable[[int], None] = _ignore
    plane_changed: Callable[[Plane | None], None] = _ignore
    paint: Callable[[Plane, LabelArray, LabelArray], None] = _ignore
    tool_changed: Callable[[Tool | None, str], None] = _ignore
    tell: Callable[[str], None] = _ignore
    undo: Callable[[], None] = _ignore
    redo: Callable[[], None] = _ignore


class Canvas(ABC):
    """Draws one image with its prompts, previews and committed label."""

    @abstractmethod
    def listen(self, listener: CanvasListener) -> None:
        """Send all further reports to `listener`."""

    @abstractmethod
    def render(self, scene: Scene) -> None:
        """Draw what differs from the previous scene, without reporting it as a user's action."""

    @abstractmethod
    def index_along(self, axis: int) -> int:
        """Position of the view along `axis` of the open image, displayed or not."""

    def activate_tool(self) -> None:  # noqa: B027 - optional
        """Make our tool the one that receives the mouse."""

    def finish_stroke(self) -> None:  # noqa: B027 - optional
        """Report an unfinished stroke as if it had ended here."""

    def remove_corner(self) -> bool:
        """Remove the last corner of the viewer's own unfinished polygon; False without one."""
        return False
