"""The augmentations of SC-SAM's code (arXiv 2601.17934): weak for labelled planes, else strong.

Their settings are in docs/explanation/published-method.md. The defaults of albumentations apply
otherwise: `RandomBrightnessContrast` changes both by up to 0.2, grids have 5 cells per side, all
holes have the maximum size, and the picture is mirrored at its border.

A view is stored as a map from its coordinates to those of the picture. So the same view can be
resampled at any size, its points can be located in the picture, and label maps can be warped
into it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scsam_train.losses import IGNORE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_scsam.core.arrays import DoubleArray

# The following numbers are those of docs/explanation/published-method.md. Lengths are shares of the
# side, angles are in degrees; its pictures have 256 x 256 px.
#
# Probability of each flip.
FLIPPED = 0.5
# Maximum shift, change of scale and angle, and the probability of these three together.
SHIFT, SCALE, ANGLE, MOVED = 0.0625, 0.05, 10.0, 0.5
# Maximum distortion of a cell of the grid.
GRID = 0.05
# Side of a hole.
HOLE = 12 / 256
# Maximum change of brightness and contrast: albumentations' default.
LIGHT = 0.2
# Cells of the distortion grid along each axis: albumentations' default.
CELLS = 5
# `ElasticTransform` moves three corners of a square by up to `alpha_affine` = 50 px, in -1..1
# here. Its waves (alpha 1, sigma 50) are of 0.003 px, 0.58 / (2 sqrt(pi) sigma), measured 0.0035
# with 0.014 at most in 20 draws, and left out.
CORNERS, CORNERS_MOVED = np.array([[2, 2], [2, -2], [-2, -2]]) / 3, 50 / 128

_LINES = np.linspace(-1, 1, CELLS + 1)


@dataclass(frozen=True)
class Strength:
    """Strength of the augmentation.

    Attributes
    ----------
    light : float
        Probability of a change of brightness and contrast.
    distorted : float
        Probability of a distortion, by a grid or by three corners.
    holes : pair of int
        Minimum and maximum number of holes.
    holed : float
        Probability of holes.
    """

    light: float
    distorted: float
    holes: tuple[int, int]
    holed: float


WEAK = Strength(light=0.2, distorted=0.0, holes=(5, 8), holed=0.5)
STRONG = Strength(light=0.6, distorted=0.5, holes=(10, 20), holed=0.7)


@dataclass(frozen=True, eq=False)
class View:
    """An augmented view of one picture; coordinates (x, y) run from -1 to 1 between outer edges.

    Attributes
    ----------
    lines : ndarray of shape (2, 6)
        Source coordinates of the lines of an even grid over the view, in x and in y.
    corners, moved : ndarray of shape (2, 3)
        Affine maps applied next, one after the other, towards the picture.
    gain, offset : float
        Contrast and brightness changes of the values, which are in 0..1.
    holes : ndarray of shape (n, 2)
        (row, col) of the upper left corners, as shares of the side.
    """

    lines: DoubleArray
    corners: DoubleArray
    moved: DoubleArray
    gain: float
    offset: float
    holes: DoubleArray

    @classmethod
    def draw(cls, strength: Strength, rng: np.random.Generator, *, mirror: bool = True) -> View:
        """Draw a random view; without `mirror` it is never flipped."""
        grid = rng.random() < 0.5
        distorted = rng.random() < strength.distorted
        some = int(rng.integers(strength.holes[0], strength.holes[1] + 1))
        lit = LIGHT * (rng.random() < strength.light)
        return cls(
            lines=_lines(rng, GRID * (distorted and grid)),
            corners=_corners(rng, CORNERS_MOVED * (distorted and not grid)),
            moved=_moved(rng, float(rng.random() < MOVED), FLIPPED * mirror),
            gain=1 + rng.uniform(-lit, lit),
            offset=rng.uniform(-lit, lit),
            holes=rng.random((some * int(rng.random() < strength.holed), 2)) * (1 - HOLE),
        )

    def places(self, side: int) -> DoubleArray:
        """Return the picture's (x, y) of each pixel of the view, shape (side, side, 2), -1..1."""
        at = even(side)
        x, y = (np.interp(at, _LINES, lines) for lines in self.lines)
        found = _folded(np.stack(np.meshgrid(x, y), -1))
        for matrix in (self.corners, self.moved):
            found = _folded(found @ matrix[:, :2].T + matrix[:, 2])
        return found

    def hidden(self, side: int) -> NDArray[np.bool_]:
        """Return which pixels of the view lie in a hole, shape (side, side)."""
        found = np.zeros((side, side), bool)
        for corner in self.holes:
            row, col = np.round(corner * side).astype(int)
            width = max(1, round(HOLE * side))
            found[row : row + width, col : col + width] = True
        return found


