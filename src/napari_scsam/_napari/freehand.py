"""Freehand outlines with napari's polygon tool: a drag draws, a click sets a vertex."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam._napari.gestures import CLICK_PX, LEFT, STEP_PX

if TYPE_CHECKING:
    from collections.abc import Generator

# Fewer vertices enclose nothing.
LEAST_VERTICES = 3


def freehand(layer: Any, event: Any) -> Generator[None, None, None]:
    """For a Labels layer's ``mouse_drag_callbacks``: adds vertices while the mouse is dragged.

    A drag that starts an outline completes it when the button is released. A drag after a click
    adds to the outline, which goes on.
    """
    if str(layer.mode) != "polygon" or event.button != LEFT or len(event.dims_displayed) != 2:
        return
    polygon = layer._overlays["polygon"]
    starts = not polygon.points
    first = last = np.asarray(event.pos, float)
    dragged = False
    yield
    while event.type == "mouse_move":
        here = np.asarray(event.pos, float)
        dragged = dragged or bool(np.linalg.norm(here - first) > CLICK_PX)
        if dragged and np.linalg.norm(here - last) > STEP_PX:
            last = here
            vertex = _vertex(layer, event)
            # The last point is napari's cursor.
            polygon.points = [*polygon.points[:-1], vertex, [value + 1e-3 for value in vertex]]
        yield
    if not dragged or not starts:
        return
    points = polygon.points[:-1]
    if len(points) < LEAST_VERTICES:
        polygon.points = []
        return
    polygon.points = points
    polygon.add_polygon_to_labels(layer)


def _vertex(layer: Any, event: Any) -> list[float]:
    """Position of an event as a vertex of napari's polygon, whose pixels are whole numbers."""
    place = np.array(layer.world_to_data(event.position), float)
    place[list(event.dims_displayed)] += 0.5
    return [float(value) for value in place]
