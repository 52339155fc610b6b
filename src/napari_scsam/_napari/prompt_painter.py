"""Draws the prompts of one plane on a layer of points and one of lines."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam._napari.batched import drawn_once
from napari_scsam._napari.lines import LinePainter, colour_of, outline_lines, prompt_lines
from napari_scsam._napari.point_style import point_styles
from napari_scsam.annotation.objects import box_round
from napari_scsam.annotation.scene import ShownPrompts
from napari_scsam.core.prompts import Line, Stroke

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari.layers import Points
    from numpy.typing import NDArray

    from napari_scsam._napari.gestures import Drawn, Pixel
    from napari_scsam.core.geometry import Plane

# Screen pixels. Arbitrary.
POINT_SIZE_PX = 12.0
# A click within this distance of a box or a stroke selects it. Screen pixels, arbitrary.
LINE_GRAB_PX = 5.0


class PromptPainter:
    """Draws prompts, and during a gesture what it would change.

    Parameters
    ----------
    points : napari.layers.Points
    lines : LinePainter
    colours : mapping of class id to '#RRGGBB'
    pixel_on_screen : callable
        () -> screen pixels per pixel of the plane, along its shorter side.
    zoom : callable
        () -> screen pixels per world unit.
    """

    def __init__(
        self,
        points: Points,
        lines: LinePainter,
        colours: Mapping[int, str],
        pixel_on_screen: Callable[[], float],
        zoom: Callable[[], float],
    ) -> None:
        self._points = points
        self._lines = lines
        self._colours = colours
        self._pixel_on_screen = pixel_on_screen
        self._zoom = zoom
        self._shown = ShownPrompts()
        self._drawn_over = False

    def show(self, wanted: ShownPrompts) -> None:
        """Draw `wanted` instead of the previous prompts."""
        before, self._shown = self._shown, wanted
        drawn_over, self._drawn_over = self._drawn_over, False
        was_and_is_empty = _is_empty(before) and _is_empty(wanted)
        if drawn_over or not (wanted == before or was_and_is_empty):
            self._draw_points(wanted)
            self._draw_lines(wanted)

    def take_back(self) -> bool:
        """Remove what a gesture has drawn; False if there is nothing to remove."""
        drawn_over = self._drawn_over
        if drawn_over:
            self.show(self._shown)
        return drawn_over

    def redraw(self) -> None:
        """Draw the prompts at the present zoom, unless a gesture is going on."""
        if not self._drawn_over and not _is_empty(self._shown):
            self._draw_points(self._shown)
            self._draw_lines(self._shown)

    def drag(self, index: int, row: float, col: float) -> None:
        """Move the displayed point `index` with the mouse."""
        self._drawn_over = True
        data = self._points.data.copy()
        data[index] = self._to_data(self._shown.plane, [(row, col)])[0]
        with drawn_once(self._points):
            self._points.data = data

    def sketch(self, what: Drawn, path: list[Pixel], outside: bool) -> None:
        """Draw an unfinished box or stroke, in addition to the prompts."""
        shown, key = self._shown, self._shown.active
        if key is None:
            return
        self._drawn_over = True
        if what == "box":
            under_way = (key[0], 0)  # 0 is no object's number, so that the existing boxes stay
            boxes = {**shown.prompts.boxes, under_way: box_round([path[0], path[-1]])}
            prompts = replace(shown.prompts, boxes=boxes)
            self._draw_lines(replace(shown, prompts=prompts, active=under_way))
        else:
            # A lasso is not closed before the button is released.
            stroke = Stroke("scribble", tuple(path), key[0], not outside, key[1])
            prompts = replace(shown.prompts, strokes=(*shown.prompts.strokes, stroke))
            self._draw_lines(replace(shown, prompts=prompts))

    def vertices_on(self, plane: Plane | None) -> tuple[Pixel, ...]:
        """(row, col) of the vertices of the unfinished outline, if `plane` is the drawn one."""
        outline = self._shown.outline
        return () if outline is None or plane != self._shown.plane else outline.vertices

    def sketch_vertex(self, cursor: Pixel) -> None:
        """Draw the unfinished outline, and dashed what a vertex at `cursor` would make of it."""
        self._drawn_over = True
        self._draw_lines(self._shown, cursor)

    def line_at(self, row: float, col: float) -> Line | None:
        """The box or stroke that a click on a pixel of the plane selects."""
        return self._lines.line_at(row, col, LINE_GRAB_PX / max(self._zoom(), 1e-6))

    def _draw_points(self, shown: ShownPrompts) -> None:
        layer, points = self._points, shown.prompts.points
        styles = point_styles(points, self._colours, shown.selected, shown.active)
        size = POINT_SIZE_PX / max(self._pixel_on_screen(), 1e-6)
        with drawn_once(layer):
            layer.selected_data = set()
            layer.data = self._to_data(shown.plane, [(p.row, p.col) for p in points])
            if points:
                layer.symbol = styles.symbols
                layer.face_color = styles.faces
                layer.border_color = styles.borders
                layer.border_width = styles.border_widths
                layer.size = styles.sizes * size

    def _draw_lines(self, shown: ShownPrompts, cursor: Pixel | None = None) -> None:
        drawn = prompt_lines(shown.prompts, self._colours, shown.line, shown.active)
        if shown.outline is not None:
            colour = colour_of(self._colours, (shown.outline.class_id, 1), None)
            drawn += outline_lines(shown.outline.vertices, colour, cursor)
        self._lines.paint(shown.plane, drawn, self._zoom())

    def _to_data(self, plane: Plane, pixels: Sequence[Pixel]) -> NDArray[np.float64]:
        rows_cols = np.asarray(pixels, float).reshape(-1, 2)
        if self._points.ndim == 2:
            return rows_cols
        return np.insert(rows_cols, plane.axis, plane.index, axis=1)


def _is_empty(shown: ShownPrompts) -> bool:
    return shown.prompts.is_empty and shown.outline is None
