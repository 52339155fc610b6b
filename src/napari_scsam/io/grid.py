"""The grid of a label map, as the writers need it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

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
