"""A smooth closed outline through a few vertices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.draw import polygon2mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_scsam.core.arrays import Mask
    from napari_scsam.core.prompts import Point

# Fewer vertices enclose nothing.
LEAST_VERTICES = 3
# Positions of the curve between two vertices. A circle through five is then drawn to 0.1 % of its
# radius beside the spline itself (the sagitta of 1/120 of a turn is 0.03 %).
STEPS = 24


def smooth_outline(vertices: Sequence[Point]) -> NDArray[np.float64] | None:
    """Return the closed curve through `vertices`: a periodic cubic spline.

    Its parameter is the square root of the distance between vertices, summed, so that the curve
    makes no loops between vertices at unequal distances (E. T. Y. Lee, Choosing nodes in
    parametric curve interpolation, Computer-Aided Design 21, 1989).

    Parameters
    ----------
    vertices : sequence of (row, col)
        In order along the outline. Repeated ones count once.

    Returns
    -------
    ndarray of shape (n, 2), float, or None
        (row, col); the last position is the first one. Every `STEPS`-th is a vertex. None if
        there are fewer than three different vertices.
    """
    # SciPy's interpolation takes 0.1 s to import, and most sessions need none.
    from scipy.interpolate import CubicSpline

    places = np.asarray(vertices, float).reshape(-1, 2)
    # The first one is kept; each other differs from the one before, the last one from the first.
    places = places[np.append(True, np.any(places[1:] != places[:-1], axis=1))[: len(places)]]
    places = places[:-1] if len(places) > 1 and (places[0] == places[-1]).all() else places
    if len(np.unique(places, axis=0)) < LEAST_VERTICES:
        return None
    closed = np.vstack([places, places[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.sqrt(np.hypot(*np.diff(closed, axis=0).T)))])
    shares = np.arange(len(places) * STEPS + 1) / STEPS
    at = np.interp(shares, np.arange(len(along)), along)
    curve: NDArray[np.float64] = CubicSpline(along, closed, bc_type="periodic")(at)
    return curve


def enclosed(curve: NDArray[np.float64], shape: tuple[int, int]) -> Mask:
    """Return the pixels of a plane whose centres lie inside a closed curve.

    Where the curve crosses itself, the even-odd rule holds.

    Parameters
    ----------
    curve : ndarray of shape (n, 2), float
        (row, col). Parts outside the plane are cut off.
    shape : (rows, cols)

    Returns
    -------
    ndarray of shape (rows, cols), bool
    """
    inside: Mask = polygon2mask(shape, curve)
    return inside
