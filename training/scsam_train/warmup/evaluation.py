"""Evaluation of the warm-up on held-out generated scenes, click by click."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from scsam_train.click_through import box_through, click_through

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scsam_train.decoding import Decoder
    from scsam_train.warmup.corpus import Embedded
    from scsam_train.warmup.phantoms import Domain

# Clicks for each object, and those after which Dice is reported, as in benchmark/interactive.py.
CLICKS, SHOWN = 10, (1, 3, 5, 10)
# Objects decoded at a time. Arbitrary.
BATCH = 8


@dataclass(frozen=True, eq=False)
class HeldOutObjects:
    """One object of each held-out scene.

    Attributes
    ----------
    features : Tensor of shape (N, 256, e, e), float16
    targets : Tensor of shape (N, 1, side, side), uint8
    domains : tuple of {'phantom', 'brain', 'photograph', 'relief'}
    """

    features: Tensor
    targets: Tensor
    domains: tuple[Domain, ...]

    @staticmethod
    def of(corpus: Sequence[Embedded]) -> HeldOutObjects:
        """Take the first object of each scene."""
        return HeldOutObjects(
            torch.stack([scene.features for scene in corpus]),
            torch.stack([scene.targets[0] for scene in corpus])[:, None],
            tuple(scene.domain for scene in corpus),
        )


@torch.no_grad()
def evaluate(decoder: Decoder, objects: HeldOutObjects) -> dict[str, Any]:
    """Return mean Dice after 1, 3, 5 and 10 clicks and with a box, overall and by domain.

    Returns
    -------
    dict
        ``{'all' or a domain: {'clicks': {'1': Dice, ...}, 'box': Dice}, 'iou_correlation': r}``.
        Each click is in the centre of the largest error; the last mask is fed back.
    """
    rows, guessed, true = [], [], []
    for start in range(0, len(objects.targets), BATCH):
        features = objects.features[start : start + BATCH].float()
        target = objects.targets[start : start + BATCH]
        by_click, sure = click_through(decoder, features, target, CLICKS)
        by_box, sure_of_box = box_through(decoder, features, target)
        rows.append(np.concatenate([by_click, by_box[None]]))
        guessed += [*sure, sure_of_box]
        true += [_iou_of(dice) for dice in rows[-1]]
    table = np.concatenate(rows, axis=1)
    domains = np.array(objects.domains)
    result: dict[str, Any] = {"all": _summary(table)}
    for domain in sorted(set(objects.domains)):
        result[domain] = _summary(table[:, domains == domain])
    pair = np.concatenate(guessed), np.concatenate(true)
    result["iou_correlation"] = round(float(np.corrcoef(*pair)[0, 1]), 3)
    return result


def score(result: dict[str, Any]) -> float:
    """Return one number for comparisons: the mean over 1, 3, 5 and 10 clicks and the box."""
    return float(np.mean([*result["all"]["clicks"].values(), result["all"]["box"]]))


def _iou_of(dice: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(dice / (2 - dice))


def _summary(table: np.ndarray[Any, Any]) -> dict[str, Any]:
    clicks = {str(n): round(float(table[n - 1].mean()), 3) for n in SHOWN}
    return {"clicks": clicks, "box": round(float(table[CLICKS].mean()), 3)}
