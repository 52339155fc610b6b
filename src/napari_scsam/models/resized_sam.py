"""A SAM with a ViT for smaller pictures than it was published for."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_scsam.models.zoo import PATCH


@torch.no_grad()
def resize_vit(sam: nn.Module, size: int) -> None:
    """Make a loaded SAM take pictures of another size; its memory and time fall with the area.

    The table of absolute positions is resampled (bicubic), as Dosovitskiy et al. (ICLR 2021,
    section 3.2) do, and the tables of relative ones linearly, as SAM itself does where they do
    not fit. Windows are made to fill the picture: SAM's 14 tokens would take 28 for a side of
    16 (256 pixels), so that two of three tokens were padding.

    Parameters
    ----------
    sam : nn.Module
        With SAM's three modules, a ViT among them; changed in place.
    size : int
        Side of the new input in pixels, a multiple of 16.
    """
    side = size // PATCH
    encoder: Any = sam.image_encoder
    encoder.img_size = size
    table = functional.interpolate(
        encoder.pos_embed.permute(0, 3, 1, 2), (side, side), mode="bicubic", antialias=True
    )
    encoder.pos_embed = nn.Parameter(table.permute(0, 2, 3, 1).contiguous())
    for block in encoder.blocks:
        if block.window_size:
            block.window_size = _window(block.window_size, side)
        for name in ("rel_pos_h", "rel_pos_w"):
            table = _relative(getattr(block.attn, name), block.window_size or side)
            setattr(block.attn, name, nn.Parameter(table))
    prompts: Any = sam.prompt_encoder
    prompts.input_image_size = (size, size)
    prompts.image_embedding_size = (side, side)
    prompts.mask_input_size = (4 * side, 4 * side)


def _window(window: int, side: int) -> int:
    """Side of the windows that is nearest to `window` and leaves the least padding."""
    return math.ceil(side / max(1, round(side / window)))


def _relative(table: Tensor, side: int) -> Tensor:
    """Codes (2 * old - 1, C) of the distances on a grid, for a grid of another side."""
    resized = functional.interpolate(table.T[None], 2 * side - 1, mode="linear")
    return resized[0].T.contiguous()
