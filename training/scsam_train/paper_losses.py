"""The losses of SC-SAM's code (arXiv 2601.17934), over the whole batch.

Sums are taken over all processes first, so that the loss of a batch does not depend on their
number.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from scsam_train.losses import IGNORE

if TYPE_CHECKING:
    from scsam_train.distributed import World

# Smoothing of its Dice (docs/explanation/published-method.md).
SMOOTH = 1e-10
# Lower limit of probabilities under the logarithm, to avoid NaN.
SMALLEST = 1e-6


def batch_loss(logits: Tensor, target: Tensor, world: World) -> Tensor:
    """Return cross-entropy plus Dice loss of a batch, including the background.

    Cross-entropy is the mean over the pixels of all images. Dice is computed per class over all
    images together, with squares in its denominator and a smoothing of 1e-10, and averaged over
    all K + 1 classes. So an absent class adds close to 1 / (K + 1) with almost no gradient, as
    published.

    Parameters
    ----------
    logits : Tensor of shape (N, K + 1, h, w)
        Background first.
    target : Tensor of shape (N, h, w), int64
        0..K, 255 for ignored pixels.
    world : World
        The processes that hold the other parts of the batch.

    Returns
    -------
    Tensor of shape ()
        This process's share: summed over all processes it is the loss of the batch, and the sum
        of its gradients is the gradient of that loss. 0 if all pixels are ignored.
    """
    valid = target != IGNORE
    entropy = functional.cross_entropy(logits, target, ignore_index=IGNORE, reduction="sum")
    pixels = world.sum(valid.sum()).clamp(min=1)
    one_hot = functional.one_hot(target.masked_fill(~valid, 0), logits.shape[1])
    truth = one_hot.permute(0, 3, 1, 2) * valid[:, None]
    guess = logits.softmax(1) * valid[:, None]
    both = _of_all((guess * truth).sum((0, 2, 3)), world)
    sizes = _of_all((guess.square() + truth).sum((0, 2, 3)), world)
    dice = 1 - ((2 * both + SMOOTH) / (sizes + SMOOTH)).mean()
    # Each process computes the whole Dice but contributes only its share of the value.
    return entropy / pixels + dice - (1 - 1 / world.size) * dice.detach()


def entropy_loss(logits: Tensor, of: int) -> Tensor:
    """Return the mean pixel entropy, divided by its maximum ln(K + 1), of a batch of `of` images.

    Parameters
    ----------
    logits : Tensor of shape (N, K + 1, h, w)
        This process's part of the batch.
    of : int

    Returns
    -------
    Tensor of shape ()
        0..1, this process's share. SC-SAM's code divides by ln 2 for any K.
    """
    probability = logits.softmax(1)
    entropy = -(probability * probability.clamp(min=SMALLEST).log()).sum(1).mean()
    return entropy / math.log(logits.shape[1]) * len(logits) / of


def _of_all(own: Tensor, world: World) -> Tensor:
    """Sum over all processes, keeping the gradient of this process's part."""
    with torch.no_grad():
        others = world.sum(own.detach().clone()) - own
    return own + others
