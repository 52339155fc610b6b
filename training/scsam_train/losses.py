"""Losses with an ignore label and a weight for each image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

IGNORE = 255
SMOOTH = 1.0
MAX_BALANCE = 20.0
# What a log-probability is taken for at least: a class that is unknown in an image has none, and
# -inf times a weight of 0 is no number. Float32's smallest logarithm is -87.
LEAST_LOG = -100.0
# Weights of the squared error of SAM's estimate of the IoU beside the loss of its mask; its authors
# give it 1 (Kirillov et al., "Segment Anything", ICCV 2023, appendix A). Both are arbitrary, and
# not compared with each other: the shipped warm-up and every measured tuning were trained with the
# first (docs/explanation/warm-up.md), every measured round with the second.
IOU_WEIGHT_OF_EPISODES, IOU_WEIGHT_OF_ROUNDS = 0.2, 0.1


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


def merged(logits: Tensor, known: Tensor) -> Tensor:
    """Log-probabilities in which the background holds every class that is not known.

    Parameters
    ----------
    logits : Tensor of shape (N, K + 1, h, w)
        Background first.
    known : Tensor of shape (K,) or (N, K)
        Above 0 where a class is known.

    Returns
    -------
    Tensor of shape (N, K + 1, h, w)
        The background's is log(p_0 + the sum of p_k over the unknown classes k), the marginal
        probability of Shi et al., "Marginal loss and exclusion loss for partially supervised
        multi-organ segmentation", Medical Image Analysis 2021 (arXiv 2007.03868). An unknown
        class has minus infinity, a known one its own.
    """
    unknown = (known <= 0).expand(len(logits), -1)[:, :, None, None]
    found = logits.log_softmax(1)
    absent = float("-inf")
    with_background = found[:, 1:].masked_fill(~unknown, absent)
    background = torch.cat([found[:, :1], with_background], dim=1).logsumexp(1, keepdim=True)
    return torch.cat([background, found[:, 1:].masked_fill(unknown, absent)], dim=1)


def segmentation_loss(
    logits: Tensor,
    target: Tensor,
    weight: Tensor,
    balance: Tensor | None = None,
    known: Tensor | None = None,
) -> Tensor:
    """Cross-entropy plus foreground Dice, per image, over annotated pixels only.

    Where a class is not known this is the marginal loss of Shi et al. (see `merged`): a
    background pixel is of the background or of any unknown class, and Dice is over the others.

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
    known : Tensor of shape (N, K), float32, optional
        How far each class is known in each image, 0..1: 1 where a person judged it, 0 where it
        is unknown. It weighs the class's pixels and its Dice; background pixels weigh the mean
        of the known ones. All 1 by default.

    Returns
    -------
    Tensor of shape ()
        Dice is per image and class with smoothing 1, so an absent class is pushed to
        nothing without a vanishing gradient (docs/explanation/published-method.md).
    """
    if known is not None and not bool((known == 1).all()):
        return _marginal_loss(logits, target, weight, balance, known)
    valid = target != IGNORE
    entropy = functional.cross_entropy(
        logits, target, weight=balance, ignore_index=IGNORE, reduction="none"
    )
    per_image = entropy.flatten(1).sum(1) / valid.flatten(1).sum(1).clamp(min=1)
    dice = _class_dice(logits, target, valid).mean(1)
    return (weight * (per_image + 1 - dice)).mean()


def _marginal_loss(
    logits: Tensor, target: Tensor, weight: Tensor, balance: Tensor | None, known: Tensor
) -> Tensor:
    """`segmentation_loss` where some classes are unknown, or known in part."""
    valid = target != IGNORE
    count = (known > 0).sum(1).clamp(min=1)
    shares = torch.cat([known.sum(1, keepdim=True) / count[:, None], known], dim=1)
    chances = merged(logits, known).clamp(min=LEAST_LOG)
    entropy = functional.nll_loss(
        chances, target, weight=balance, ignore_index=IGNORE, reduction="none"
    )
    pixels = shares.gather(1, target.masked_fill(~valid, 0).flatten(1)).view_as(entropy)
    per_image = (entropy * pixels).flatten(1).sum(1) / valid.flatten(1).sum(1).clamp(min=1)
    missed = known * (1 - _class_dice(logits, target, valid))
    return (weight * (per_image + missed.sum(1) / count)).mean()


def _class_dice(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Soft Dice of each class in each image, of shape (N, K)."""
    one_hot = functional.one_hot(target.masked_fill(~valid, 0), logits.shape[1])
    truth = one_hot.permute(0, 3, 1, 2)[:, 1:] * valid[:, None]
    guess = logits.softmax(1)[:, 1:] * valid[:, None]
    return _soft_dice(guess, truth)


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


def likeliest_known(logits: Tensor, known: Tensor) -> Tensor:
    """`likeliest` of logits, an unknown class (`known` of shape (K,)) being background."""
    return likeliest(logits if bool(known.all()) else merged(logits, known))


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
