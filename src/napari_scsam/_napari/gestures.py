"""Mouse gestures on the prompt layer, which stays in pan/zoom mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from skimage.measure import approximate_polygon

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from numpy.typing import NDArray

    from napari_scsam.annotation.scene import Drag

# All in screen pixels, and arbitrary. A press that moves less than this is a click.
CLICK_PX = 4.0
# A press within this distance of a point's centre drags it.
GRAB_PX = 10.0
# Least distance of two positions of a line while it is drawn, and the most that the
# simplification of the finished line may move it.
STEP_PX = 2.0
SIMPLIFY_PX = 1.0  # arbitrary

# Button numbers of vispy.
LEFT, RIGHT = 1, 2

Pixel = tuple[float, float]
Drawn = Literal["box", "scribble", "lasso"]
_DRAWN: Mapping[Drag, Drawn] = {"box": "box", "scribble": "scribble", "lasso": "lasso"}


@dataclass(frozen=True)
class GestureActions:
    """Callbacks of the gestures.

    Attributes
    ----------
    begin : callable
        () -> a token for the gesture that begins.
    goes_on : callable
        (token) -> whether the gesture is still valid: it was not cancelled, and the plane
        that it began on is still displayed.
    to_pixel : callable
        World position of an event -> (row, col) of the displayed plane, which may lie outside
        the image; None without a plane.
    points_on_screen : callable
        () -> ndarray of shape (n, 2): world (row, col) of the displayed points.
    zoom : callable
        () -> screen pixels per world unit.
    pixel_on_screen : callable
        () -> screen pixels per pixel of the plane, along its longer side.
    click : callable
        (row, col, shift held) -> a click where there is no point.
    undo_click : callable
        () -> whether a right click removed the last vertex of an outline.
    select, drag, drop : callable
        (index), (index, row, col) while dragging, (index, row, col) at its end.
    sketch, draw : callable
        (what, path, shift held) while drawing, and at its end. The first and last positions
        of a box's path are its corners.
    pan : callable
        (row, col) in world units: moves the picture.
    left_drag : callable
        () -> what dragging with the left button does.
    """

    begin: Callable[[], object]
    goes_on: Callable[[object], bool]
    to_pixel: Callable[[Any], Pixel | None]
    points_on_screen: Callable[[], NDArray[np.float64]]
    zoom: Callable[[], float]
    pixel_on_screen: Callable[[], float]
    click: Callable[[float, float, bool], None]
    undo_click: Callable[[], bool]
    select: Callable[[int | None], None]
    drag: Callable[[int, float, float], None]
    drop: Callable[[int, float, float], None]
    sketch: Callable[[Drawn, list[Pixel], bool], None]
    draw: Callable[[Drawn, list[Pixel], bool], None]
    pan: Callable[[float, float], None]
    left_drag: Callable[[], Drag]


def make_gesture(actions: GestureActions) -> Callable[[Any, Any], Generator[None, None, None]]:
    """Build the generator for a layer's ``mouse_drag_callbacks``.

    Every event of a gesture is marked as handled, so that napari's camera ignores it.
    """

    def gesture(_layer: Any, event: Any) -> Generator[None, None, None]:
        if event.button not in (LEFT, RIGHT) or len(event.dims_displayed) != 2:
            return
        event.handled = True
        drag: Drag = actions.left_drag()
        if event.button == RIGHT:
            if drag == "outline" and actions.undo_click():
                return
            drag = "box"
        grabs = event.button == LEFT and drag != "outline"
        grabbed = _nearest(actions, event) if grabs else None
        if grabbed is not None:
            yield from _drag_point(actions, event, grabbed)
        elif (what := _DRAWN.get(drag)) is None or "Control" in event.modifiers:
            yield from _click_or_pan(actions, event)
        else:
            yield from _draw(actions, event, what)

    return gesture


def _drag_point(actions: GestureActions, event: Any, index: int) -> Generator[None, None, None]:
    token, start, moved = actions.begin(), _position(event), False
    yield
    while event.type == "mouse_move":
        event.handled = True
        moved = moved or _far(event, start)
        pixel = actions.to_pixel(event)
        if moved and pixel is not None and actions.goes_on(token):
            actions.drag(index, *pixel)
        yield
    event.handled = True
    pixel = actions.to_pixel(event)
    if pixel is None or not actions.goes_on(token):
        return
    if moved:
        actions.drop(index, *pixel)
    else:
        actions.select(index)


def _draw(actions: GestureActions, event: Any, what: Drawn) -> Generator[None, None, None]:
    token, start, moved = actions.begin(), _position(event), False
    last, shift, is_left = start, "Shift" in event.modifiers, event.button == LEFT
    path = [pixel for pixel in [actions.to_pixel(event)] if pixel is not None]
    yield
    while event.type == "mouse_move":
        event.handled = True
        moved = moved or _far(event, start)
        pixel = actions.to_pixel(event)
        if moved and pixel is not None and actions.goes_on(token) and _far(event, last, STEP_PX):
            last = _position(event)
            path.append(pixel)
            actions.sketch(what, path, shift)
        yield
    event.handled = True
    pixel = actions.to_pixel(event)
    if pixel is None or not path or not actions.goes_on(token):
        return
    if is_left and not moved:
        actions.click(*path[0], shift)
    else:
        tolerance = SIMPLIFY_PX / actions.pixel_on_screen()
        actions.draw(what, simplified([*path, pixel], tolerance), shift)


def simplified(path: list[Pixel], tolerance: float) -> list[Pixel]:
    """`path` with fewer positions, all of it within `tolerance` of the original."""
    return [(float(r), float(c)) for r, c in approximate_polygon(np.array(path), tolerance)]


def _click_or_pan(actions: GestureActions, event: Any) -> Generator[None, None, None]:
    token, start, panned = actions.begin(), _position(event), False
    last, shift = start, "Shift" in event.modifiers
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
    elif pixel is not None and actions.goes_on(token):
        actions.click(*pixel, shift)


def _pan(actions: GestureActions, event: Any, last: NDArray[np.float64]) -> NDArray[np.float64]:
    here = _position(event)
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


def _position(event: Any) -> NDArray[np.float64]:
    """Screen position (x, y)."""
    return np.asarray(event.pos, float)


def _far(event: Any, start: NDArray[np.float64], least: float = CLICK_PX) -> bool:
    return bool(np.linalg.norm(_position(event) - start) > least)
