"""Training samples for SAM as the refiner of the U-Net, on labelled planes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from napari_scsam.core.log_odds import SURE
from napari_scsam.models import largest_parts, log_odds, prompts_for
from scsam_train.losses import IGNORE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_scsam.core.arrays import FloatArray, Mask
    from napari_scsam.core.prompts import Prompts

# Share of the samples whose map is a corrupted label instead of a map of the U-Net. Arbitrary.
CORRUPTED = 0.5
# Shares of the corrupted labels with a piece cut off, with a blob added, and with a blob alone.
# Arbitrary.
CUT, ADDED, WRONG = 0.3, 0.3, 0.1
# Changes of an outline, in px of SAM's low-resolution masks (256 x 256 for LiteMedSAM): ranges of
# the amplitude of smooth noise and of its Gaussian's sigma, and standard deviations of growth and
# of the shift along each axis. Arbitrary.
WOBBLE, SMOOTHNESS, GROWTH, SHIFT = (1.0, 12.0), (6.0, 25.0), 3.0, 5.0
# Range of the radius of a blob, in the same px. Arbitrary.
RADII = (5.0, 30.0)
# Range of the distance, in the same px, over which the log-odds change by 1. Arbitrary.
SOFTNESS = (0.5, 4.0)


@dataclass(frozen=True, eq=False)
class Refinement:
    """Prompts from one component of a map, and the mask that SAM should predict for them.

    Attributes
    ----------
    prompts : Prompts
        On the grid of SAM's low-resolution masks.
    target : Tensor of shape (side, side), uint8
        1 for the components of the label that the map touches; 255 for unknown pixels.
    """

    prompts: Prompts
    target: Tensor


@dataclass(eq=False)
class EarlyMaps:
    """Predictions of the U-Net for the labelled planes, from before it memorised them.

    They stand for predictions of planes that it is not trained on. Cross-validation would need
    further U-Nets, each trained on a part of what may be very few labels.

    Attributes
    ----------
    known : bool
        Whether SAM is trained to correct maps by now; without stored predictions, these are
        corrupted labels.
    """

    known: bool = False
    _kept: list[Tensor] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, probabilities: Tensor) -> None:
        """Store probabilities (L, K + 1, s, s) of all labelled planes."""
        self.known = True
        self._kept.append(probabilities.half().cpu())

    def odds(self, plane: int, position: int, side: int, rng: np.random.Generator) -> FloatArray:
        """Return log-odds (side, side) of a class (1..K) on a plane, at a random stored time."""
        kept = self._kept[int(rng.integers(len(self._kept)))][plane][None].float()
        sized = functional.interpolate(kept, (side, side), mode="bilinear")
        return log_odds(sized[0].numpy(), position)

    def state(self) -> dict[str, Any]:
        """Return everything that was stored."""
        return {"known": self.known, "maps": list(self._kept)}

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a saved `state`."""
        self.known, self._kept = bool(state["known"]), list(state["maps"])


def refinement_of(odds: FloatArray, target: Tensor, rng: np.random.Generator) -> Refinement | None:
    """Return prompts from a random component of a map, and the mask that SAM should predict.

    Parameters
    ----------
    odds : ndarray of shape (side, side), float32
        Log-odds of the map.
    target : Tensor of shape (side, side), uint8
        The label: 0, 1, or 255 for unknown pixels.
    rng : numpy.random.Generator

    Returns
    -------
    Refinement or None
        None if the map has no component that is large enough.
    """
    parts = largest_parts(odds > 0)
    if not parts:
        return None
    part = parts[int(rng.integers(len(parts)))]
    truth = (target == 1).numpy()
    labels, _ = ndimage.label(truth)
    touched = np.setdiff1d(np.unique(labels[part]), [0])
    meant = torch.from_numpy(np.isin(labels, touched)).to(torch.uint8)
    return Refinement(prompts_for(part, odds), meant.masked_fill(target == IGNORE, IGNORE))


def corrupted(truth: Mask, rng: np.random.Generator) -> FloatArray:
    """Return a map with mistakes like a U-Net's.

    The outline of the label is moved by smooth noise, grown or shrunk, and shifted. In some maps a
    piece is missing, a blob is added, or there is only a blob.

    Parameters
    ----------
    truth : ndarray of shape (side, side), bool
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of shape (side, side), float32
        Log-odds, above 0 inside.
    """
    depth = _depth(truth) if truth.any() else np.full(truth.shape, -float(truth.shape[0]))
    noise = ndimage.gaussian_filter(rng.standard_normal(truth.shape), rng.uniform(*SMOOTHNESS))
    depth = depth + rng.uniform(*WOBBLE) * noise / noise.std() + rng.normal(0, GROWTH)
    depth = ndimage.shift(depth, rng.normal(0, SHIFT, 2), order=1, mode="nearest")
    if truth.any() and rng.random() < CUT:
        depth = np.minimum(depth, _half_plane(truth, rng))
    if not truth.any() or rng.random() < ADDED:
        depth = np.maximum(depth, _disc(truth.shape, rng))
    if rng.random() < WRONG:
        depth = _disc(truth.shape, rng)
    odds: FloatArray = (depth / rng.uniform(*SOFTNESS)).clip(-SURE, SURE).astype(np.float32)
    return odds


def _depth(mask: Mask) -> NDArray[Any]:
    """Return the distance to the outline in px, negative outside."""
    depth: NDArray[Any] = ndimage.distance_transform_edt(mask)
    depth -= ndimage.distance_transform_edt(~mask)
    return depth


def _half_plane(truth: Mask, rng: np.random.Generator) -> NDArray[Any]:
    """Return the distance to a random line through the object in px, negative on one side."""
    places = np.argwhere(truth)
    row, col = places[int(rng.integers(len(places)))]
    angle = rng.uniform(0, 2 * np.pi)
    rows, cols = np.indices(truth.shape)
    side: NDArray[np.float64] = (rows - row) * np.sin(angle) + (cols - col) * np.cos(angle)
    return side


def _disc(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
    """Return the distance to the outline of a random disc in px, negative outside."""
    row, col = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
    rows, cols = np.indices(shape)
    depth: NDArray[Any] = rng.uniform(*RADII) - np.hypot(rows - row, cols - col)
    return depth
