"""Draws boxes and strokes as one layer of line segments, and finds the one at a position."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from napari.utils.color import transform_color
from numpy.typing import NDArray

from napari_scsam._napari.plane_vectors import PlaneVectors
from napari_scsam.core.geometry import Plane
from napari_scsam.core.smooth_outline import smooth_outline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari.layers import Vectors

    from napari_scsam._napari.gestures import Pixel
    from napari_scsam.core.prompts import Line, ObjectKey, PromptSet

# In screen pixels. Arbitrary.
WIDTH_PX = 1.5
DASH_PX, GAP_PX = 6.0, 5.0  # arbitrary
HANDLE_PX = 4.0  # arbitrary

# Opacity of objects that are not the active one. Arbitrary.
DIMMED = 0.45

Path = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DrawnLine:
    """One line on the canvas.

    Attributes
    ----------
    path : ndarray of shape (n, 2), float
        (row, col) in pixels of the plane; a closed line ends where it begins.
    colour : ndarray of shape (4,), float
        RGBA, 0..1.
    dashed : bool
        Marks negative prompts.
    handles : bool
        Marks the selected line with squares.
    line : Line, optional
        The prompt that it draws; None for an unfinished line.
    """

    path: Path
    colour: NDArray[np.float32]
    dashed: bool = False
    handles: bool = False
    line: Line | None = None


def prompt_lines(
    prompts: PromptSet, colours: Mapping[int, str], selected: Line | None, active: ObjectKey | None
) -> list[DrawnLine]:
    """The lines that draw the boxes and strokes of a plane."""
    drawn = [
        DrawnLine(box_path(*box), colour_of(colours, key, active), line=key)
        for key, box in prompts.boxes.items()
    ]
    for index, stroke in enumerate(prompts.strokes):
        colour = colour_of(colours, stroke.object_key, active)
        path = np.asarray(stroke.path)
        path = np.vstack([path, path[:1]]) if stroke.kind == "lasso" else path
        drawn.append(DrawnLine(path, colour, not stroke.positive, line=index))
    return [replace(one, handles=one.line == selected) for one in drawn]


def outline_lines(
    vertices: Sequence[Pixel], colour: NDArray[np.float32], cursor: Pixel | None
) -> list[DrawnLine]:
    """The lines that draw an unfinished smooth outline, and dashed with a vertex at `cursor`."""
    squares = [DrawnLine(np.array([place, place]), colour, handles=True) for place in vertices]
    more = []
    if cursor not in (None, vertices[-1]):
        more = [DrawnLine(_curve([*vertices, cursor]), colour, True)]
    return [DrawnLine(_curve(vertices), colour), *more, *squares]


def _curve(vertices: Sequence[Pixel]) -> Path:
    """The smooth outline through `vertices`, or a straight line through too few."""
    curve = smooth_outline(vertices)
    return np.array([*vertices, vertices[-1]]) if curve is None else curve


def box_path(r0: float, c0: float, r1: float, c1: float) -> Path:
    """A box as a closed line."""
    return np.array([(r0, c0), (r0, c1), (r1, c1), (r1, c0), (r0, c0)], float)


def is_dimmed(key: ObjectKey, active: ObjectKey | None) -> bool:
    """Whether `key` is an object of the active class, but not the active one."""
    return active is not None and key[0] == active[0] and key != active


def colour_of(
    colours: Mapping[int, str], key: ObjectKey, active: ObjectKey | None
) -> NDArray[np.float32]:
    """RGBA of a line of the object `key`."""
    rgba = np.array(transform_color(colours[key[0]])[0], np.float32)
    rgba[3] = DIMMED if is_dimmed(key, active) else 1.0
    return rgba


class LinePainter:
    """Paints lines of one plane into a Vectors layer.

    Parameters
    ----------
    layer : napari.layers.Vectors
    spacing : tuple of float
        Of the image's axes.
    """

    def __init__(self, layer: Vectors, spacing: tuple[float, ...]) -> None:
        self._vectors = PlaneVectors(layer, spacing)
        self._drawn: list[DrawnLine] = []
        self._plane = Plane()

    def paint(self, plane: Plane, drawn: Sequence[DrawnLine], zoom: float) -> None:
        """Show `drawn` instead of the previous lines; `zoom` is screen pixels per world unit."""
        self._drawn, self._plane = list(drawn), plane
        if not drawn:
            self._vectors.clear()
            return
        per_px = 1 / max(zoom, 1e-6)
        pieces = [_pieces(one, one.path * self._in_plane, per_px) for one in drawn]
        colours = np.repeat([one.colour for one in drawn], [len(piece) for piece in pieces], axis=0)
        self._vectors.show(plane, np.concatenate(pieces), colours, WIDTH_PX * per_px)

    def line_at(self, row: float, col: float, reach: float) -> Line | None:
        """The line nearest to a pixel of the plane, within `reach` world units."""
        here = np.array([row, col]) * self._in_plane
        near = [
            (_distance(one.path * self._in_plane, here), i)
            for i, one in enumerate(self._drawn)
            if one.line is not None
        ]
        distance, index = min(near, default=(np.inf, 0))
        return self._drawn[index].line if distance <= reach else None

    @property
    def _in_plane(self) -> NDArray[np.float64]:
        """World units per (row, col) of the plane."""
        return self._vectors.in_plane(self._plane)


def _pieces(line: DrawnLine, path: Path, per_px: float) -> NDArray[np.float64]:
    """Segments (n, 2, 2) that draw a line: solid or dashed, with squares if it is selected."""
    if line.dashed:
        pieces = _dashes(path, DASH_PX * per_px, GAP_PX * per_px)
    else:
        pieces = np.stack([path[:-1], path[1:]], axis=1)
    if not line.handles:
        return pieces
    # About six, however long the stroke (arbitrary).
    places = path[:: max(1, len(path) // 6)]
    side = HANDLE_PX * per_px
    squares = [box_path(r - side, c - side, r + side, c + side) for r, c in places]
    return np.concatenate([pieces, *(np.stack([s[:-1], s[1:]], axis=1) for s in squares)])


def _dashes(path: Path, dash: float, gap: float) -> NDArray[np.float64]:
    steps = np.hypot(*np.diff(path, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    starts = np.arange(0, max(along[-1], dash), dash + gap)
    ends = np.minimum(starts + dash, along[-1])
    at = [
        np.stack([np.interp(where, along, path[:, axis]) for axis in (0, 1)], axis=1)
        for where in (starts, ends)
    ]
    return np.stack(at, axis=1)


def _distance(path: Path, here: NDArray[np.float64]) -> float:
    """Shortest distance from a position to a line of one or more positions."""
    starts, ends = path[:-1] if len(path) > 1 else path, path[1:] if len(path) > 1 else path
    steps = ends - starts
    lengths = (steps**2).sum(axis=1)
    share = ((here - starts) * steps).sum(axis=1) / np.where(lengths > 0, lengths, 1)
    nearest = starts + np.clip(share, 0, 1)[:, None] * steps
    return float(np.linalg.norm(nearest - here, axis=1).min())
