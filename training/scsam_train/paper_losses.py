"""The losses of SC-SAM's code (arXiv 2601.17934), over the batch as a whole.

Everything is summed over the processes of a round first, so that a batch has one loss however
many processes share it.
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

# As its Dice has it (docs/explanation/published-method.md).
SMOOTH = 1e-10
# Under the logarithm, so that a probability of 0 gives no NaN.
SMALLEST = 1e-6


def batch_loss(logits: Tensor, target: Tensor, world: World) -> Tensor:
    """Cross-entropy plus Dice of a batch, the background included.

    Cross-entropy is the mean over the pixels of all images. Dice is one figure per class for
    all images at once, with squares in its denominator and a smoothing of 1e-10, and the mean
    is over all K + 1 classes. So a class that is nowhere costs close to 1 / (K + 1) at almost
    no gradient, as published.

    Parameters
    ----------
    logits : Tensor of shape (N, K + 1, h, w)
        Background first.
    target : Tensor of shape (N, h, w), int64
        0..K, 255 for pixels that say nothing.
    world : World
        Whose processes hold the other parts of the batch.

    Returns
    -------
    Tensor of shape ()
        This process's part: over all processes its sum is the loss of the batch, and the sum
        of its gradients the loss's gradient. 0 where no pixel says anything.
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
    # Each process has the whole Dice: of its value only a share is this one's.
    return entropy / pixels + dice - (1 - 1 / world.size) * dice.detach()


def entropy_loss(logits: Tensor, of: int) -> Tensor:
    """Entropy over its maximum, ln(K + 1): the mean over the pixels of a batch of `of` images.

    Parameters
    ----------
    logits : Tensor of shape (N, K + 1, h, w)
        This process's part of the batch.
    of : int

    Returns
    -------
    Tensor of shape ()
        0..1; this process's part of it. SC-SAM's code has ln 2 for any K.
    """
    probability = logits.softmax(1)
    entropy = -(probability * probability.clamp(min=SMALLEST).log()).sum(1).mean()
    return entropy / math.log(logits.shape[1]) * len(logits) / of


def _of_all(own: Tensor, world: World) -> Tensor:
    """A sum over all processes, with the gradient of this one's part."""
    with torch.no_grad():
        others = world.sum(own.detach().clone()) - own
    return own + others
