"""A simulated annotator on a batch of objects: click, answer, click on the largest mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from napari_scsam.core.prompts import bounding_box, deepest
from scsam_train.clicks import next_click
from scsam_train.decoding import Ask, Decoder, as_shown
from scsam_train.losses import IGNORE, mask_iou

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_scsam.core.arrays import FloatArray


@torch.no_grad()
def click_through(
    decoder: Decoder,
    features: Tensor,
    target: Tensor,
    count: int,
    priors: Sequence[Tensor | None] = (),
) -> tuple[FloatArray, FloatArray]:
    """Dice after each of `count` clicks, the last answer fed back with the next.

    Parameters
    ----------
    decoder : Decoder
    features : Tensor of shape (N, 256, e, e), float32
    target : Tensor of shape (N, 1, side, side), uint8
        1 inside, 255 where nothing is known; on the CPU.
    count : int
    priors : sequence of N Tensors of shape (side, side), or None
        Log-odds that go with the first click.

    Returns
    -------
    dice, sure : ndarray of shape (count, N), float32
        True Dice and SAM's own estimate of the IoU.
    """
    truths = target[:, 0].numpy()
    ask = Ask(clicks=[[_middle(truth)] for truth in truths])
    dice, sure = [], []
    for click in range(count):
        logits, iou = _shown(decoder, features, ask, () if click else priors)
        dice.append(dice_of(logits, target))
        sure.append(iou.cpu().numpy())
        guesses = (logits[:, 0] > 0).cpu().numpy()
        clicks = [
            next_click(guess, truth == 1, truth != IGNORE) or _middle(truth)
            for guess, truth in zip(guesses, truths, strict=True)
        ]
        ask = ask.corrected(clicks, logits)
    return np.stack(dice), np.stack(sure)


def _shown(
    decoder: Decoder,
    features: Tensor,
    ask: Ask,
    priors: Sequence[Tensor | None],
) -> tuple[Tensor, Tensor]:
    """Answers as the tool shows them, with the priors where there are any."""
    logits, iou = decoder(features, ask)
    logits = as_shown(ask, logits, iou)
    for row, prior in enumerate(priors):
        if prior is not None:
            one = Ask(
                clicks=None if ask.clicks is None else [ask.clicks[row]],
                boxes=None if ask.boxes is None else ask.boxes[row : row + 1],
                masks=prior[None, None].float().to(features.device),
            )
            logits[row], iou[row] = (part[0] for part in decoder(features[row : row + 1], one))
    return logits, iou


@torch.no_grad()
def box_through(
    decoder: Decoder, features: Tensor, target: Tensor, priors: Sequence[Tensor | None] = ()
) -> tuple[FloatArray, FloatArray]:
    """Dice and estimated IoU, each of shape (N,), with the tight box alone."""
    boxes = np.stack([_box(truth) for truth in target[:, 0].numpy()])
    logits, iou = _shown(decoder, features, Ask(boxes=boxes), priors)
    return dice_of(logits, target), iou.cpu().numpy()


def dice_of(logits: Tensor, target: Tensor) -> FloatArray:
    """Dice of ``logits > 0``, of shape (N,)."""
    iou = mask_iou(logits, target.to(logits.device)).cpu().numpy()
    return np.asarray(2 * iou / (1 + iou), dtype=np.float32)


def _middle(truth: NDArray[np.uint8]) -> tuple[float, float, int]:
    return (*deepest(truth == 1), 1)


def _box(truth: NDArray[np.uint8]) -> FloatArray:
    return np.array(bounding_box(truth == 1), dtype=np.float32)
