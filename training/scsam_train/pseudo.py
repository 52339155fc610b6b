"""Pseudo-labels of the unlabelled planes, from both teachers' answers."""

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

# Pixels that teach: the mixed teacher is this sure of them.
CONFIDENT = 0.9
# An answer of the U-Net's is asked for anew when it is older than this share of all calls so far:
# early on it changes fast.
MAX_AGE = 0.05


class PseudoLabels:
    """What the two teachers together think of unlabelled planes.

    Answers are kept: SAM's until it looks again, the U-Net's for as long as they hardly change.

    Parameters
    ----------
    valid : Tensor of shape (U, s, s), bool
        False in the padding.
    classes : int
        K.
    ask_unet : callable
        Takes indices of N planes, gives the U-Net teacher's probabilities (N, K + 1, t, t); t is
        s or a part of it.
    unet_share : callable
        Takes the agreement of the two on a plane, 0..1, gives the U-Net's share in its label.
    """

    def __init__(
        self,
        valid: Tensor,
        classes: int,
        ask_unet: Callable[[NDArray[np.int64]], Tensor],
        unet_share: Callable[[float], float],
    ) -> None:
        count, side = valid.shape[0], valid.shape[-1]
        self._valid, self._ask_unet, self._unet_share = valid, ask_unet, unet_share
        # Half precision: with many planes this is the largest thing in memory.
        self._from_sam = torch.zeros(
            (count, classes + 1, side, side), device=valid.device, dtype=torch.float16
        )
        self._seen = np.zeros(count, bool)
        self._agreement = np.full(count, np.nan)
        self._from_unet: dict[int, Tensor] = {}
        self._asked_at = np.zeros(count, np.int64)
        self._calls = 0

    def __len__(self) -> int:
        return len(self._seen)

    @property
    def ready(self) -> NDArray[np.int64]:
        """Indices of the planes that SAM has looked at."""
        return np.flatnonzero(self._seen)

    @property
    def agreement(self) -> float | None:
        """Mean agreement of the teachers, 0..1, where both were asked; None before."""
        known = self._agreement[~np.isnan(self._agreement)]
        return float(known.mean()) if len(known) else None

    def keep(self, index: int, from_sam: Tensor) -> None:
        """Keep SAM's probabilities (K + 1, s, s) of one plane."""
        self._from_sam[index] = from_sam.half()
        self._seen[index] = True

    def label_maps(
        self,
        indices: NDArray[np.int64],
        side: int | None = None,
        share: float | None = None,
    ) -> Tensor:
        """Hard labels (N, t, t), uint8, 0..K; 255 where the two together are not sure.

        The more the two agree on a plane the more the U-Net counts (SynFoC, arXiv 2503.16997).
        `side` is t, s or a part of it; s by default. `share` is the U-Net's, whatever the
        agreement.
        """
        chosen, side = torch.from_numpy(indices), side or self._valid.shape[-1]
        from_sam = shrunk(self._from_sam[chosen].float(), side)
        from_unet = self._unet_answers(indices, side)
        labels = likeliest(from_unet), likeliest(from_sam)
        agreement = hard_dice(*labels, self._from_sam.shape[1] - 1).tolist()
        self._agreement[indices] = agreement
        shares = [self._unet_share(value) if share is None else share for value in agreement]
        weight = torch.tensor(shares, device=from_sam.device)[:, None, None, None]
        sure, label = ((1 - weight) * from_sam + weight * from_unet).max(1)
        known = (sure > CONFIDENT) & shrunk_labels(self._valid[chosen], side)
        return label.to(torch.uint8).masked_fill(~known, IGNORE)

    def _unet_answers(self, indices: NDArray[np.int64], side: int) -> Tensor:
        """The U-Net's probabilities (N, K + 1, side, side), as kept or asked for anew."""
        self._calls += 1
        ages = self._calls - self._asked_at[indices]
        known = np.isin(indices, list(self._from_unet))
        stale = np.unique(indices[~known | (ages > MAX_AGE * self._calls)])
        if len(stale):
            self._asked_at[stale] = self._calls
            for index, answer in zip(stale.tolist(), self._ask_unet(stale).half(), strict=True):
                self._from_unet[index] = answer.clone()  # a view would keep all of them
        return torch.cat([_sized(self._from_unet[int(i)], side) for i in indices])

    def state(self) -> dict[str, Any]:
        """What has been found so far, to be kept."""
        return {
            "from_sam": self._from_sam,
            "seen": torch.from_numpy(self._seen),
            "agreement": torch.from_numpy(self._agreement),
            "from_unet": self._from_unet,
            "asked_at": torch.from_numpy(self._asked_at),
            "calls": self._calls,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a kept `state`."""
        self._from_sam.copy_(state["from_sam"])
        self._seen[:] = state["seen"].numpy()
        self._agreement[:] = state["agreement"].numpy()
        self._from_unet = dict(state["from_unet"])
        self._asked_at[:] = state["asked_at"].numpy()
        self._calls = int(state["calls"])


def of_trusted(labels: Tensor, trusted: NDArray[np.bool_]) -> Tensor:
    """Label maps, uint8, with 255 for every class (K,) that is not trusted."""
    lookup = torch.arange(IGNORE + 1, dtype=torch.uint8, device=labels.device)
    lookup[1 : 1 + len(trusted)][torch.from_numpy(~trusted)] = IGNORE
    return lookup[labels.long()]


def _sized(answer: Tensor, side: int) -> Tensor:
    """Kept probabilities (K + 1, t, t) as (1, K + 1, side, side), float32."""
    found = answer[None].float()
    if found.shape[-1] == side:
        return found
    return functional.interpolate(found, (side, side), mode="bilinear")
