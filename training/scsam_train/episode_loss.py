"""What an answer of SAM is worth as a lesson: the loss of one ask, and a model to compare with."""

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
    """The model as it is now, for good; the image encoder, which nobody asks, is left out."""
    encoder = model.image_encoder
    model.base_model.model.image_encoder = nn.Identity()
    frozen = copy.deepcopy(model).eval().requires_grad_(False)
    model.base_model.model.image_encoder = encoder
    return Decoder(frozen)


def answer(decoder: Decoder, episode: Episode) -> tuple[Tensor, Tensor]:
    """Logits (N, 1, side, side) and estimated IoU (N,) for what the episode asks now."""
    ask, device = episode.ask, decoder.device
    if ask.masks is not None:
        ask = replace(ask, masks=ask.masks.to(device))
    return decoder(episode.features.to(device).float(), ask)


def episode_loss(
    episode: Episode, logits: Tensor, iou: Tensor, shipped: Decoder | None, distil: float
) -> Tensor:
    """Cross-entropy, Dice and the error of the IoU estimate, over what is known.

    Parameters
    ----------
    episode : Episode
    logits : Tensor of shape (N, 1, side, side)
    iou : Tensor of shape (N,)
        SAM's answer to ``episode.ask``.
    shipped : Decoder or None
        Whose answer to a box alone is learned, too, so that boxes stay what they are.
    distil : float
        Its weight beside the truth, 0..1.
    """
    target = episode.target.to(logits.device)
    loss = mask_loss(logits, target, torch.ones(len(logits), device=logits.device))
    shown = as_shown(episode.ask, logits, iou)
    loss = loss + IOU_WEIGHT_OF_EPISODES * functional.mse_loss(iou, mask_iou(shown, target))
    if shipped is None or not distil or not episode.box_alone:
        return loss
    with torch.no_grad():
        taught = answer(shipped, episode)[0].sigmoid()
    return (1 - distil) * loss + distil * _distance(logits, taught, target != IGNORE)


def _distance(logits: Tensor, probability: Tensor, valid: Tensor) -> Tensor:
    """Cross-entropy plus Dice against probabilities instead of a mask."""
    entropy = functional.binary_cross_entropy_with_logits(logits, probability, reduction="none")
    mean = (entropy * valid).flatten(1).sum(1) / valid.flatten(1).sum(1)
    guess = logits.sigmoid() * valid
    both = (guess * probability).flatten(1).sum(1)
    sums = (guess**2 + (probability * valid) ** 2).flatten(1).sum(1)
    return (mean + 1 - (2 * both + 1) / (sums + 1)).mean()
