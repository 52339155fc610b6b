"""Align a mask with its image: their grids are compared in world coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Literal

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from scipy import ndimage

from napari_scsam.core.errors import InputError
from napari_scsam.core.geometry import is_oriented
from napari_scsam.core.labels import NOT_ANNOTATED

if TYPE_CHECKING:
    from pathlib import Path

    from napari_scsam.core.arrays import Affine, DoubleArray, IndexArray, Pixels
    from napari_scsam.core.volume import Volume
    from napari_scsam.io.grid import Grid

# Largest distance in voxels between corresponding voxels of equal grids (arbitrary; float32 headers
# are about a hundred times more precise).
TOLERANCE = 1e-3

How = Literal["same", "reoriented", "resampled", "same-grid"]


@dataclass(frozen=True)
class Placing:
    """What to do with a mask on another grid than that of its image.

    Attributes
    ----------
    resample : bool
        Resample the mask onto the image's grid by nearest neighbour.
    same_grid : bool
        Use the mask as it is, because its header is wrong.
    outside : int
        The value of pixels outside the mask when it is resampled.
    """

    resample: bool = False
    same_grid: bool = False
    outside: int = NOT_ANNOTATED

    def __post_init__(self) -> None:
        if self.resample and self.same_grid:
            raise InputError("A mask is either resampled or taken as it is: give one of the two.")


@dataclass(frozen=True, eq=False)
class Placed:
    """A mask on its image's grid.

    Attributes
    ----------
    data : ndarray of the image's shape
    how : {'same', 'reoriented', 'resampled', 'same-grid'}
        How it was brought onto the grid.
    """

    data: Pixels
    how: How


REFUSE = Placing()


def place(mask: Volume, image: Grid, names: tuple[Path, str], placing: Placing = REFUSE) -> Placed:
    """Bring a mask onto its image's grid.

    If both files have an affine, the grids are compared in world coordinates, with a tolerance of
    a thousandth of a voxel. A mask that is stored flipped or with its axes in another order is
    reoriented. If one file has only a spacing, shape and spacing are compared; if it has none
    (PNG, plain TIFF), the shape alone. An identity affine counts as no affine unless the image's
    voxels are 1 mm, too, because software without an affine writes the identity.

    Parameters
    ----------
    mask : Volume
        The mask.
    image : Grid
        The grid of its image.
    names : pair of Path and str
        Mask file and image, for messages.
    placing : Placing
        What to do with a mask on another grid; by default it is refused.

    Raises
    ------
    InputError
        If the mask is on another grid; the line names every difference. Or if it can't be
        resampled, because it has no affine or doesn't overlap the image.
    """
    differences, turn = _compare(mask, image)
    if not differences:
        return _turned(mask, turn)
    if placing.same_grid and mask.shape == tuple(image.shape):
        return Placed(mask.data, "same-grid")
    if placing.resample:
        return Placed(_resampled(mask, image, names, placing.outside), "resampled")
    path, name = names
    advice = _advice(mask, image)
    raise InputError(f"{path} is not on the grid of {name}: {'; '.join(differences)}. {advice}")


def _advice(mask: Volume, image: Grid) -> str:
    options = []
    if _geometry(mask, image) == "affine":
        options.append("--resample takes the nearest voxels")
    if mask.shape == tuple(image.shape):
        options.append("--same-grid takes it as it is, if its header is wrong")
    return f"{'; '.join(options) or 'Resample the mask onto the image first'}."


def _compare(mask: Volume, image: Grid) -> tuple[list[str], IndexArray]:
    """The differences as text, and the reorientation (axes and flips) from mask to image."""
    geometry = _geometry(mask, image)
    as_stored = np.array([[0, 1], [1, 1], [2, 1]], dtype=np.intp)
    if geometry != "affine":
        return _plain_differences(mask, image, geometry), as_stored
    between = _between(mask, image)
    turn = io_orientation(between).astype(np.intp)
    shape = _columns_first(mask)
    turned = between @ inv_ornt_aff(turn, shape)
    order = np.argsort(turn[:, 0])
    new_shape = tuple(shape[i] for i in order)
    if new_shape == _columns_first(image) and _is_near(turned, new_shape):
        return [], turn
    return _differences(mask, image, turned, new_shape), turn


def _geometry(mask: Volume, image: Grid) -> Literal["affine", "spacing", "none"]:
    """The geometry that both files have."""
    identity = np.array_equal(np.abs(mask.affine), np.eye(4))
    likely_none = identity and not np.allclose(image.spacing, 1, rtol=TOLERANCE)
    if is_oriented(mask.header) and is_oriented(image.header) and not likely_none:
        return "affine"
    mask_knows = mask.spacing_known and not np.allclose(mask.spacing, 1, rtol=1e-6)
    return "spacing" if mask_knows and image.spacing_known else "none"


def _plain_differences(mask: Volume, image: Grid, geometry: str) -> list[str]:
    if mask.shape != tuple(image.shape):
        return [_shapes(mask.shape, tuple(image.shape))]
    if geometry == "spacing" and not np.allclose(
        mask.spacing, image.spacing, rtol=TOLERANCE, atol=0
    ):
        return [_spacings(mask.spacing, image.spacing)]
    return []


def _differences(
    mask: Volume, image: Grid, turned: Affine, new_shape: tuple[int, ...]
) -> list[str]:
    """Each difference above the tolerance, or else the largest distance of voxels."""
    there = _affine(image)
    here = there @ turned
    sizes, own = np.linalg.norm(there[:3, :3], axis=0), np.linalg.norm(here[:3, :3], axis=0)
    steps = np.maximum(np.array(new_shape), 2) - 1
    found = []
    if new_shape != _columns_first(image):
        ndim = len(image.shape)
        found.append(_shapes(new_shape[:ndim][::-1], tuple(image.shape)))
    if (np.abs(own / sizes - 1) * steps > TOLERANCE).any():
        ndim = len(image.shape)
        found.append(_spacings(own[:ndim][::-1], sizes[:ndim][::-1]))
    cosines = ((there[:3, :3] / sizes) * (here[:3, :3] / own)).sum(axis=0)
    angle = float(np.arccos(np.clip(cosines, -1, 1)).max())
    if angle * steps.max() > TOLERANCE:
        found.append(f"turned by {np.degrees(angle):.3g} degrees")
    if (np.abs(turned[:3, 3]) > TOLERANCE).any():
        shift = here[:3, 3] - there[:3, 3]
        axes = ", ".join(f"{v:+.3g}" for v in shift)
        found.append(
            f"its origin is shifted by {np.linalg.norm(shift):.3g} mm (right, anterior, "
            f"superior: {axes})"
        )
    return found or [f"up to {_distance(turned, new_shape):.2g} voxels apart"]


def _shapes(mask: tuple[int, ...], image: tuple[int, ...]) -> str:
    return f"the mask has shape {tuple(map(int, mask))}, but the image has {image}"


def _spacings(mask: DoubleArray | tuple[float, ...], image: DoubleArray | tuple[float, ...]) -> str:
    own, other = (" x ".join(f"{v:.6g}" for v in s) for s in (mask, image))
    return f"its spacing is {own} mm, the image's {other} mm"


def _turned(mask: Volume, turn: IndexArray) -> Placed:
    as_stored = turn[:, 0].tolist() == [0, 1, 2] and (turn[:, 1] == 1).all()
    if as_stored:
        return Placed(mask.data, "same")
    columns_first = mask.data.reshape(_columns_first(mask)[::-1]).transpose()
    data = apply_orientation(columns_first, turn).transpose()
    return Placed(np.ascontiguousarray(data[0] if mask.ndim == 2 else data), "reoriented")


def _resampled(mask: Volume, image: Grid, names: tuple[Path, str], outside: int) -> Pixels:
    path, name = names
    if _geometry(mask, image) != "affine":
        raise InputError(
            f"{path} can't be resampled onto {name}: one of them does not say where it lies. "
            "Resample the mask onto the image's grid first."
        )
    stored = mask.data.reshape(_columns_first(mask)[::-1]).transpose()
    found = _nearest(stored, mask, image, outside)
    if not _nearest(np.ones(stored.shape, np.bool_), mask, image, 0).any():
        raise InputError(f"{path} can't be resampled onto {name}: nothing of it lies there.")
    return np.ascontiguousarray(found.transpose().reshape(tuple(image.shape)))


def _nearest(stored: Pixels, mask: Grid, image: Grid, outside: int) -> Pixels:
    """The nearest voxel of (cols, rows, slices) for each pixel of the image."""
    back = np.linalg.inv(_between(mask, image))
    # One voxel of margin, so that a pixel up to half a voxel beyond the edge is inside.
    found: Pixels = ndimage.affine_transform(
        np.pad(stored, 1, constant_values=outside),
        back[:3, :3],
        back[:3, 3] + 1,
        output_shape=_columns_first(image),
        order=0,
        mode="constant",
        cval=outside,
    )
    return found


def _columns_first(grid: Grid) -> tuple[int, ...]:
    """(cols, rows, slices), with one slice for a two-dimensional image."""
    return (*(int(n) for n in reversed(grid.shape)), 1)[:3]


def _affine(grid: Grid) -> Affine:
    """The affine; the third axis of a two-dimensional image is set perpendicular to it."""
    affine = np.array(grid.affine, dtype=np.float64)
    if len(grid.shape) == 2:
        across = np.cross(affine[:3, 0], affine[:3, 1])
        # As long as the first axis, so that the matrix is well conditioned.
        affine[:3, 2] = across / np.linalg.norm(across) * np.linalg.norm(affine[:3, 0])
    return affine


def _between(mask: Grid, image: Grid) -> Affine:
    """Maps the mask's voxels (col, row, slice, 1) to the image's."""
    return np.asarray(np.linalg.solve(_affine(image), _affine(mask)), dtype=np.float64)


def _is_near(between: Affine, shape: tuple[int, ...]) -> bool:
    return _distance(between, shape) <= TOLERANCE


def _distance(between: Affine, shape: tuple[int, ...]) -> float:
    """The largest distance, in voxels along an axis, by which an affine moves a voxel of a grid."""
    corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in shape))], float)
    return float(np.abs(corners @ between.T - corners).max())
