"""Segmentation losses with an ignore label and a weight per image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

# Label of an unknown pixel: that of a project's labels (`core/labels.py`).
IGNORE = 255
# Smoothing of Dice, in pixels, added to numerator and denominator. Arbitrary.
SMOOTH = 1.0
# Maximum weight of a class relative to the most frequent one. Arbitrary.
MAX_BALANCE = 20.0
# Lower limit of a log-probability: that of an unknown class is -inf, and -inf times a weight of 0
# is NaN. The smallest logarithm of a normal float32 is -87.
MIN_LOG = -100.0
# Weights of the squared error of SAM's predicted IoU, relative to its mask loss; its authors
# use 1 (Kirillov et al., "Segment Anything", ICCV 2023, appendix A). Both are arbitrary and were
# not compared: the shipped warm-up and every measured tuning were trained with the first
# (docs/explanation/warm-up.md), every measured round with the second.
IOU_WEIGHT_OF_EPISODES, IOU_WEIGHT_OF_ROUNDS = 0.2, 0.1


def pixel_counts(labels: Tensor, classes: int) -> Tensor:
    """Count the pixels of each class; returns shape (classes,), float32.

    Parameters
    ----------
    labels : Tensor of shape (N, h, w), uint8
        0..classes - 1, 255 for ignored pixels.
    classes : int
        K + 1.
    """
    return torch.bincount(labels[labels != IGNORE].long(), minlength=classes).float()


def class_weights(counts: Tensor, power: float) -> Tensor:
    """Return class weights for cross-entropy, shape (K + 1,): rare classes weigh more.

    Parameters
    ----------
    counts : Tensor of shape (K + 1,)
        From `pixel_counts`.
    power : float
        0 for equal weights, 1 for inverse frequency. Limited to 20 times the weight of the
        most frequent class; the mean over all pixels is 1.
    """
    weights = (counts.max() / counts.clamp(min=1)).pow(power).clamp(max=MAX_BALANCE)
    return weights * counts.sum() / (weights * counts).sum().clamp(min=1)


def merged(logits: Tensor, known: Tensor) -> Tensor:
    """Return log-probabilities with all unknown classes merged into the background.

    Parameters
    ----------
    logits : Tensor of shape (N, K + 1, h, w)
        Background first.
    known : Tensor of shape (K,) or (N, K)
        Above 0 for known classes.

    Returns
    -------
    Tensor of shape (N, K + 1, h, w)
        That of the background is log(p_0 + the sum of p_k over the unknown k), the marginal
        probability of Shi et al., "Marginal loss and exclusion loss for partially supervised
        multi-organ segmentation", Medical Image Analysis 2021 (arXiv 2007.03868). That of an
        unknown class is minus infinity; known classes are unchanged.
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
    """Return cross-entropy plus foreground Dice loss, per image, over annotated pixels.

    With unknown classes this is the marginal loss of Shi et al. (see `merged`): a
    background pixel may belong to any unknown class, and Dice is over the known classes.

    Parameters
    ----------
    logits : Tensor of shape (N, K + 1, h, w)
        Background first.
    target : Tensor of shape (N, h, w), int64
        0..K, 255 for ignored pixels.
    weight : Tensor of shape (N,)
        Weight of each image; the losses are multiplied by it and averaged over N.
    balance : Tensor of shape (K + 1,), optional
        Weight of each class in the cross-entropy.
    known : Tensor of shape (N, K), float32, optional
        Confidence in the label of each class in each image, 0..1: 1 if a person judged it, 0 if
        it is unknown. It weights the pixels and the Dice of the class; the weight of background
        pixels is the mean over the known classes. Default: all 1.

    Returns
    -------
    Tensor of shape ()
        Dice is per image and class with smoothing 1, so that false positives of an absent class
        have a gradient (docs/explanation/published-method.md).
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
    """`segmentation_loss` with unknown or partly trusted classes."""
    valid = target != IGNORE
    count = (known > 0).sum(1).clamp(min=1)
    shares = torch.cat([known.sum(1, keepdim=True) / count[:, None], known], dim=1)
    chances = merged(logits, known).clamp(min=MIN_LOG)
    entropy = functional.nll_loss(
        chances, target, weight=balance, ignore_index=IGNORE, reduction="none"
    )
    pixels = shares.gather(1, target.masked_fill(~valid, 0).flatten(1)).view_as(entropy)
    per_image = (entropy * pixels).flatten(1).sum(1) / valid.flatten(1).sum(1).clamp(min=1)
    missed = known * (1 - _class_dice(logits, target, valid))
    return (weight * (per_image + missed.sum(1) / count)).mean()


def _class_dice(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Return the soft Dice of each class in each image, shape (N, K)."""
    one_hot = functional.one_hot(target.masked_fill(~valid, 0), logits.shape[1])
    truth = one_hot.permute(0, 3, 1, 2)[:, 1:] * valid[:, None]
    guess = logits.softmax(1)[:, 1:] * valid[:, None]
    return _soft_dice(guess, truth)


def mask_loss(logits: Tensor, target: Tensor, weight: Tensor, power: float = 0.0) -> Tensor:
    """Return binary cross-entropy plus Dice loss for one object per image.

    Parameters
    ----------
    logits : Tensor of shape (N, 1, h, w)
    target : Tensor of shape (N, 1, h, w), uint8
        0, 1, or 255 for ignored pixels.
    weight : Tensor of shape (N,)
    power : float
        Exponent as in `class_weights`, between each object and its background.
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
    """Return the IoU of ``logits > 0``, shape (N,); 1 if both masks are empty.

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
    """Return the argmax of `maps` (N, K + 1, h, w) over the classes, shape (N, h, w), int64.

    On the CPU ``argmax`` takes 36 times as long as ``max``.
    """
    return maps.max(1).indices


def likeliest_known(logits: Tensor, known: Tensor) -> Tensor:
    """Return `likeliest` of logits, with unknown classes (`known`, shape (K,)) as background."""
    return likeliest(logits if bool(known.all()) else merged(logits, known))


def hard_dice(first: Tensor, second: Tensor, classes: int) -> Tensor:
    """Return the Dice of label maps, shape (N,): the mean over classes in either map; 1 if none.

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
