"""A plane of oblong pixels stretched to square ones, which is what a model of pictures knows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from skimage.transform import resize

from napari_scsam.core.prompts import Point, PromptSet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_scsam.core.arrays import LabelArray, Logits, Pixels
    from napari_scsam.core.geometry import Plane
    from napari_scsam.core.volume import Volume

# Pixels this much longer than wide are left alone: pictures like that are common.
TOLERATED = 1.25
# Slices further apart than this have too little between them to be worth the memory.
MOST = 8.0


@dataclass(frozen=True)
class Stretch:
    """How many times as many rows and columns a plane gets; one of them is 1.

    Attributes
    ----------
    rows, cols : float
        From 1 to 8.
    """

    rows: float = 1.0
    cols: float = 1.0

    @classmethod
    def of(cls, volume: Volume, plane: Plane) -> Stretch:
        """The stretch of a plane across the slices of a volume.

        Planes along axis 0 are left as they are: rounds learn from them like that.
        """
        if volume.ndim == 2 or plane.axis == 0:
            return cls()
        height, width = (s for axis, s in enumerate(volume.spacing) if axis != plane.axis)
        finer = min(height, width)
        wanted = (min(height / finer, MOST), min(width / finer, MOST))
        return cls() if max(wanted) < TOLERATED else cls(*wanted)

    @property
    def is_none(self) -> bool:
        """Whether the plane stays as it is."""
        return self.rows == self.cols == 1.0

    def pixels(self, pixels: Pixels) -> Pixels:
        """A plane (rows, cols) or (rows, cols, 3) with square pixels, float32, bilinear."""
        shape = self._shape(pixels.shape[:2])
        stretched: Pixels = resize(
            pixels.astype(np.float32), shape, order=1, mode="edge", anti_aliasing=False
        )
        return stretched

    def label(self, label: LabelArray) -> LabelArray:
        """A label plane of shape (rows, cols) on the stretched grid, by the nearest pixel."""
        return _taken(label, self._shape(label.shape))

    def label_back(self, label: LabelArray, shape: tuple[int, int]) -> LabelArray:
        """A label of the stretched grid on the plane's own, of shape (rows, cols)."""
        return _taken(label, shape)

    def odds_back(self, odds: NDArray[np.floating], shape: tuple[int, int]) -> Logits:
        """Log-odds of the stretched grid on the plane's own, of shape (rows, cols), bilinear."""
        back: Logits = resize(odds.astype(np.float32), shape, order=1, anti_aliasing=False)
        return back.astype(odds.dtype)

    def prompts(self, prompts: PromptSet, shape: tuple[int, int]) -> PromptSet:
        """The prompts of a plane of (rows, cols), in pixels of the stretched one."""
        factors = np.divide(self._shape(shape), shape)

        def moved(row: float, col: float) -> Point:
            r, c = (np.array([row, col]) + 0.5) * factors - 0.5
            return (float(r), float(c))

        points = []
        for point in prompts.points:
            row, col = moved(point.row, point.col)
            points.append(replace(point, row=row, col=col))
        boxes = {key: (*moved(*box[:2]), *moved(*box[2:])) for key, box in prompts.boxes.items()}
        strokes = [
            replace(s, path=tuple(moved(*place) for place in s.path)) for s in prompts.strokes
        ]
        return PromptSet(tuple(points), boxes, tuple(strokes))

    def _shape(self, shape: tuple[int, ...]) -> tuple[int, int]:
        rows, cols = shape
        return (round(rows * self.rows), round(cols * self.cols))


def _taken(label: LabelArray, shape: tuple[int, int]) -> LabelArray:
    """`label` at the pixels nearest to those of a grid of another `shape` over the same ground."""
    rows, cols = (_nearest(new, old) for new, old in zip(shape, label.shape, strict=True))
    return label[np.ix_(rows, cols)]


def _nearest(new: int, old: int) -> NDArray[np.intp]:
    return ((np.arange(new) + 0.5) * old / new).astype(np.intp)
