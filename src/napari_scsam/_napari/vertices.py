"""Clicks that set the vertices of a smooth outline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_scsam._napari.gestures import GRAB_PX, Pixel
from napari_scsam.core.smooth_outline import LEAST_VERTICES

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam._napari.plane_view import PlaneView
    from napari_scsam._napari.prompt_painter import PromptPainter


class Vertices:
    """Reports what clicks and keys make of the unfinished outline of the last scene.

    Parameters
    ----------
    view : PlaneView
    painter : callable
        () -> PromptPainter or None, which draws the outline.
    changed : callable
        (vertices): called with all vertices when one is set or removed.
    completed : callable
        (): called when the outline is closed.
    """

    def __init__(
        self,
        view: PlaneView,
        painter: Callable[[], PromptPainter | None],
        changed: Callable[[list[Pixel]], None],
        completed: Callable[[], None],
    ) -> None:
        self._view, self._painter = view, painter
        self._changed, self._completed = changed, completed

    @property
    def places(self) -> list[Pixel]:
        """(row, col) of the vertices on the displayed plane, in pixels."""
        painter = self._painter()
        return [] if painter is None else list(painter.vertices_on(self._view.plane))

    def click(self, row: float, col: float) -> None:
        """Set a vertex, or complete the outline by its first one."""
        places = self.places
        if len(places) >= LEAST_VERTICES and self._on_first(row, col):
            self._completed()
        else:
            self._changed([*places, (row, col)])

    def show(self, cursor: Pixel) -> None:
        """Draw what a click at `cursor` would make of the outline."""
        painter = self._painter()
        if self.places and painter is not None:
            painter.sketch_vertex(cursor)

    def remove_last(self) -> bool:
        """Remove the last vertex; False if there is none."""
        places = self.places
        if places:
            self._changed(places[:-1])
        return bool(places)

    def clear(self) -> bool:
        """Remove the vertices; False if there are none."""
        had = bool(self.places)
        if had:
            self._changed([])
        return had

    def complete(self) -> None:
        """Close the outline, if it has enough vertices."""
        if len(self.places) >= LEAST_VERTICES:
            self._completed()

    def _on_first(self, row: float, col: float) -> bool:
        away = np.subtract((row, col), self.places[0]) * self._view.pixel_on_screen()
        return float(np.linalg.norm(away)) <= GRAB_PX
