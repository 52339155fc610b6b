from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from scsam_train.losses import (
    class_weights,
    hard_dice,
    mask_iou,
    mask_loss,
    pixel_counts,
    segmentation_loss,
)


def by_hand(logits: Any, target: Any, weight: Any) -> Any:
    """The documented loss, pixel by pixel in numpy."""
    total = 0.0
    for one, truth, share in zip(logits.numpy(), target.numpy(), weight.numpy(), strict=True):
        p = np.exp(one) / np.exp(one).sum(0)
        known = truth != 255
        entropy = [-np.log(p[truth[i, j], i, j]) for i, j in np.argwhere(known)]
        dice = []
        for k in range(1, len(one)):
            guess, mask = p[k][known], (truth == k)[known]
            dice.append((2 * (guess * mask).sum() + 1) / (guess.sum() + mask.sum() + 1))
        total += share * (np.mean(entropy) + 1 - np.mean(dice))
    return total / len(logits)


def test_segmentation_loss_is_what_it_says() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((3, 4, 6, 5), generator=generator)
    target = torch.randint(4, (3, 6, 5), generator=generator)
    target[0, :3] = 255
    weight = torch.tensor([1.0, 0.2, 0.0])
    loss = segmentation_loss(logits, target, weight)
    assert float(loss) == pytest.approx(by_hand(logits, target, weight), rel=1e-5)


def test_unannotated_pixels_and_empty_images_say_nothing() -> None:
    logits = torch.zeros((1, 2, 4, 4), requires_grad=True)
    target = torch.full((1, 4, 4), 255)
    target[0, 0, 0] = 1
    segmentation_loss(logits, target, torch.ones(1)).backward()
    moved = logits.grad.abs().sum(1)[0] > 0
    assert moved[0, 0] and moved.sum() == 1
    nothing = segmentation_loss(
        torch.randn((1, 2, 4, 4)), torch.full((1, 4, 4), 255), torch.ones(1)
    )
    assert torch.isfinite(nothing)


def test_an_absent_class_is_pushed_down() -> None:
    logits = torch.zeros((1, 2, 4, 4), requires_grad=True)
    segmentation_loss(logits, torch.zeros((1, 4, 4), dtype=torch.long), torch.ones(1)).backward()
    assert (logits.grad[0, 1] > 0).all()


def test_mask_loss_ignores_255_and_falls_with_the_right_answer() -> None:
    target = torch.full((1, 1, 4, 4), 255, dtype=torch.uint8)
    target[..., :2] = 1
    target[..., 2] = 0
    right = torch.where(target == 1, 5.0, -5.0)
    flipped = right.clone()
    flipped[..., 3] = 5.0  # only where nothing is annotated
    one = torch.ones(1)
    assert float(mask_loss(right, target, one)) == float(mask_loss(flipped, target, one))
    assert float(mask_loss(right, target, one)) < 0.1 < float(mask_loss(-right, target, one))
    assert float(mask_loss(right, target, 0 * one)) == 0


def test_mask_iou_counts_annotated_pixels() -> None:
    logits = torch.tensor([[[[1.0, 1.0, -1.0, 1.0]]]])
    target = torch.tensor([[[[1, 0, 1, 255]]]], dtype=torch.uint8)
    assert mask_iou(logits, target).tolist() == [pytest.approx(1 / 3)]
    assert mask_iou(-torch.ones((1, 1, 2, 2)), torch.zeros((1, 1, 2, 2))).tolist() == [1.0]


def test_hard_dice_over_classes_that_either_holds() -> None:
    first = torch.tensor([[[0, 1, 1, 2]], [[0, 0, 0, 0]], [[2, 2, 0, 0]]])
    second = torch.tensor([[[0, 1, 0, 0]], [[0, 0, 0, 0]], [[2, 2, 0, 0]]])
    assert hard_dice(first, second, 2).tolist() == pytest.approx([(2 / 3 + 0) / 2, 1, 1])


def test_class_weights_are_frequencies_to_a_power_with_mean_one() -> None:
    labels = torch.zeros((1, 10, 10), dtype=torch.uint8)
    labels[0, 0, :4] = 1
    labels[0, 9] = 255
    weights = class_weights(pixel_counts(labels, 2), 0.5)
    assert float(weights[1] / weights[0]) == pytest.approx((86 / 4) ** 0.5)
    assert float(86 * weights[0] + 4 * weights[1]) / 90 == pytest.approx(1)
    assert class_weights(pixel_counts(labels, 2), 0.0).tolist() == pytest.approx([1, 1])
    absent = class_weights(pixel_counts(labels, 3), 1.0)
    assert torch.isfinite(absent).all() and float(absent[2] / absent[0]) == pytest.approx(20)


def test_balance_weighs_a_small_objects_pixels() -> None:
    target = torch.zeros((1, 1, 10, 10), dtype=torch.uint8)
    target[..., 0, :4] = 1
    logits = torch.zeros(1, 1, 10, 10, requires_grad=True)
    mask_loss(logits, target, torch.ones(1), power=0.5).backward()
    plain = torch.zeros(1, 1, 10, 10, requires_grad=True)
    mask_loss(plain, target, torch.ones(1)).backward()
    assert logits.grad[target == 1].abs().sum() > 2 * plain.grad[target == 1].abs().sum()
