"""Pseudo-labels of the unlabelled planes: kept, renewed, and handed out where they are sure."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from scsam_train.losses import IGNORE

# Pixels that teach: the mixed teacher is this sure of them.
CONFIDENT = 0.9


class PseudoLabels:
    """What the two teachers together think of each unlabelled plane.

    Parameters
    ----------
    valid : Tensor of shape (U, s, s), bool
        False in the padding.
    classes : int
        K.
    """

    def __init__(self, valid: Tensor, classes: int) -> None:
        count, side = valid.shape[0], valid.shape[-1]
        self._valid = valid
        # Half precision: with many planes this is the largest thing in memory.
        self._values = torch.zeros(
            (count, classes + 1, side, side), device=valid.device, dtype=torch.float16
        )
        self._agreement = np.full(count, np.nan)

    def __len__(self) -> int:
        return len(self._agreement)

    @property
    def ready(self) -> NDArray[np.int64]:
        """Indices of the planes that the teachers have looked at."""
        return np.flatnonzero(~np.isnan(self._agreement))

    @property
    def agreement(self) -> float | None:
        """Mean agreement of the teachers on the planes that are ready, 0..1; None before."""
        return float(self._agreement[self.ready].mean()) if len(self.ready) else None

    def renew(self, index: int, probabilities: Tensor, agreement: float) -> None:
        """Keep the mixed teacher's probabilities (K + 1, s, s) of one plane."""
        self._values[index] = probabilities.half()
        self._agreement[index] = agreement

    def label_maps(self, indices: NDArray[np.int64]) -> Tensor:
        """Hard labels (N, s, s), uint8; 255 where the teachers are not sure."""
        chosen = torch.from_numpy(indices)
        sure, label = self._values[chosen].float().max(1)
        known = (sure > CONFIDENT) & self._valid[chosen]
        return label.to(torch.uint8).masked_fill(~known, IGNORE)

    def mask(self, index: int, position: int, side: int) -> Tensor:
        """One class of one plane as a mask (side, side): 1, 0, or 255 where not sure."""
        values = self._values[index, position].float()[None, None]
        values = functional.interpolate(values, (side, side), mode="bilinear")[0, 0]
        valid = self._valid[index][None, None].float()
        valid = functional.interpolate(valid, (side, side))[0, 0] > 0
        target = torch.full((side, side), IGNORE, dtype=torch.uint8, device=values.device)
        target[(values > CONFIDENT) & valid] = 1
        target[(values < 1 - CONFIDENT) & valid] = 0
        return target

    def state(self) -> dict[str, Tensor]:
        """What has been found so far, to be kept."""
        return {"values": self._values, "agreement": torch.from_numpy(self._agreement)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from a kept `state`."""
        self._values.copy_(state["values"])
        self._agreement[:] = state["agreement"].numpy()
