"""Prompts as the U-Net gives them to SAM, on planes whose truth is known."""

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

# Share of the prompts that are made of a corrupted truth, and not of a map of the U-Net's.
CORRUPTED = 0.5
# Shares of corrupted truths with a piece cut off, with a blob added, and of blobs alone. Arbitrary,
# as are the sizes of what is done to an outline, in px of the masks' grid (256 for LiteMedSAM).
CUT, ADDED, WRONG = 0.3, 0.3, 0.1
WOBBLE, GROWTH, SHIFT, SMOOTHNESS = (1.0, 12.0), 3.0, 5.0, (6.0, 25.0)
RADII = (5.0, 30.0)
# How many px an outline's certainty takes to change by one log-odds.
SOFTNESS = (0.5, 4.0)


@dataclass(frozen=True, eq=False)
class Refinement:
    """One thing that SAM is asked to correct.

    Attributes
    ----------
    prompts : Prompts
        On the grid of SAM's low-resolution masks.
    target : Tensor of shape (side, side), uint8
        1 for the parts of the truth that the map touches; 255 unknown.
    """

    prompts: Prompts
    target: Tensor


@dataclass(eq=False)
class EarlyMaps:
    """The U-Net's answers to labelled planes from before it knew these by heart.

    They stand for its answers to planes that it does not learn from: with few labels there
    are too few to train others on a part of them only.
    """

    known: bool = False
    _kept: list[Tensor] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, probabilities: Tensor) -> None:
        """Take in answers (L, K + 1, s, s) to all labelled planes."""
        self.known = True
        self._kept.append(probabilities.half().cpu())

    def odds(self, plane: int, position: int, side: int, rng: np.random.Generator) -> FloatArray:
        """Log-odds (side, side) of a class on a labelled plane, of one of the kept times."""
        kept = self._kept[int(rng.integers(len(self._kept)))][plane][None].float()
        sized = functional.interpolate(kept, (side, side), mode="bilinear")
        return log_odds(sized[0].numpy(), position)

    def state(self) -> dict[str, Any]:
        """All that was kept."""
        return {"known": self.known, "maps": list(self._kept)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a kept `state`."""
        self.known, self._kept = bool(state["known"]), list(state["maps"])


def refinement_of(odds: FloatArray, target: Tensor, rng: np.random.Generator) -> Refinement | None:
    """Prompts made of one part of a map, and what SAM should answer.

    Parameters
    ----------
    odds : ndarray of shape (side, side), float32
        The map's log-odds.
    target : Tensor of shape (side, side), uint8
        The truth: 0, 1, or 255 where nothing is known.
    rng : numpy.random.Generator

    Returns
    -------
    Refinement or None
        None where the map has no part that is worth asking about.
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
    """A map with such mistakes as a U-Net makes: log-odds (side, side) of a wrong outline.

    Its outline is moved smoothly, grown or shrunk; at times a piece is missing, a blob is
    added, or there is a blob alone.

    Parameters
    ----------
    truth : ndarray of shape (side, side), bool
    rng : numpy.random.Generator
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
    """Distance to the outline in px, negative outside."""
    depth: NDArray[Any] = ndimage.distance_transform_edt(mask)
    depth -= ndimage.distance_transform_edt(~mask)
    return depth


def _half_plane(truth: Mask, rng: np.random.Generator) -> NDArray[Any]:
    """Distance to a line through the object, negative on one side of it."""
    places = np.argwhere(truth)
    row, col = places[int(rng.integers(len(places)))]
    angle = rng.uniform(0, 2 * np.pi)
    rows, cols = np.indices(truth.shape)
    side: NDArray[np.float64] = (rows - row) * np.sin(angle) + (cols - col) * np.cos(angle)
    return side


def _disc(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
    """Depth of a disc somewhere on the plane."""
    row, col = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
    rows, cols = np.indices(shape)
    depth: NDArray[Any] = rng.uniform(*RADII) - np.hypot(rows - row, cols - col)
    return depth
