"""The appearance of an object: discriminants against its surroundings, fitted on one plane."""

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
    """Discriminants between an object and its surroundings, and their reliability.

    Attributes
    ----------
    prior : ClassPrior
        Class 1 is the object, class 0 its surroundings.
    trust : float
        0..1, from cross-validation over sectors around the object.
    """

    prior: ClassPrior
    trust: float

    @classmethod
    def of(cls, embedding: Embedding, mask: Mask) -> Appearance | None:
        """Fit the appearance of an object on SAM's features.

        Parameters
        ----------
        embedding : Embedding
            Of the plane.
        mask : ndarray of shape (rows, cols), bool

        Returns
        -------
        Appearance or None
            None if the object is too small, or not distinguishable from its surroundings.
        """
        features = _features(embedding)
        if features is None:
            return None
        inside, valid = _on_canvas(mask, features)
        distance = _distance(inside)
        label = inside.astype(np.uint8)
        label[~valid | (~inside & (distance > _APPEARANCE.learned))] = NOT_ANNOTATED
        low, high = _APPEARANCE.trusted
        right = _separability(features, label, distance)
        trust = float(np.clip((right - low) / (high - low), 0, 1))
        return cls(_fit(features, label), trust) if trust else None

    def hint(self, embedding: Embedding, mask: Mask) -> Logits | None:
        """Log-odds to add to those of a mask, on the plane's own grid.

        Parameters
        ----------
        embedding : Embedding
            Of the present plane.
        mask : ndarray of shape (rows, cols), bool
            The object on the previous plane. The log-odds are 0 far from its outline.

        Returns
        -------
        ndarray of shape (rows, cols), float32, or None
            None if the object is too small for SAM's features.
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
        weighted = (
            odds
            * torch.where(odds > 0, _APPEARANCE.in_favour, _APPEARANCE.against)
            * self.trust
            * torch.from_numpy(near)
        )
        return Frame(embedding.shape, weighted.shape[-1]).logits_to_plane(weighted)[0, 0].numpy()


def _features(embedding: Embedding) -> Tensor | None:
    """SAM's features (D, e, e), if the backend has any."""
    found = embedding.features
    if not isinstance(found, Tensor) or found.ndim != 4:
        return None
    return found[0].detach().float().cpu()


def _on_canvas(mask: Mask, features: Tensor) -> tuple[Mask, Mask]:
    """A mask on the grid of SAM's low-resolution masks, and which pixels are not padding."""
    side = _APPEARANCE.cell * features.shape[-1]
    rows, cols = Frame((mask.shape[0], mask.shape[1]), side).resized
    inside, valid = np.zeros((2, side, side), bool)
    inside[:rows, :cols] = resize(mask.astype(np.float32), (rows, cols)) >= 0.5
    valid[:rows, :cols] = True
    return inside, valid


def _distance(inside: Mask) -> Logits:
    """Distance of each pixel from the outline, inside and outside."""
    outwards = ndimage.distance_transform_edt(~inside)
    return np.asarray(outwards + ndimage.distance_transform_edt(inside))


def _fit(features: Tensor, label: NDArray[np.uint8]) -> ClassPrior:
    moments = Moments.of(features, torch.from_numpy(label))
    return ClassPrior.fit([moments], shrinkage=_APPEARANCE.shrinkage)


def _separability(features: Tensor, label: NDArray[np.uint8], distance: Logits) -> float:
    """Area under the ROC curve by cross-validation over sectors around the object."""
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
        predicted = prior.log_odds(features[None], 1)[0, 0].numpy()
        odds[sector == which] = predicted[sector == which]
    tested = (
        (label != NOT_ANNOTATED) & (distance > _APPEARANCE.mixed) & (distance < _APPEARANCE.learned)
    )
    inside, outside = odds[tested & (label == 1)], odds[tested & (label == 0)]
    if not inside.size or not outside.size:
        return 0.0
    better = stats.mannwhitneyu(inside, outside).statistic
    return float(better / (inside.size * outside.size))
