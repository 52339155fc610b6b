"""How good the warm-up is on held-out generated pictures, click by click."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scsam_train.clicks import deepest, next_click
from scsam_train.decoding import Ask, Decoder
from scsam_train.losses import IGNORE, mask_iou
from scsam_train.warmup.corpus import Embedded
from scsam_train.warmup.phantoms import Domain

CLICKS = 10
SHOWN = (1, 3, 5, 10)
BATCH = 8


@dataclass(frozen=True, eq=False)
class Exam:
    """One object of each held-out scene.

    Attributes
    ----------
    features : Tensor of shape (N, 256, e, e), float16
    targets : Tensor of shape (N, 1, side, side), uint8
    domains : tuple of {'phantom', 'brain', 'photograph'}
    """

    features: Tensor
    targets: Tensor
    domains: tuple[Domain, ...]

    @staticmethod
    def of(corpus: Sequence[Embedded]) -> Exam:
        """The first object of each scene."""
        return Exam(
            torch.stack([scene.features for scene in corpus]),
            torch.stack([scene.targets[0] for scene in corpus])[:, None],
            tuple(scene.domain for scene in corpus),
        )


@torch.no_grad()
def judge(decoder: Decoder, exam: Exam) -> dict[str, Any]:
    """Mean Dice after 1, 3, 5 and 10 clicks and with a box, over all and by domain.

    Returns
    -------
    dict
        ``{'all' or a domain: {'clicks': {'1': Dice, ...}, 'box': Dice}, 'iou_correlation': r}``.
        Each click is in the middle of the largest mistake, the last answer fed back.
    """
    rows, guessed, true = [], [], []
    for start in range(0, len(exam.targets), BATCH):
        features = exam.features[start : start + BATCH].float()
        target = exam.targets[start : start + BATCH]
        by_click, sure = _click_through(decoder, features, target)
        boxes = np.stack([_box(one[0]) for one in target.numpy()])
        logits, iou = decoder(features, Ask(boxes=boxes))
        rows.append(np.concatenate([by_click, _dice(logits, target)[None]]))
        guessed += [*sure, iou.numpy()]
        true += [_iou_of(dice) for dice in rows[-1]]
    table = np.concatenate(rows, axis=1)
    domains = np.array(exam.domains)
    result: dict[str, Any] = {"all": _summary(table)}
    for domain in sorted(set(exam.domains)):
        result[domain] = _summary(table[:, domains == domain])
    pair = np.concatenate(guessed), np.concatenate(true)
    result["iou_correlation"] = round(float(np.corrcoef(*pair)[0, 1]), 3)
    return result


def score(result: dict[str, Any]) -> float:
    """One number to choose by: the mean over 1, 3, 5 and 10 clicks and the box."""
    return float(np.mean([*result["all"]["clicks"].values(), result["all"]["box"]]))


def _click_through(
    decoder: Decoder, features: Tensor, target: Tensor
) -> tuple[np.ndarray[Any, Any], list[np.ndarray[Any, Any]]]:
    """Dice of shape (CLICKS, N), and the estimated IoU after each click."""
    ask = Ask(clicks=[[(*deepest(one == 1), 1)] for one in target[:, 0].numpy()])
    dice, sure = [], []
    for _ in range(CLICKS):
        logits, iou = decoder(features, ask)
        dice.append(_dice(logits, target))
        sure.append(iou.numpy())
        clicks = [
            next_click((guess > 0).numpy(), truth == 1, truth != IGNORE)
            or (*deepest(truth == 1), 1)
            for guess, truth in zip(logits[:, 0], target[:, 0].numpy(), strict=True)
        ]
        ask = ask.corrected(clicks, logits)
    return np.stack(dice), sure


def _dice(logits: Tensor, target: Tensor) -> np.ndarray[Any, Any]:
    iou = mask_iou(logits, target).numpy()
    return np.asarray(2 * iou / (1 + iou))


def _iou_of(dice: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(dice / (2 - dice))


def _box(target: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    rows, cols = (np.flatnonzero((target == 1).any(axis)) for axis in (1, 0))
    return np.array([rows[0], cols[0], rows[-1], cols[-1]], dtype=np.float32)


def _summary(table: np.ndarray[Any, Any]) -> dict[str, Any]:
    clicks = {str(n): round(float(table[n - 1].mean()), 3) for n in SHOWN}
    return {"clicks": clicks, "box": round(float(table[CLICKS].mean()), 3)}
