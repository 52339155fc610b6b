"""Prompts for the training samples of SAM: class tokens, clicks, boxes and maps of the U-Net."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from scsam_train.clicks import first_clicks, jittered_box, next_click
from scsam_train.decoding import Decoder, PromptBatch, as_shown
from scsam_train.losses import IGNORE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_scsam.core.prompts import Prompts
    from scsam_train.sam_objects import SamObject

Kind = Literal["token", "clicks", "box", "map"]
"""Kind of the prompts of a step: the class token alone, clicks, a box, or a map of the U-Net."""

# Maximum number of clicks before the first mask, and of corrective clicks after it. Arbitrary.
MAX_FIRST_CLICKS, MAX_CORRECTIONS = 5, 3
# Share of the batches of clicks or boxes that also get the class's token and prior, so that SAM
# understands clicks with and without a class. Arbitrary.
NAMED = 0.5
# Share of the corrective clicks that come with the previous mask. Arbitrary.
FED_BACK = 0.5
# Share of the batches of maps that also get the deepest point of the part: a SAM that was not
# trained on points gets none when it is used. Arbitrary.
POINTED = 0.5


def prompt_batch(
    kind: Kind, objects: Sequence[SamObject], device: torch.device, rng: np.random.Generator
) -> PromptBatch:
    """Draw prompts of one kind for N objects.

    Parameters
    ----------
    kind : {'token', 'clicks', 'box', 'map'}
        Objects need `SamObject.prompts` for ``map``, and pixels of their class for clicks and
        boxes.
    objects : sequence of N SamObject
    device : torch.device
    rng : numpy.random.Generator
    """
    classes = torch.tensor([o.position - 1 for o in objects], device=device)
    known = [o.odds for o in objects if o.odds is not None]
    odds = torch.stack(known)[:, None].to(device) if known else None
    if kind == "map":
        prompts = [o.prompts for o in objects if o.prompts is not None]
        return prompts_of_maps(classes, prompts, pointed=rng.random() < POINTED)
    if kind == "token":
        return PromptBatch(classes, masks=odds)
    named, odds = (classes, odds) if rng.random() < NAMED else (None, None)
    masks = [(o.target == 1).numpy() for o in objects]
    if kind == "clicks":
        count = int(rng.integers(1, MAX_FIRST_CLICKS + 1))
        clicks = [first_clicks(mask, count, rng) for mask in masks]
        return PromptBatch(named, clicks=clicks, masks=odds)
    boxes = np.stack([jittered_box(mask, rng) for mask in masks])
    return PromptBatch(named, boxes=boxes, masks=odds)


def prompts_of_maps(classes: Tensor, prompts: Sequence[Prompts], *, pointed: bool) -> PromptBatch:
    """Return boxes and mask prompts of N parts of maps, with their deepest points if `pointed`.

    Parameters
    ----------
    classes : Tensor of shape (N,), int64
        Positions of the classes, 0..K - 1.
    prompts : sequence of N Prompts
        As made by `prompts_for`.
    pointed : bool
    """
    boxes = np.array([one.box for one in prompts], np.float32)
    maps = torch.from_numpy(np.stack([np.asarray(one.mask) for one in prompts]))[:, None]
    clicks = [[(*one.points[0], 1)] for one in prompts] if pointed else None
    return PromptBatch(classes, clicks=clicks, boxes=boxes, masks=maps.to(classes.device))


@torch.no_grad()
def with_corrections(
    decoder: Decoder,
    features: Tensor,
    target: Tensor,
    prompts: PromptBatch,
    rng: np.random.Generator,
) -> PromptBatch:
    """Add a random number of corrective clicks, each in the largest error of the last mask.

    This simulates a person's corrections, as in Sofiiuk et al., "Reviving iterative training with
    mask guidance for interactive segmentation", ICIP 2022 (arXiv 2102.06583).

    Parameters
    ----------
    decoder : Decoder
    features : Tensor of shape (N, 256, e, e)
    target : Tensor of shape (N, 1, side, side), uint8
        0, 1, or 255 for unknown pixels.
    prompts : PromptBatch
        The first clicks.
    rng : numpy.random.Generator
    """
    count = int(rng.integers(MAX_CORRECTIONS + 1))
    fed_back = rng.random(MAX_CORRECTIONS) < FED_BACK
    for fed in fed_back[:count]:
        logits = as_shown(prompts, *decoder(features, prompts))
        clicks = [
            next_click((guess > 0).numpy(), (truth == 1).numpy(), (truth != IGNORE).numpy())
            for guess, truth in zip(logits[:, 0].cpu(), target[:, 0].cpu(), strict=True)
        ]
        found = [click for click in clicks if click is not None]
        if len(found) < len(clicks):
            break
        prompts = prompts.with_clicks(found, logits if fed else None)
    return prompts


def part_of(prompts: PromptBatch, own: slice) -> PromptBatch:
    """Return the part of a batch that this process is trained on."""
    return PromptBatch(
        None if prompts.classes is None else prompts.classes[own],
        None if prompts.clicks is None else prompts.clicks[own],
        None if prompts.boxes is None else prompts.boxes[own],
        None if prompts.masks is None else prompts.masks[own],
    )
