"""The loss of one decode of a simulated episode, and a frozen model for distillation."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from scsam_train.decoding import Decoder, as_shown
from scsam_train.losses import IGNORE, IOU_WEIGHT_OF_EPISODES, mask_iou, mask_loss

if TYPE_CHECKING:
    from peft import PeftModel

    from scsam_train.episodes import Episode


def frozen_decoder(model: PeftModel) -> Decoder:
    """Return a frozen copy of the model's decoder; the image encoder is not copied."""
    encoder = model.image_encoder
    model.base_model.model.image_encoder = nn.Identity()
    frozen = copy.deepcopy(model).eval().requires_grad_(False)
    model.base_model.model.image_encoder = encoder
    return Decoder(frozen)


def decode(decoder: Decoder, episode: Episode) -> tuple[Tensor, Tensor]:
    """Return logits (N, 1, side, side) and predicted IoU (N,) for the episode's prompts."""
    prompts, device = episode.prompts, decoder.device
    if prompts.masks is not None:
        prompts = replace(prompts, masks=prompts.masks.to(device))
    return decoder(episode.features.to(device).float(), prompts)


def episode_loss(
    episode: Episode, logits: Tensor, iou: Tensor, shipped: Decoder | None, distil: float
) -> Tensor:
    """Return cross-entropy, Dice loss and the squared error of the predicted IoU.

    Parameters
    ----------
    episode : Episode
    logits : Tensor of shape (N, 1, side, side)
    iou : Tensor of shape (N,)
        SAM's prediction for ``episode.prompts``.
    shipped : Decoder or None
        Teacher for episodes with a box alone, so that box prompts keep their quality.
    distil : float
        Weight of the teacher relative to the truth, 0..1.
    """
    target = episode.target.to(logits.device)
    loss = mask_loss(logits, target, torch.ones(len(logits), device=logits.device))
    shown = as_shown(episode.prompts, logits, iou)
    loss = loss + IOU_WEIGHT_OF_EPISODES * functional.mse_loss(iou, mask_iou(shown, target))
    if shipped is None or not distil or not episode.box_alone:
        return loss
    with torch.no_grad():
        soft_target = decode(shipped, episode)[0].sigmoid()
    return (1 - distil) * loss + distil * _distance(logits, soft_target, target != IGNORE)


def _distance(logits: Tensor, probability: Tensor, valid: Tensor) -> Tensor:
    """Return cross-entropy plus Dice loss against soft targets."""
    entropy = functional.binary_cross_entropy_with_logits(logits, probability, reduction="none")
    mean = (entropy * valid).flatten(1).sum(1) / valid.flatten(1).sum(1)
    guess = logits.sigmoid() * valid
    both = (guess * probability).flatten(1).sum(1)
    sums = (guess**2 + (probability * valid) ** 2).flatten(1).sum(1)
    return (mean + 1 - (2 * both + 1) / (sums + 1)).mean()
