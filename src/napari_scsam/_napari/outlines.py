"""Draws the outline of the displayed mask, equally thin at every zoom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.utils.color import transform_color

from napari_scsam._napari.contours import Contours, contours_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from napari_scsam._napari.plane_vectors import PlaneVectors
    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.geometry import Plane

# Screen pixels; arbitrary.
OUTLINE_PX = 1.5
# Screen pixels of a dash in the outline of a draft, and of the gap after it, at least. Arbitrary.
DASH_PX = 6.0
# Pixels, at most, that are outlined as one. Arbitrary.
COARSEST = 16
# What has changed is lit by so many lines beside each other. Arbitrary.
LIT_LINES = 3


class OutlinePainter:
    """Draws the outline of one plane as line segments; changed pixels are lit by a thick one.

    The outline lies inside the mask, so that classes that touch have one each. It is found once
    for each mask, and again only in another zoom that needs other dashes, or shows several pixels
    in one of the screen.

    Parameters
    ----------
    vectors : PlaneVectors
    colours : mapping of class id to '#RRGGBB'
    zoom : callable
        () -> screen pixels per world unit.
    """

    def __init__(
        self, vectors: PlaneVectors, colours: Mapping[int, str], zoom: Callable[[], float]
    ) -> None:
        self._vectors = vectors
        self._zoom = zoom
        self._colours = np.zeros((256, 4), np.float32)  # a row for each value of a label
        for class_id, colour in colours.items():
            self._colours[class_id] = transform_color(colour)[0]
        self._plane: Plane | None = None
        self._label: LabelArray | None = None
        self._outline: Contours | None = None
        self._lit: Contours | None = None
        self._dashed = False
        # Pixels of a dash, and of the squares that are outlined as one pixel.
        self._grain = (0, 1)

    def show(
        self,
        plane: Plane,
        label: LabelArray | None,
        *,
        dashed: bool = False,
        lit: LabelArray | None = None,
    ) -> None:
        """Draw the outline of a label plane instead of the previous one.

        Parameters
        ----------
        plane : Plane
        label : ndarray of shape (rows, cols), uint8, optional
            None for nothing.
        dashed : bool
        lit : ndarray of shape (rows, cols), uint8, optional
            What has changed, drawn with a thick outline.
        """
        self._plane, self._label, self._dashed = plane, label, dashed
        self._grain = self._find_grain(plane)
        self._outline = None if label is None else contours_of(label, *self._grain)
        self._lit = None if lit is None else contours_of(lit, 0, self._grain[1])
        self._draw()

    def dim(self) -> None:
        """Draw only the outline, and no longer what had changed."""
        if self._lit is not None:
            self._lit = None
            self._draw()

    def redraw(self) -> None:
        """Draw the outline at the present zoom."""
        if self._plane is None or self._outline is None:
            return
        grain = self._find_grain(self._plane)
        if grain != self._grain and self._label is not None:
            self._grain = grain
            self._outline = contours_of(self._label, *grain)
        self._draw()

    def _find_grain(self, plane: Plane) -> tuple[int, int]:
        """Pixels of a dash, or 0, and of a square that is at most one pixel of the screen."""
        pixel = max(float(self._vectors.in_plane(plane).min()) * self._zoom(), 1e-6)
        dash = max(1, round(DASH_PX / pixel)) if self._dashed else 0
        return dash, max(1, min(int(1 / pixel), COARSEST))

    def _draw(self) -> None:
        width = OUTLINE_PX / max(self._zoom(), 1e-6)
        lines = [(self._outline, 0.5)]
        lines += [(self._lit, line + 0.5) for line in range(LIT_LINES)]
        drawn = [(found, depth * width) for found, depth in lines if found is not None and found]
        if self._plane is None or not drawn:
            self._vectors.clear()
            return
        pieces = [self._inset(self._plane, found, depth) for found, depth in drawn]
        ids = np.concatenate([found.class_ids for found, _ in drawn])
        self._vectors.show(self._plane, np.concatenate(pieces), self._colours[ids], width)

    def _inset(self, plane: Plane, found: Contours, depth: float) -> NDArray[np.float64]:
        """Segments in world units, moved into their class by `depth`."""
        moved = found.pieces * self._vectors.in_plane(plane)
        moved += depth * found.inward[:, None]
        return moved
