"""What a label map lies on, as the writers need it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_scsam.core.arrays import Affine


class Grid(Protocol):
    """Geometry of an image: a Volume in memory, or the record of one in a project."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, cols) or (slices, rows, cols)."""

    @property
    def affine(self) -> Affine:
        """Maps the reversed index (col, row, slice, 1) to RAS millimetres."""

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance between neighbours along each axis of `shape`, in mm."""

    @property
    def spacing_known(self) -> bool:
        """False when the file named no spacing."""

    @property
    def header(self) -> Mapping[str, Any]:
        """Facts of the source format that its export keeps."""