class Views:
    """Views of a batch of pictures, one per picture.

    Parameters
    ----------
    views : sequence of N View
    """

    def __init__(self, views: Sequence[View]) -> None:
        self._views = views
        self._places: dict[int, Tensor] = {}

    def places(self, side: int) -> Tensor:
        """Return `View.places` of all views, shape (N, side, side, 2), float32."""
        if side not in self._places:
            found = np.stack([view.places(side) for view in self._views])
            self._places[side] = torch.from_numpy(found.astype(np.float32))
        return self._places[side]

    def pictures(self, images: Tensor) -> Tensor:
        """Warp pictures, change their brightness and contrast, and set holes to 0.

        Parameters
        ----------
        images : Tensor of shape (N, C, s, s), float32, 0..1
            Pixels with all channels 0 are padding and stay 0.
        """
        moved = taken_at(images, self.places(images.shape[-1]))
        gain, offset = (
            torch.tensor([getattr(view, name) for view in self._views], device=moved.device)
            for name in ("gain", "offset")
        )
        changed = moved * gain.float()[:, None, None, None] + offset.float()[:, None, None, None]
        shown = (moved.amax(1) > 0) & ~self._hidden(moved)
        return changed.clamp(0, 1) * shown[:, None]

    def shown(self, there: Tensor) -> Tensor:
        """Warp the masks `there` (N, s, s), bool, of valid pixels; holes count as valid."""
        moved = taken_at(there[:, None].float(), self.places(there.shape[-1]), "nearest")
        return moved[:, 0] > 0

    def labels(self, labels: Tensor, *, holes: bool) -> Tensor:
        """Warp label maps (N, s, s), uint8; with `holes`, holes become background."""
        moved = taken_at(labels[:, None].float(), self.places(labels.shape[-1]), "nearest")
        found = moved[:, 0].to(labels.dtype)
        return found.masked_fill(self._hidden(found) & (found != IGNORE), 0) if holes else found

    def _hidden(self, like: Tensor) -> Tensor:
        hidden = np.stack([view.hidden(like.shape[-1]) for view in self._views])
        return torch.from_numpy(hidden).to(like.device)


def even(side: int) -> DoubleArray:
    """Return the centres of `side` pixels in a row, -1..1."""
    return (2 * np.arange(side) + 1) / side - 1


def unmoved(count: int, side: int) -> Tensor:
    """Return the places of identity views, shape (count, side, side, 2), float32."""
    one = np.stack(np.meshgrid(even(side), even(side)), -1).astype(np.float32)
    return torch.from_numpy(one).expand(count, -1, -1, -1)


def taken_at(maps: Tensor, places: Tensor, mode: str = "bilinear") -> Tensor:
    """Sample `maps` (N, C, h, w) at `places` (N, s, s, 2); returns shape (N, C, s, s)."""
    return functional.grid_sample(
        maps, places.to(maps.device), mode=mode, padding_mode="border", align_corners=False
    )


def _lines(rng: np.random.Generator, limit: float) -> DoubleArray:
    """Return grid lines whose distances vary by up to the share `limit`."""
    steps = 2 / CELLS * (1 + rng.uniform(-limit, limit, (2, CELLS)))
    return np.concatenate([np.full((2, 1), -1.0), steps.cumsum(1) - 1], axis=1)


def _corners(rng: np.random.Generator, limit: float) -> DoubleArray:
    """Return the affine map that moves three displaced corners back."""
    seen = CORNERS + rng.uniform(-limit, limit, CORNERS.shape)
    homogeneous = np.concatenate([seen, np.ones((3, 1))], axis=1)
    found: DoubleArray = np.linalg.solve(homogeneous, CORNERS).T
    return found


def _moved(rng: np.random.Generator, share: float, flipped: float) -> DoubleArray:
    """Return the inverse of a random flip, rotation, scaling and translation.

    `share` (0 or 1) switches all but the flips, which have probability `flipped`.
    """
    flips = np.where(rng.random(2) < flipped, -1.0, 1.0)
    angle = np.deg2rad(ANGLE) * rng.uniform(-share, share)
    scale = 1 + SCALE * rng.uniform(-share, share)
    shift = 2 * SHIFT * rng.uniform(-share, share, 2)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    forward = np.array([[cos, sin, shift[0]], [-sin, cos, shift[1]], [0, 0, 1]])
    forward[:, :2] *= flips
    found: DoubleArray = np.linalg.inv(forward)[:2]
    return found


def _folded(places: DoubleArray) -> DoubleArray:
    """Mirror places outside -1..1 at the edges."""
    found: DoubleArray = 1 - np.abs((places + 1) % 4 - 2)
    return found
