"""Draws mouse gestures while they go on, and reports them when they end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam._napari.gestures import LEFT, Drawn, GestureActions, Pixel, make_gesture
from napari_scsam._napari.plane_view import PlaneView, in_plane
from napari_scsam._napari.vertices import Vertices
from napari_scsam.annotation.canvas import CanvasListener
from napari_scsam.annotation.objects import box_round

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_scsam._napari.prompt_painter import PromptPainter
    from napari_scsam.annotation.scene import Drag
    from napari_scsam.core.geometry import Plane


class GestureReporter:
    """Reports gestures on a points layer to a listener.

    Parameters
    ----------
    view : PlaneView
    pick_class : callable
        Called with 0..8 when a digit is pressed on our layers.

    Attributes
    ----------
    listener : CanvasListener
        Gets the reports.
    drag : {'pan', 'box', 'scribble', 'lasso', 'outline'}
        What dragging with the left button does; with 'outline', clicks set its vertices.
    """

    def __init__(self, view: PlaneView, pick_class: Callable[[int], None]) -> None:
        self._view = view
        self.pick_class = pick_class
        self._points: Any = None
        self._painter: PromptPainter | None = None
        # The plane on which the present gesture began, and an identity.
        self._token: tuple[Plane | None, object] | None = None
        self.listener = CanvasListener()
        self.drag: Drag = "pan"
        self._zoom = 1.0
        self._vertices = Vertices(
            view,
            lambda: self._painter,
            lambda places: self.listener.set_vertices(places),
            lambda: self.listener.complete_outline(),
        )
        self._gesture = make_gesture(self._actions())

    def attach(self, points: Any, painter: PromptPainter) -> None:
        """Switch to this layer, on which `painter` draws the prompts."""
        self._token = None
        self._points, self._painter = points, painter
        if self._gesture not in points.mouse_drag_callbacks:
            points.mouse_drag_callbacks.append(self._gesture)
            points.mouse_move_callbacks.append(self._moved)
            points.mouse_double_click_callbacks.append(self._double_clicked)

    def use(self, drag: Drag) -> None:
        """Choose what dragging with the left button does."""
        self.drag = drag

    def complete(self) -> None:
        """Complete the outline that is being set."""
        if self._sets_vertices:
            self._vertices.complete()

    def cancel(self) -> None:
        """Cancel the present gesture or outline; without one, clear the selection."""
        self._token = None
        if self._sets_vertices and self._vertices.clear():
            return
        if self._painter is None or not self._painter.take_back():
            self.listener.select_point(None)

    def delete(self) -> None:
        """Delete the last vertex of the outline that is being set, or the selected prompt."""
        if not (self._sets_vertices and self._vertices.remove_last()):
            self.listener.delete_selected()

    @property
    def _sets_vertices(self) -> bool:
        """Whether clicks set vertices; with another tool, an unfinished outline waits."""
        return self.drag == "outline"

    def _actions(self) -> GestureActions:
        return GestureActions(
            begin=self._begin,
            goes_on=self._goes_on,
            to_pixel=self._to_pixel,
            points_on_screen=self._points_on_screen,
            zoom=self._view.zoom,
            pixel_on_screen=lambda: max(self._view.pixel_on_screen()),
            click=self._click,
            undo_click=self._right_click,
            select=lambda index: self.listener.select_point(index),
            drag=self._drag,
            drop=self._drop,
            sketch=self._sketch,
            draw=self._draw,
            pan=self._view.pan,
            left_drag=lambda: self.drag,
        )

    def _begin(self) -> object:
        self._zoom = self._view.zoom()
        self._token = (self._view.plane, object())
        return self._token

    def _goes_on(self, token: object) -> bool:
        return token is self._token is not None and self._token[0] == self._view.plane

    def _to_pixel(self, event: Any) -> Pixel | None:
        plane, volume = self._view.plane, self._view.volume
        if plane is None or volume is None:
            return None
        row, col = in_plane(self._points.world_to_data(event.position), plane, volume.ndim)
        return (float(row), float(col))

    def _points_on_screen(self) -> NDArray[np.float64]:
        volume = self._view.volume
        if volume is None or not len(self._points.data):
            return np.empty((0, 2))
        world = np.asarray(self._points.data * np.asarray(volume.spacing))
        return np.asarray(world[:, self._view.displayed])

    def _moved(self, _layer: Any, event: Any) -> None:
        waits = not (self._sets_vertices and self._vertices.places)
        pixel = None if waits else self._to_pixel(event)
        if pixel is not None:
            self._vertices.show(pixel)

    def _double_clicked(self, _layer: Any, event: Any) -> None:
        """Complete the outline, at the zoom before napari answered the double click.

        With the right button, it is the second of two clicks.
        """
        if not self._sets_vertices:
            return
        self._view.set_zoom(self._zoom)
        if event.button == LEFT:
            self._vertices.complete()
        else:
            self._vertices.remove_last()

    def _right_click(self) -> bool:
        self._zoom = self._view.zoom()
        return self._vertices.remove_last()

    def _click(self, row: float, col: float, shift: bool) -> None:
        if self._sets_vertices:
            self._vertices.click(row, col)
            return
        line = None if self._painter is None or shift else self._painter.line_at(row, col)
        if line is not None:
            self.listener.select_line(line)
        else:
            self.listener.add_point(row, col, not shift)

    def _drag(self, index: int, row: float, col: float) -> None:
        if self._painter is not None:
            self._painter.drag(index, row, col)

    def _drop(self, index: int, row: float, col: float) -> None:
        self.listener.move_point(index, row, col)
        self._take_back()

    def _sketch(self, what: Drawn, path: list[Pixel], shift: bool) -> None:
        if self._painter is not None:
            self._painter.sketch(what, path, shift)

    def _draw(self, what: Drawn, path: list[Pixel], shift: bool) -> None:
        if what == "box":
            self.listener.set_box(box_round([path[0], path[-1]]))
        else:
            self.listener.add_stroke(what, path, not shift)
        self._take_back()

    def _take_back(self) -> None:
        """Remove what a gesture drew, if the scene has not replaced it."""
        if self._painter is not None:
            self._painter.take_back()
