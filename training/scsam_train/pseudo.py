"""Pseudo-labels of the unlabelled planes, from the predictions of both teachers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scsam_train.losses import IGNORE, hard_dice, likeliest
from scsam_train.schedules import shrunk, shrunk_labels

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

# Minimum mixed probability of a pixel with a pseudo-label. Arbitrary; SynFoC (arXiv 2503.16997)
# uses 0.95.
CONFIDENT = 0.9
# A prediction of the U-Net is renewed when it is older than this share of all calls so far, because
# early in a round predictions change fast. Arbitrary.
MAX_AGE = 0.05


class PseudoLabels:
    """Mixed predictions of both teachers for the unlabelled planes.

    Predictions are stored: SAM's until the next one, the U-Net's until they are too old.

    Parameters
    ----------
    valid : Tensor of shape (U, s, s), bool
        False in the padding.
    classes : int
        K.
    predict : callable
        Returns the probabilities (N, K + 1, t, t) of the U-Net's teacher for N planes, given by
        their indices; t is s or a divisor of it.
    unet_share : callable
        Returns the weight of the U-Net in the pseudo-label of a plane, 0..1, for the agreement
        (Dice) of both teachers on it.
    """

    def __init__(
        self,
        valid: Tensor,
        classes: int,
        predict: Callable[[NDArray[np.int64]], Tensor],
        unet_share: Callable[[float], float],
    ) -> None:
        count, side = valid.shape[0], valid.shape[-1]
        self._valid, self._predict, self._unet_share = valid, predict, unet_share
        # Half precision: with many planes this is the largest tensor in memory.
        self._from_sam = torch.zeros(
            (count, classes + 1, side, side), device=valid.device, dtype=torch.float16
        )
        self._seen = np.zeros(count, bool)
        self._agreement = np.full(count, np.nan)
        self._from_unet: dict[int, Tensor] = {}
        self._predicted_at = np.zeros(count, np.int64)
        self._calls = 0

    def __len__(self) -> int:
        return len(self._seen)

    @property
    def ready(self) -> NDArray[np.int64]:
        """Indices of the planes that SAM has predicted."""
        return np.flatnonzero(self._seen)

    @property
    def agreement(self) -> float | None:
        """Mean agreement (Dice) of the teachers on the planes that both predicted; None before."""
        known = self._agreement[~np.isnan(self._agreement)]
        return float(known.mean()) if len(known) else None

    def keep(self, index: int, from_sam: Tensor) -> None:
        """Store SAM's probabilities (K + 1, s, s) for the plane `index`."""
        self._from_sam[index] = from_sam.half()
        self._seen[index] = True

    def label_maps(
        self,
        indices: NDArray[np.int64],
        side: int | None = None,
        share: float | None = None,
    ) -> Tensor:
        """Return hard pseudo-labels.

        The probabilities of both teachers are averaged. The weight of the U-Net depends on their
        agreement on the plane, as in SynFoC (arXiv 2503.16997).

        Parameters
        ----------
        indices : ndarray of shape (N,), int64
        side : int, optional
            t, which is s or a divisor of it. Default: s.
        share : float, optional
            Fixed weight of the U-Net, 0..1, whatever the agreement.

        Returns
        -------
        Tensor of shape (N, t, t), uint8
            0..K; 255 where the averaged probability is not above 0.9, and in the padding.
        """
        chosen, side = torch.from_numpy(indices), side or self._valid.shape[-1]
        from_sam = shrunk(self._from_sam[chosen].float(), side)
        from_unet = self._unet_maps(indices, side)
        labels = likeliest(from_unet), likeliest(from_sam)
        agreement = hard_dice(*labels, self._from_sam.shape[1] - 1).tolist()
        self._agreement[indices] = agreement
        shares = [self._unet_share(value) if share is None else share for value in agreement]
        weight = torch.tensor(shares, device=from_sam.device)[:, None, None, None]
        sure, label = ((1 - weight) * from_sam + weight * from_unet).max(1)
        known = (sure > CONFIDENT) & shrunk_labels(self._valid[chosen], side)
        return label.to(torch.uint8).masked_fill(~known, IGNORE)

    def _unet_maps(self, indices: NDArray[np.int64], side: int) -> Tensor:
        """Return the U-Net's probabilities (N, K + 1, side, side), stored or predicted anew."""
        self._calls += 1
        ages = self._calls - self._predicted_at[indices]
        known = np.isin(indices, list(self._from_unet))
        stale = np.unique(indices[~known | (ages > MAX_AGE * self._calls)])
        if len(stale):
            self._predicted_at[stale] = self._calls
            for index, found in zip(stale.tolist(), self._predict(stale).half(), strict=True):
                self._from_unet[index] = found.clone()  # a view would keep all of them
        return torch.cat([_sized(self._from_unet[int(i)], side) for i in indices])

    def state(self) -> dict[str, Any]:
        """Return the stored predictions, and when they were made."""
        return {
            "from_sam": self._from_sam,
            "seen": torch.from_numpy(self._seen),
            "agreement": torch.from_numpy(self._agreement),
            "from_unet": self._from_unet,
            "asked_at": torch.from_numpy(self._predicted_at),
            "calls": self._calls,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a saved `state`."""
        self._from_sam.copy_(state["from_sam"])
        self._seen[:] = state["seen"].numpy()
        self._agreement[:] = state["agreement"].numpy()
        self._from_unet = dict(state["from_unet"])
        self._predicted_at[:] = state["asked_at"].numpy()
        self._calls = int(state["calls"])


def of_trusted(labels: Tensor, trusted: NDArray[np.bool_]) -> Tensor:
    """Return label maps, uint8, with 255 in place of every class (of K) that is not `trusted`."""
    lookup = torch.arange(IGNORE + 1, dtype=torch.uint8, device=labels.device)
    lookup[1 : 1 + len(trusted)][torch.from_numpy(~trusted)] = IGNORE
    return lookup[labels.long()]


def _sized(stored: Tensor, side: int) -> Tensor:
    """Resize stored probabilities (K + 1, t, t) to (1, K + 1, side, side), float32."""
    found = stored[None].float()
    if found.shape[-1] == side:
        return found
    return functional.interpolate(found, (side, side), mode="bilinear")
