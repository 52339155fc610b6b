"""What tells an outlined object from what lies right beside it, learned on one plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage, stats
from torch import Tensor

from napari_scsam.core.labels import NOT_ANNOTATED
from napari_scsam.models import ClassPrior, Embedding, Frame, Moments, resize
from napari_scsam.propagation.settings import SETTINGS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_scsam.core.arrays import Logits, Mask

_APPEARANCE = SETTINGS.appearance


@dataclass(frozen=True, eq=False)
class Appearance:
    """Discriminants of an object and its surroundings, and how far they are to be trusted.

    Attributes
    ----------
    prior : ClassPrior
        Of 1, the object, against 0.
    trust : float
        0..1, by what it got right where it had not looked.
    """

    prior: ClassPrior
    trust: float

    @classmethod
    def of(cls, embedding: Embedding, mask: Mask) -> Appearance | None:
        """Learn what an object appearances like, where SAM's features tell it from what is beside it.

        Parameters
        ----------
        embedding : Embedding
            Of the plane.
        mask : ndarray of shape (rows, cols), bool

        Returns
        -------
        Appearance or None
            None where its surroundings look the same, or it is too small to tell.
        """
        features = _features(embedding)
        if features is None:
            return None
        inside, valid = _on_canvas(mask, features)
        distance = _distance(inside)
        label = inside.astype(np.uint8)
        label[~valid | (~inside & (distance > _APPEARANCE.learned))] = NOT_ANNOTATED
        low, high = _APPEARANCE.trusted
        right = _told_apart(features, label, distance)
        trust = float(np.clip((right - low) / (high - low), 0, 1))
        return cls(_fit(features, label), trust) if trust else None

    def hint(self, embedding: Embedding, mask: Mask) -> Logits | None:
        """Log-odds that go on top of an outline's, on the plane's own grid.

        Parameters
        ----------
        embedding : Embedding
            Of the plane to tell of.
        mask : ndarray of shape (rows, cols), bool
            Where the object was on the plane before: nothing is said of places far from its
            outline.

        Returns
        -------
        ndarray of shape (rows, cols), float32, or None
            None where the object is too small for SAM's features.
        """
        features = _features(embedding)
        if features is None:
            return None
        inside, _ = _on_canvas(mask, features)
        if not inside.any():
            return None
        odds = self.prior.log_odds(features[None], 1).clamp(-_APPEARANCE.limit, _APPEARANCE.limit)
        near = np.clip((_APPEARANCE.applied - _distance(inside)) / _APPEARANCE.fades, 0, 1).astype(
            np.float32
        )
        told = (
            odds
            * torch.where(odds > 0, _APPEARANCE.in_favour, _APPEARANCE.against)
            * self.trust
            * torch.from_numpy(near)
        )
        return Frame(embedding.shape, told.shape[-1]).logits_to_plane(told)[0, 0].numpy()


def _features(embedding: Embedding) -> Tensor | None:
    """SAM's features (D, e, e), where the backend has such."""
    found = embedding.features
    if not isinstance(found, Tensor) or found.ndim != 4:
        return None
    return found[0].detach().float().cpu()


def _on_canvas(mask: Mask, features: Tensor) -> tuple[Mask, Mask]:
    """A mask on the grid of SAM's low-resolution masks, and where that is not padding."""
    side = _APPEARANCE.cell * features.shape[-1]
    rows, cols = Frame((mask.shape[0], mask.shape[1]), side).resized
    inside, valid = np.zeros((2, side, side), bool)
    inside[:rows, :cols] = resize(mask.astype(np.float32), (rows, cols)) >= 0.5
    valid[:rows, :cols] = True
    return inside, valid


def _distance(inside: Mask) -> Logits:
    """Of each pixel from the outline, on either side of it."""
    outwards = ndimage.distance_transform_edt(~inside)
    return np.asarray(outwards + ndimage.distance_transform_edt(inside))


def _fit(features: Tensor, label: NDArray[np.uint8]) -> ClassPrior:
    moments = Moments.of(features, torch.from_numpy(label))
    return ClassPrior.fit([moments], shrinkage=_APPEARANCE.shrinkage)


def _told_apart(features: Tensor, label: NDArray[np.uint8], distance: Logits) -> float:
    """Area under the ROC curve over sectors round the object, each by what the others taught."""
    if not (label == 1).any():
        return 0.0
    row, col = ndimage.center_of_mass(label == 1)
    rows, cols = np.indices(label.shape)
    turn = np.arctan2(rows - row, cols - col) / (2 * np.pi) + 0.5
    sector = (turn * _APPEARANCE.sectors).astype(int) % _APPEARANCE.sectors
    odds = np.zeros(label.shape)
    for which in range(_APPEARANCE.sectors):
        prior = _fit(features, np.where(sector == which, np.uint8(NOT_ANNOTATED), label))
        if not prior.knows(1):
            return 0.0
        said = prior.log_odds(features[None], 1)[0, 0].numpy()
        odds[sector == which] = said[sector == which]
    asked = (
        (label != NOT_ANNOTATED) & (distance > _APPEARANCE.mixed) & (distance < _APPEARANCE.learned)
    )
    inside, outside = odds[asked & (label == 1)], odds[asked & (label == 0)]
    if not inside.size or not outside.size:
        return 0.0
    better = stats.mannwhitneyu(inside, outside).statistic
    return float(better / (inside.size * outside.size))
