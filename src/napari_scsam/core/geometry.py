"""Affines (4x4, voxel index to RAS millimetres) and planes of a volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from napari_scsam.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

    from napari_scsam.core.arrays import Affine

# Smallest size of a voxel, in mm (arbitrary; float32 ends at 1e-38, and sizes are squared).
SMALLEST = 1e-15
# Names of the planes perpendicular to the directions right, anterior, superior.
PLANE_NAMES = ("sagittal", "coronal", "axial")


@dataclass(frozen=True, order=True)
class Plane:
    """One orthogonal plane of an image.

    Attributes
    ----------
    axis : int
        Axis of the (slice, row, col) array that the plane is perpendicular to.
        A two-dimensional image has the single plane ``Plane(0, 0)``.
    index : int
        Position along that axis, from 0.
    """

    axis: int = 0
    index: int = 0


def as_affine(value: ArrayLike) -> Affine:
    """Copy `value` as a finite, invertible 4x4 float64 affine.

    Raises
    ------
    InputError
        If the shape is not (4, 4), a value is not finite, or it can't be inverted.
    """
    affine = np.array(value, dtype=np.float64)
    if affine.shape != (4, 4):
        raise InputError(f"An affine has shape (4, 4), got {affine.shape}.")
    if not np.isfinite(affine).all() or not is_invertible(affine):
        raise InputError(
            "The image's affine is not invertible: its header has no usable voxel spacing."
        )
    return affine


def is_invertible(affine: Affine) -> bool:
    """Whether three axes point in different directions, however large or small the voxels are.

    Axes that lie within a millionth (arbitrary) of one plane count as flat, and so do voxels of a
    size near the ends of float32, in which files store it.
    """
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not ((lengths > SMALLEST) & (lengths < 1 / SMALLEST)).all():  # also false for NaN
        return False
    return bool(abs(np.linalg.det(affine[:3, :3] / lengths)) > 1e-6)


def affine_from_spacing(spacing: tuple[float, ...]) -> Affine:
    """Return a diagonal affine for array spacing in millimetres.

    Parameters
    ----------
    spacing : tuple of float
        (row, col) or (slice, row, col), in mm. The affine maps the reversed index
        (col, row, slice), as NIfTI's does.
    """
    affine = np.eye(4)
    for axis, value in enumerate(reversed(spacing)):
        affine[axis, axis] = value
    return as_affine(affine)


def spacing_of(affine: Affine, ndim: int) -> tuple[float, ...]:
    """Return the voxel spacing of the array axes (slice, row, col) or (row, col), in mm."""
    columns = np.linalg.norm(affine[:3, :3], axis=0)
    return tuple(float(v) for v in columns[:ndim][::-1])


def is_oriented(header: Mapping[str, Any]) -> bool:
    """Whether a file's header says how the patient lies in it."""
    return any(header.get(code, 0) for code in ("qform_code", "sform_code"))


def plane_names(affine: Affine) -> tuple[str, str, str]:
    """Return the names of the planes along each axis of a (slice, row, col) array.

    Parameters
    ----------
    affine : ndarray of shape (4, 4), float64
        Maps the reversed index to RAS millimetres. An oblique axis gets the name of the nearest
        direction; each name is used once.

    Returns
    -------
    tuple of 'axial', 'coronal' and 'sagittal'
        In the order of the array's axes.
    """
    directions = np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    worlds, columns = linear_sum_assignment(directions, maximize=True)
    named = {int(column): PLANE_NAMES[world] for world, column in zip(worlds, columns, strict=True)}
    return (named[2], named[1], named[0])


# Identifies a slice of the project: the id of its image, and its plane.
SliceKey = tuple[str, Plane]
