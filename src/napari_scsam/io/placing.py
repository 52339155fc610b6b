"""A mask in its place: its grid against the image's, compared in the world."""

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

# What may lie between two voxels that are called the same, in voxels (arbitrary; headers of
# 32 bits are some hundred times finer).
TOLERANCE = 1e-3

How = Literal["same", "reoriented", "resampled", "same-grid"]


@dataclass(frozen=True)
class Placing:
    """What to do with a mask that lies on another grid than its image.

    Attributes
    ----------
    resample : bool
        Take each pixel of the image from the nearest voxel of the mask.
    same_grid : bool
        Take the mask as it is: its header is wrong.
    outside : int
        What pixels get that the mask does not reach, when it is resampled.
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
        What was done to it.
    """

    data: Pixels
    how: How


REFUSE = Placing()


def place(mask: Volume, image: Grid, names: tuple[Path, str], placing: Placing = REFUSE) -> Placed:
    """Put a mask onto its image's grid.

    Where both files say where they lie, their voxels are compared in the world, to a
    thousandth of a voxel. The same grid stored flipped or with its axes in another order
    is turned. Where one of them says no more than its spacing, shape and spacing are
    compared, and where it says nothing (PNG, plain TIFF), the shape alone. A NIfTI whose
    affine is the identity says nothing, unless the image's voxels have 1 mm, too: it is
    what software writes that knew none.

    Parameters
    ----------
    mask : Volume
        The mask.
    image : Grid
        What it is meant to lie on.
    names : pair of Path and str
        What to call the two in a message: the mask's file, and the image.
    placing : Placing
        What to do with a mask that lies elsewhere; by default it is refused.

    Raises
    ------
    InputError
        If the mask lies on another grid, in one line that names every difference; or if
        it can't be resampled, since nothing says where it lies or it misses the image.
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
    ways = []
    if _says(mask, image) == "place":
        ways.append("--resample takes the nearest voxels")
    if mask.shape == tuple(image.shape):
        ways.append("--same-grid takes it as it is, where its header is wrong")
    return f"{'; '.join(ways) or 'Resample the mask onto the image first'}."


def _compare(mask: Volume, image: Grid) -> tuple[list[str], IndexArray]:
    """What differs, in words; and the mask's axes and flips onto the image's."""
    says = _says(mask, image)
    as_stored = np.array([[0, 1], [1, 1], [2, 1]], dtype=np.intp)
    if says != "place":
        return _plain_differences(mask, image, says), as_stored
    between = _between(mask, image)
    turn = io_orientation(between).astype(np.intp)
    shape = _columns_first(mask)
    turned = between @ inv_ornt_aff(turn, shape)
    order = np.argsort(turn[:, 0])
    new_shape = tuple(shape[i] for i in order)
    if new_shape == _columns_first(image) and _is_near(turned, new_shape):
        return [], turn
    return _differences(mask, image, turned, new_shape), turn


def _says(mask: Volume, image: Grid) -> Literal["place", "spacing", "nothing"]:
    """What both files say of where they lie."""
    identity = np.array_equal(np.abs(mask.affine), np.eye(4))
    likely_none = identity and not np.allclose(image.spacing, 1, rtol=TOLERANCE)
    if is_oriented(mask.header) and is_oriented(image.header) and not likely_none:
        return "place"
    mask_knows = mask.spacing_known and not np.allclose(mask.spacing, 1, rtol=1e-6)
    return "spacing" if mask_knows and image.spacing_known else "nothing"


def _plain_differences(mask: Volume, image: Grid, says: str) -> list[str]:
    if mask.shape != tuple(image.shape):
        return [_shapes(mask.shape, tuple(image.shape))]
    if says == "spacing" and not np.allclose(mask.spacing, image.spacing, rtol=TOLERANCE, atol=0):
        return [_spacings(mask.spacing, image.spacing)]
    return []


def _differences(
    mask: Volume, image: Grid, turned: Affine, new_shape: tuple[int, ...]
) -> list[str]:
    """Each difference that is larger than the tolerance, or how far apart they are at most."""
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
    if _says(mask, image) != "place":
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
    # One voxel of margin, so that a pixel counts as reached up to half a voxel off the edge.
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
    """The affine; of a two-dimensional image with a third axis across it, whatever it says."""
    affine = np.array(grid.affine, dtype=np.float64)
    if len(grid.shape) == 2:
        across = np.cross(affine[:3, 0], affine[:3, 1])
        # As long as a row is wide, so that no axis is out of proportion.
        affine[:3, 2] = across / np.linalg.norm(across) * np.linalg.norm(affine[:3, 0])
    return affine


def _between(mask: Grid, image: Grid) -> Affine:
    """Maps the mask's voxels (col, row, slice, 1) to the image's."""
    return np.asarray(np.linalg.solve(_affine(image), _affine(mask)), dtype=np.float64)


def _is_near(between: Affine, shape: tuple[int, ...]) -> bool:
    return _distance(between, shape) <= TOLERANCE


def _distance(between: Affine, shape: tuple[int, ...]) -> float:
    """How far a map moves any voxel of a grid at most, in voxels along an axis."""
    corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in shape))], float)
    return float(np.abs(corners @ between.T - corners).max())
