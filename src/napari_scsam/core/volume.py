"""Images and label maps as frozen values with their geometry."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.core.arrays import Affine, Pixels
from napari_scsam.core.errors import InputError
from napari_scsam.core.geometry import (
    Plane,
    affine_from_spacing,
    as_affine,
    is_oriented,
    plane_names,
    spacing_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

# The planes before and after a grey plane of a volume.
Around = tuple[Pixels, Pixels]


@dataclass(frozen=True, eq=False)
class Volume:
    """An image or volume in memory; its pixels are read-only.

    Attributes
    ----------
    data : ndarray
        (rows, cols), (slices, rows, cols), or either with a last axis of 3 when `rgb`.
        Any real dtype, the values of the file. NIfTI's axes are reversed, never reoriented.
    affine : ndarray of shape (4, 4), float64
        Maps the reversed index (col, row, slice, 1) to RAS millimetres.
    rgb : bool
        Whether the last axis of `data` is colour.
    spacing_known : bool
        False if the file has no spacing: distances are then in pixels.
    header : mapping
        Metadata of the source format that an export keeps, such as NIfTI's codes and unit;
        plain JSON values.
    """

    data: Pixels
    affine: Affine = field(default_factory=lambda: np.eye(4))
    rgb: bool = False
    spacing_known: bool = False
    header: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        data = np.asarray(self.data)
        if self.rgb and (data.ndim < 3 or data.shape[-1] != 3):
            raise InputError(f"A colour image ends in an axis of 3, got shape {data.shape}.")
        spatial = data.ndim - int(self.rgb)
        if spatial not in (2, 3):
            raise InputError(
                f"An image has 2 or 3 spatial axes, got shape {data.shape}. "
                "Split a time series into one file per time point."
            )
        data = data.view()
        data.flags.writeable = False
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "affine", as_affine(self.affine))

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape: (rows, cols) or (slices, rows, cols)."""
        return self.data.shape[:-1] if self.rgb else self.data.shape

    @property
    def ndim(self) -> int:
        """Number of spatial axes, 2 or 3."""
        return len(self.shape)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance between neighbouring pixels along each spatial axis, in mm."""
        return spacing_of(self.affine, self.ndim)

    @property
    def is_oriented(self) -> bool:
        """Whether the file defines the patient's orientation."""
        return is_oriented(self.header)

    @property
    def plane_names(self) -> tuple[str, ...]:
        """Names of the planes along each axis; empty for a two-dimensional image.

        Such as ``("axial", "coronal", "sagittal")``, or ``("axis 0", …)`` if the file does not
        define the orientation.
        """
        if self.ndim == 2:
            return ()
        return plane_names(self.affine) if self.is_oriented else ("axis 0", "axis 1", "axis 2")

    def plane_count(self, axis: int = 0) -> int:
        """Return the number of planes along `axis`; 1 for a two-dimensional image."""
        return 1 if self.ndim == 2 else self.shape[axis]

    def plane_spacing(self, axis: int = 0) -> float | None:
        """Return the distance of planes along `axis` in mm; None if the file has no spacing."""
        return self.spacing[axis] if self.spacing_known and self.ndim == 3 else None

    def plane(self, plane: Plane) -> Pixels:
        """Return the pixels of one plane: (rows, cols) or (rows, cols, 3), a read-only view."""
        return take_plane(self.data, plane, self.ndim)

    @classmethod
    def from_array(
        cls, data: Pixels, spacing: tuple[float, ...] | None = None, *, rgb: bool = False
    ) -> Volume:
        """Wrap an array; `spacing` is in mm along its spatial axes, None if unknown."""
        ndim = np.ndim(data) - int(rgb)
        affine = affine_from_spacing(spacing or (1.0,) * ndim)
        return cls(data, affine, rgb, spacing is not None)


def take_plane(data: Pixels, plane: Plane, ndim: int) -> Pixels:
    """Return a view of one plane of an array with `ndim` spatial axes.

    Raises
    ------
    InputError
        If the plane is outside the array.
    """
    if ndim == 2:
        if plane != Plane(0, 0):
            raise InputError(f"A two-dimensional image has one plane, 0; got {plane}.")
        return data
    if not (0 <= plane.axis < 3 and 0 <= plane.index < data.shape[plane.axis]):
        raise InputError(
            f"There is no plane {plane.index} along axis {plane.axis} in an image of shape "
            f"{data.shape}."
        )
    key: list[Any] = [slice(None)] * data.ndim
    key[plane.axis] = plane.index
    picked: Pixels = data[tuple(key)]
    return picked
