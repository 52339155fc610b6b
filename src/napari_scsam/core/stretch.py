"""Resampling of planes with anisotropic pixels to square pixels, as the models expect."""

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

# Planes are resampled from this ratio of the pixel sides on; smaller ones are common in pictures.
MIN_RATIO = 1.25
# Maximum factor: between slices further apart there is too little information for the memory.
MAX_FACTOR = 8.0


@dataclass(frozen=True)
class Stretch:
    """Resampling factors of rows and columns; one of them is 1.

    Attributes
    ----------
    rows, cols : float
        1 to 8.
    """

    rows: float = 1.0
    cols: float = 1.0

    @classmethod
    def of(cls, volume: Volume, plane: Plane) -> Stretch:
        """Return the factors for a plane across the slices of a volume.

        Planes along axis 0 are not resampled, since rounds are trained on them as they are.
        """
        if volume.ndim == 2 or plane.axis == 0:
            return cls()
        height, width = (s for axis, s in enumerate(volume.spacing) if axis != plane.axis)
        finer = min(height, width)
        wanted = (min(height / finer, MAX_FACTOR), min(width / finer, MAX_FACTOR))
        return cls() if max(wanted) < MIN_RATIO else cls(*wanted)

    @property
    def is_none(self) -> bool:
        """Whether the plane is not resampled."""
        return self.rows == self.cols == 1.0

    def pixels(self, pixels: Pixels) -> Pixels:
        """Resample a plane (rows, cols) or (rows, cols, 3) to square pixels, float32, bilinear."""
        shape = self._shape(pixels.shape[:2])
        stretched: Pixels = resize(
            pixels.astype(np.float32), shape, order=1, mode="edge", anti_aliasing=False
        )
        return stretched

    def label(self, label: LabelArray) -> LabelArray:
        """Resample a label plane of shape (rows, cols), nearest neighbour."""
        return _taken(label, self._shape(label.shape))

    def label_back(self, label: LabelArray, shape: tuple[int, int]) -> LabelArray:
        """Resample a label back to the plane's own grid, shape (rows, cols)."""
        return _taken(label, shape)

    def odds_back(self, odds: NDArray[np.floating], shape: tuple[int, int]) -> Logits:
        """Resample log-odds back to the plane's own grid, shape (rows, cols), bilinear."""
        back: Logits = resize(odds.astype(np.float32), shape, order=1, anti_aliasing=False)
        return back.astype(odds.dtype)

    def prompts(self, prompts: PromptSet, shape: tuple[int, int]) -> PromptSet:
        """Convert the prompts of a plane of `shape` (rows, cols) to resampled pixels."""
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
    """Resample `label` to a grid of another `shape`, nearest neighbour."""
    rows, cols = (_nearest(new, old) for new, old in zip(shape, label.shape, strict=True))
    return label[np.ix_(rows, cols)]


def _nearest(new: int, old: int) -> NDArray[np.intp]:
    return ((np.arange(new) + 0.5) * old / new).astype(np.intp)
