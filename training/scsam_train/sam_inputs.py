"""What SAM sees of the planes that a U-Net learns from, where that joins its pixels."""

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

# Share of the pictures that a U-Net learns from without what SAM sees of them, so that it can
# answer without SAM. Arbitrary: a probe dropped a fifth (docs/results/probes.md), and none compared
# shares.
DROPPED = 1 / 3
# The same for distorted views of pseudo-labelled pictures: the embedding is of the plain picture,
# from which the teacher predicts, and would give its prediction away. One value was tried.
DROPPED_OF_DISTORTED = 0.75


class SamInputs:
    """SAM's embeddings and the classes' log-odds, as `UNet` joins them.

    A labelled plane's log-odds are those that the others' labels give (`ClassPriors`). Its own
    label would have the U-Net trust them more than a new plane's deserve.

    Parameters
    ----------
    materials : Materials
    looks : ClassPriors or None
    classes : int
        K.
    """

    def __init__(self, materials: Materials, looks: ClassPriors | None, classes: int) -> None:
        self._data, self._looks = materials, looks
        self._positions = tuple(range(1, classes + 1))

    def labelled(self, chosen: NDArray[np.int64]) -> Tensor:
        """Of labelled planes, (N, D + K, e, e), as they lie unchanged."""
        return torch.cat([self._of(self._data.views[i][0].features, int(i)) for i in chosen])

    def unlabelled(self, chosen: NDArray[np.int64]) -> Tensor:
        """Of unlabelled planes, (N, D + K, e, e); all 0 for those without an embedding."""
        known = self._data.unlabelled_features
        found = [self._of(known[i]) if i < len(known) else None for i in chosen]
        blank = torch.zeros_like(self._of(self._data.views[0][0].features, 0))
        return torch.cat([blank if one is None else one for one in found])

    def _of(self, kept: Tensor, plane: int | None = None) -> Tensor:
        prior = NO_PRIOR if self._looks is None else self._looks.prior_for(plane)
        features = kept.to(self._data.images.device).float()
        return sam_channels(features, prior, self._positions)


def dropped(maps: Tensor, rng: np.random.Generator, share: float = DROPPED) -> Tensor:
    """Return maps (N, C, e, e) in which those of a random `share` of the pictures are 0."""
    kept = torch.from_numpy(rng.random(len(maps)) >= share).to(maps.device)
    return maps * kept[:, None, None, None]
