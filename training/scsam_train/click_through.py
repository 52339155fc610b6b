"""A simulated annotator on a batch of objects: each click corrects the largest error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from napari_scsam.core.prompts import bounding_box, deepest
from scsam_train.clicks import next_click
from scsam_train.decoding import Decoder, PromptBatch, as_shown
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
    """Return the Dice after each of `count` clicks, with the previous mask as a prompt.

    Parameters
    ----------
    decoder : Decoder
    features : Tensor of shape (N, 256, e, e), float32
    target : Tensor of shape (N, 1, side, side), uint8
        1 inside, 255 for unknown pixels; on the CPU.
    count : int
    priors : sequence of N Tensors of shape (side, side), or None
        Log-odds of the class prior, the mask prompt of the first click.

    Returns
    -------
    dice, predicted : ndarray of shape (count, N), float32
        True Dice, and the IoU predicted by SAM.
    """
    truths = target[:, 0].numpy()
    prompts = PromptBatch(clicks=[[_middle(truth)] for truth in truths])
    dice, predicted = [], []
    for click in range(count):
        logits, iou = _shown(decoder, features, prompts, () if click else priors)
        dice.append(dice_of(logits, target))
        predicted.append(iou.cpu().numpy())
        guesses = (logits[:, 0] > 0).cpu().numpy()
        clicks = [
            next_click(guess, truth == 1, truth != IGNORE) or _middle(truth)
            for guess, truth in zip(guesses, truths, strict=True)
        ]
        prompts = prompts.with_clicks(clicks, logits)
    return np.stack(dice), np.stack(predicted)


def _shown(
    decoder: Decoder,
    features: Tensor,
    prompts: PromptBatch,
    priors: Sequence[Tensor | None],
) -> tuple[Tensor, Tensor]:
    """Decode the masks that the tool would show, with priors where there are any."""
    logits, iou = decoder(features, prompts)
    logits = as_shown(prompts, logits, iou)
    for row, prior in enumerate(priors):
        if prior is not None:
            one = PromptBatch(
                clicks=None if prompts.clicks is None else [prompts.clicks[row]],
                boxes=None if prompts.boxes is None else prompts.boxes[row : row + 1],
                masks=prior[None, None].float().to(features.device),
            )
            logits[row], iou[row] = (part[0] for part in decoder(features[row : row + 1], one))
    return logits, iou


@torch.no_grad()
def box_through(
    decoder: Decoder, features: Tensor, target: Tensor, priors: Sequence[Tensor | None] = ()
) -> tuple[FloatArray, FloatArray]:
    """Return Dice and predicted IoU, each of shape (N,), for the tight bounding box alone."""
    boxes = np.stack([_box(truth) for truth in target[:, 0].numpy()])
    logits, iou = _shown(decoder, features, PromptBatch(boxes=boxes), priors)
    return dice_of(logits, target), iou.cpu().numpy()


def dice_of(logits: Tensor, target: Tensor) -> FloatArray:
    """Return the Dice of ``logits > 0``, shape (N,)."""
    iou = mask_iou(logits, target.to(logits.device)).cpu().numpy()
    return np.asarray(2 * iou / (1 + iou), dtype=np.float32)


def _middle(truth: NDArray[np.uint8]) -> tuple[float, float, int]:
    return (*deepest(truth == 1), 1)


def _box(truth: NDArray[np.uint8]) -> FloatArray:
    return np.array(bounding_box(truth == 1), dtype=np.float32)
