"""The style of points: colour by class, symbol by kind, opacity by confidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from napari.utils.color import transform_color

from napari_scsam._napari.lines import DIMMED, is_dimmed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_scsam.core.prompts import ObjectKey, PointPrompt

SYMBOLS = {"confirm": "disc", "query": "diamond", "missed": "ring", "negative": "cross"}
# Opacity at confidence 0, and size of the selected point relative to others. Arbitrary.
LEAST_OPACITY = 0.35
SELECTED_SCALE = 1.5  # arbitrary


@dataclass(frozen=True, eq=False)
class PointStyles:
    """One entry for each point.

    Attributes
    ----------
    symbols : list of str
    faces, borders : ndarray of shape (n, 4), float
        RGBA, 0..1.
    border_widths : ndarray of shape (n,), float
        Fraction of the point's size.
    sizes : ndarray of shape (n,), float
        Relative to an ordinary point.
    """

    symbols: list[str]
    faces: NDArray[np.float32]
    borders: NDArray[np.float32]
    border_widths: NDArray[np.float64]
    sizes: NDArray[np.float64]


def point_styles(
    points: Sequence[PointPrompt],
    class_colours: Mapping[int, str],
    selected: int | None,
    active: ObjectKey | None = None,
) -> PointStyles:
    """Styles of `points`: the border is white if a user placed or accepted it, else black.

    Points outside the object are crosses.
    Points of the active class's other objects are dimmed.
    """
    n = len(points)
    faces = np.zeros((n, 4), np.float32)
    borders = np.zeros((n, 4), np.float32)
    for i, point in enumerate(points):
        by_user = point.origin == "person" or point.state in ("accepted", "edited")
        opacity = 1.0 if by_user else LEAST_OPACITY + (1 - LEAST_OPACITY) * point.confidence
        faces[i] = transform_color(class_colours[point.class_id])[0]
        borders[i] = transform_color("white" if by_user else "black")[0]
        dimmed = DIMMED if is_dimmed(point.object_key, active) else 1.0
        faces[i, 3] = opacity * dimmed
        borders[i, 3] = dimmed
    return PointStyles(
        symbols=[SYMBOLS[p.kind] for p in points],
        faces=faces,
        borders=borders,
        border_widths=np.array([0.15 if p.origin == "person" else 0.1 for p in points]),
        sizes=np.array([SELECTED_SCALE if i == selected else 1.0 for i in range(n)]),
    )
