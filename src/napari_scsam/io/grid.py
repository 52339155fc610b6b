"""The grid of a label map, as the writers need it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_scsam.core.arrays import Affine


class Grid(Protocol):
    """The geometry of an image: a Volume in memory, or an image's record in a project."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, cols) or (slices, rows, cols)."""

    @property
    def affine(self) -> Affine:
        """Maps the reversed index (col, row, slice, 1) to RAS millimetres."""

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance between neighbouring voxels along each axis of `shape`, in mm."""

    @property
    def spacing_known(self) -> bool:
        """Whether the file has a spacing."""

    @property
    def header(self) -> Mapping[str, Any]:
        """Header fields of the source format that an export preserves."""


@dataclass(frozen=True, eq=False)
class SliceGrid:
    """The grid of one slice of a volume, as a volume of one slice at the same place.

    Attributes
    ----------
    shape : tuple of int
    affine : ndarray of shape (4, 4), float64
    spacing : tuple of float
    spacing_known : bool
    header : mapping
        As those of a `Grid`.
    """

    shape: tuple[int, ...]
    affine: Affine
    spacing: tuple[float, ...]
    spacing_known: bool
    header: Mapping[str, Any]

    @staticmethod
    def of(grid: Grid, index: int) -> SliceGrid:
        """The grid of the slice `index` of a volume."""
        header = dict(grid.header)
        if "qform" in header:
            header["qform"] = _shifted(np.array(header["qform"], np.float64), index).tolist()
        return SliceGrid(
            (1, *grid.shape[1:]),
            _shifted(grid.affine, index),
            grid.spacing,
            grid.spacing_known,
            header,
        )


def _shifted(affine: Affine, index: int) -> Affine:
    """The affine of a volume whose first slice is the slice `index`."""
    shifted = np.array(affine, dtype=np.float64)
    shifted[:3, 3] += index * shifted[:3, 2]
    return shifted
