"""SAM's embeddings and class log-odds as additional inputs of a U-Net."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_scsam.models import NO_PRIOR, sam_channels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from scsam_train.class_priors import ClassPriors
    from scsam_train.embedded_views import Materials

# Share of the training pictures that are shown without SAM's features, so that the U-Net can also
# predict without SAM. Arbitrary: a probe used a fifth (docs/results/probes.md), and shares were not
# compared.
DROPPED = 1 / 3
# The same for distorted views of pseudo-labelled pictures. The embedding belongs to the plain
# picture, from which the teacher predicts, so it would reveal the teacher's prediction. Before the
# views were distorted, Dice was .795 with this value and .790 with 1/3 (docs/results/rounds.md).
DROPPED_OF_DISTORTED = 0.75


class SamInputs:
    """SAM's embeddings and the log-odds of the classes, as the inputs of `UNet`.

    The log-odds of a labelled plane are from a prior that was fitted without it (`ClassPriors`).
    Otherwise they would be too good, and the U-Net would rely on them more than is right on a new
    plane.

    Parameters
    ----------
    materials : Materials
    priors : ClassPriors or None
        None for log-odds of 0.
    classes : int
        K.
    """

    def __init__(self, materials: Materials, priors: ClassPriors | None, classes: int) -> None:
        self._data, self._priors = materials, priors
        self._positions = tuple(range(1, classes + 1))

    def labelled(self, chosen: NDArray[np.int64]) -> Tensor:
        """Return features (N, D + K, e, e), float32, of labelled planes without augmentation."""
        return torch.cat([self._of(self._data.views[i][0].features, int(i)) for i in chosen])

    def unlabelled(self, chosen: NDArray[np.int64]) -> Tensor:
        """Return those of N unlabelled planes; 0 for planes without an embedding."""
        known = self._data.unlabelled_features
        found = [self._of(known[i]) if i < len(known) else None for i in chosen]
        blank = torch.zeros_like(self._of(self._data.views[0][0].features, 0))
        return torch.cat([blank if one is None else one for one in found])

    def _of(self, kept: Tensor, plane: int | None = None) -> Tensor:
        prior = NO_PRIOR if self._priors is None else self._priors.prior_for(plane)
        features = kept.to(self._data.images.device).float()
        return sam_channels(features, prior, self._positions)


def dropped(maps: Tensor, rng: np.random.Generator, share: float = DROPPED) -> Tensor:
    """Return maps (N, C, e, e) with those of a random `share` of the pictures set to 0."""
    kept = torch.from_numpy(rng.random(len(maps)) >= share).to(maps.device)
    return maps * kept[:, None, None, None]
