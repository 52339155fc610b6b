"""Mouse gestures on the prompt layer, which stays in pan/zoom mode."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_scsam.core.prompts import Box

# A press that moves less than this is a click (screen pixels).
CLICK_PX = 4.0
# How near to a point's centre a press takes hold of it (screen pixels).
GRAB_PX = 10.0

LEFT, RIGHT = 1, 2

Pixel = tuple[float, float]


@dataclass(frozen=True)
class GestureActions:
    """What the gestures call.

    Attributes
    ----------
    to_pixel : callable
        World position of an event -> (row, col) of the shown plane, or None outside it.
    points_on_screen : callable
        () -> ndarray of shape (n, 2): world (row, col) of the shown points.
    zoom : callable
        () -> screen pixels per world unit.
    click : callable
        (row, col, shift held) -> a click on empty ground.
    select, drag, drop : callable
        (index), (index, row, col) while dragging, (index, row, col) at its end.
    draw_box, box : callable
        (Box) while drawing, (Box) at its end.
    pan : callable
        (row, col) world units that the picture is to move by.
    left_draws_box : callable
        () -> whether the box tool is picked.
    """

    to_pixel: Callable[[Any], Pixel | None]
    points_on_screen: Callable[[], NDArray[np.float64]]
    zoom: Callable[[], float]
    click: Callable[[float, float, bool], None]
    select: Callable[[int | None], None]
    drag: Callable[[int, float, float], None]
    drop: Callable[[int, float, float], None]
    draw_box: Callable[[Box], None]
    box: Callable[[Box], None]
    pan: Callable[[float, float], None]
    left_draws_box: Callable[[], bool]


def make_gesture(actions: GestureActions) -> Callable[[Any, Any], Generator[None, None, None]]:
    """Build the generator for a layer's ``mouse_drag_callbacks``.

    Every event of a gesture is marked as handled, so that napari's camera leaves it alone.
    """

    def gesture(_layer: Any, event: Any) -> Generator[None, None, None]:
        if event.button not in (LEFT, RIGHT) or len(event.dims_displayed) != 2:
            return
        event.handled = True
        start = np.asarray(event.pos, float)
        grabbed = _nearest(actions, event) if event.button == LEFT else None
        if grabbed is not None:
            yield from _drag_point(actions, event, grabbed, start)
        elif event.button == RIGHT or actions.left_draws_box():
            yield from _draw_box(actions, event, start)
        else:
            yield from _click_or_pan(actions, event, start)

    return gesture


def _drag_point(
    actions: GestureActions, event: Any, index: int, start: NDArray[np.float64]
) -> Generator[None, None, None]:
    moved = False
    yield
    while event.type == "mouse_move":
        event.handled = True
        moved = moved or _far(event, start)
        pixel = actions.to_pixel(event)
        if moved and pixel is not None:
            actions.drag(index, *pixel)
        yield
    event.handled = True
    pixel = actions.to_pixel(event)
    if moved and pixel is not None:
        actions.drop(index, *pixel)
    else:
        actions.select(index)


def _draw_box(
    actions: GestureActions, event: Any, start: NDArray[np.float64]
) -> Generator[None, None, None]:
    corner = actions.to_pixel(event)
    yield
    while event.type == "mouse_move":
        event.handled = True
        box = _box(corner, actions.to_pixel(event))
        if box is not None and _far(event, start):
            actions.draw_box(box)
        yield
    event.handled = True
    box = _box(corner, actions.to_pixel(event))
    if box is not None and _far(event, start):
        actions.box(box)


def _click_or_pan(
    actions: GestureActions, event: Any, start: NDArray[np.float64]
) -> Generator[None, None, None]:
    shift = "Shift" in event.modifiers
    last, panned = start, False
    yield
    while event.type == "mouse_move":
        event.handled = True
        panned = panned or _far(event, start)
        if panned:
            last = _pan(actions, event, last)
        yield
    event.handled = True
    pixel = actions.to_pixel(event)
    if panned:
        _pan(actions, event, last)
    elif pixel is not None:
        actions.click(*pixel, shift)


def _pan(actions: GestureActions, event: Any, last: NDArray[np.float64]) -> NDArray[np.float64]:
    here = np.asarray(event.pos, float)
    # Screen x is the column axis, y the row axis.
    d_col, d_row = (here - last) / actions.zoom()
    actions.pan(float(d_row), float(d_col))
    return here


def _nearest(actions: GestureActions, event: Any) -> int | None:
    points = actions.points_on_screen()
    if not len(points):
        return None
    here = np.asarray(event.position)[list(event.dims_displayed)]
    distance = np.linalg.norm(points - here, axis=1) * actions.zoom()
    index = int(distance.argmin())
    return index if distance[index] <= GRAB_PX else None


def _far(event: Any, start: NDArray[np.float64]) -> bool:
    return bool(np.linalg.norm(np.asarray(event.pos, float) - start) > CLICK_PX)


def _box(a: Pixel | None, b: Pixel | None) -> Box | None:
    if a is None or b is None:
        return None
    (r0, r1), (c0, c1) = sorted((a[0], b[0])), sorted((a[1], b[1]))
    return (r0, c0, r1, c1) if r1 - r0 >= 1 and c1 - c0 >= 1 else None
