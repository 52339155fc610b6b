"""Losses with an ignore label and a weight for each image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

IGNORE = 255
SMOOTH = 1.0
MAX_BALANCE = 20.0


def pixel_counts(labels: Tensor, classes: int) -> Tensor:
    """Pixels of each class, of shape (classes,), float32.

    Parameters
    ----------
    labels : Tensor of shape (N, h, w), uint8
        0..classes - 1, 255 for pixels that say nothing.
    classes : int
        K + 1.
    """
    return torch.bincount(labels[labels != IGNORE].long(), minlength=classes).float()


def class_weights(counts: Tensor, power: float) -> Tensor:
    """Weights for cross-entropy, of shape (K + 1,): rarer classes count more.

    Parameters
    ----------
    counts : Tensor of shape (K + 1,)
        Of `pixel_counts`.
    power : float
        0 for equal weights, 1 for inverse frequency. At most 20 times the commonest
        class's; their mean over all pixels is 1.
    """
    weights = (counts.max() / counts.clamp(min=1)).pow(power).clamp(max=MAX_BALANCE)
    return weights * counts.sum() / (weights * counts).sum().clamp(min=1)


def segmentation_loss(
    logits: Tensor, target: Tensor, weight: Tensor, balance: Tensor | None = None
) -> Tensor:
    """Cross-entropy plus foreground Dice, per image, over annotated pixels only.

    Parameters
    ----------
    logits : Tensor of shape (N, K + 1, h, w)
        Background first.
    target : Tensor of shape (N, h, w), int64
        0..K, 255 for pixels that say nothing.
    weight : Tensor of shape (N,)
        Of each image; the result is their weighted mean over N.
    balance : Tensor of shape (K + 1,), optional
        Weight of each class in the cross-entropy.

    Returns
    -------
    Tensor of shape ()
        Dice is per image and class with smoothing 1, so an absent class is pushed to
        nothing without a vanishing gradient (METHOD 1.12, D18).
    """
    valid = target != IGNORE
    entropy = functional.cross_entropy(
        logits, target, weight=balance, ignore_index=IGNORE, reduction="none"
    )
    per_image = entropy.flatten(1).sum(1) / valid.flatten(1).sum(1).clamp(min=1)
    one_hot = functional.one_hot(target.masked_fill(~valid, 0), logits.shape[1])
    truth = one_hot.permute(0, 3, 1, 2)[:, 1:] * valid[:, None]
    guess = logits.softmax(1)[:, 1:] * valid[:, None]
    dice = _soft_dice(guess, truth).mean(1)
    return (weight * (per_image + 1 - dice)).mean()


def mask_loss(logits: Tensor, target: Tensor, weight: Tensor, power: float = 0.0) -> Tensor:
    """Binary cross-entropy plus Dice for one object per image.

    Parameters
    ----------
    logits : Tensor of shape (N, 1, h, w)
    target : Tensor of shape (N, 1, h, w), uint8
        0, 1, or 255 for pixels that say nothing.
    weight : Tensor of shape (N,)
    power : float
        As in `class_weights`, between each object and its surroundings.
    """
    valid = target != IGNORE
    truth = (target == 1).to(logits.dtype)
    inside = truth.flatten(1).sum(1)
    outside = valid.flatten(1).sum(1) - inside
    balance = (outside / inside.clamp(min=1)).pow(power).clamp(1, MAX_BALANCE)
    pixels = torch.where(truth > 0, balance[:, None, None, None], 1.0) * valid
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    per_image = (entropy * pixels).flatten(1).sum(1) / pixels.flatten(1).sum(1).clamp(min=1)
    dice = _soft_dice(logits.sigmoid() * valid, truth * valid)[:, 0]
    return (weight * (per_image + 1 - dice)).mean()


@torch.no_grad()
def mask_iou(logits: Tensor, target: Tensor) -> Tensor:
    """IoU of ``logits > 0``, of shape (N,); 1 where both are empty.

    Parameters
    ----------
    logits, target : Tensor of shape (N, 1, h, w)
        As for `mask_loss`.
    """
    valid = target != IGNORE
    guess, truth = (logits > 0) & valid, (target == 1) & valid
    both = (guess & truth).flatten(1).sum(1).float()
    either = (guess | truth).flatten(1).sum(1).float()
    return torch.where(either > 0, both / either.clamp(min=1), torch.ones_like(both))


def likeliest(maps: Tensor) -> Tensor:
    """Index of the highest of `maps` (N, K + 1, h, w) at each pixel, of shape (N, h, w), int64.

    On the CPU ``argmax`` takes 36 times as long.
    """
    return maps.max(1).indices


def hard_dice(first: Tensor, second: Tensor, classes: int) -> Tensor:
    """Dice of label maps, of shape (N,): the mean over the classes that either holds; 1 if none.

    Parameters
    ----------
    first, second : Tensor of shape (N, h, w)
        0..K.
    classes : int
        K.
    """
    total, present = torch.zeros(len(first)), torch.zeros(len(first))
    for position in range(1, classes + 1):
        a, b = (first == position).flatten(1), (second == position).flatten(1)
        sizes = (a.sum(1) + b.sum(1)).cpu()
        total += torch.where(sizes > 0, 2 * (a & b).sum(1).cpu() / sizes.clamp(min=1), 0.0)
        present += sizes > 0
    return torch.where(present > 0, total / present.clamp(min=1), 1.0)


def _soft_dice(guess: Tensor, truth: Tensor) -> Tensor:
    both = (guess * truth).flatten(2).sum(2)
    return (2 * both + SMOOTH) / (guess.flatten(2).sum(2) + truth.flatten(2).sum(2) + SMOOTH)
