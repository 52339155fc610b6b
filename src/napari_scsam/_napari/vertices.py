"""A smooth outline while its vertices are being clicked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_scsam._napari.gestures import GRAB_PX, Pixel
from napari_scsam.core.smooth_outline import LEAST_VERTICES

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam._napari.plane_view import PlaneView
    from napari_scsam._napari.prompt_painter import PromptPainter
    from napari_scsam.core.geometry import Plane


class Vertices:
    """The vertices of an unfinished outline; they stay when its plane is left.

    Parameters
    ----------
    view : PlaneView
    painter : callable
        () -> PromptPainter or None, which draws the outline.
    completed : callable
        (vertices): called when the outline is completed.
    """

    def __init__(
        self,
        view: PlaneView,
        painter: Callable[[], PromptPainter | None],
        completed: Callable[[list[Pixel]], None],
    ) -> None:
        self._view, self._painter, self._completed = view, painter, completed
        self._plane: Plane | None = None
        self._places: list[Pixel] = []

    @property
    def places(self) -> list[Pixel]:
        """(row, col) of the vertices on the displayed plane, in pixels."""
        return self._places if self._plane == self._view.plane else []

    def click(self, row: float, col: float) -> None:
        """Set a vertex, or complete the outline by its first one."""
        if len(self.places) >= LEAST_VERTICES and self._on_first(row, col):
            self.complete()
            return
        self._plane, self._places = self._view.plane, [*self.places, (row, col)]
        self.show((row, col))

    def show(self, cursor: Pixel) -> None:
        """Draw the outline, and what a click at `cursor` would make of it."""
        painter = self._painter()
        if self.places and painter is not None:
            painter.sketch_outline(self.places, cursor)

    def remove_last(self) -> bool:
        """Remove the last vertex; False if there is none."""
        last = self.places[-1:]
        if last:
            self._places = self.places[:-1]
            self._take_back()
            self.show(last[0])
        return bool(last)

    def clear(self) -> bool:
        """Remove the vertices; False if there are none."""
        had, self._places = bool(self.places), []
        if had:
            self._take_back()
        return had

    def complete(self) -> bool:
        """Report the outline; False if it has too few vertices, which then stay."""
        found = list(self.places)
        if len(found) < LEAST_VERTICES:
            return False
        self.clear()
        self._completed(found)
        return True

    def _on_first(self, row: float, col: float) -> bool:
        away = np.subtract((row, col), self.places[0]) * self._view.pixel_on_screen()
        return float(np.linalg.norm(away)) <= GRAB_PX

    def _take_back(self) -> None:
        painter = self._painter()
        if painter is not None:
            painter.take_back()
