"""A SAM with a ViT for smaller inputs than published."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_scsam.models.zoo import PATCH


@torch.no_grad()
def resize_vit(sam: nn.Module, size: int) -> None:
    """Change the input size of a loaded SAM; memory and time decrease with the area.

    Absolute positional encodings are resampled (bicubic), as in Dosovitskiy et al. (ICLR 2021,
    section 3.2), relative ones linearly, as SAM does if they do not fit. The window size is
    adapted to the input: with SAM's windows of 14 tokens, a side of 16 (256 pixels) would need 28,
    so that two of three tokens were padding.

    Parameters
    ----------
    sam : nn.Module
        Has SAM's three modules with a ViT; changed in place.
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
    """Return the window side nearest to `window` with the least padding."""
    return math.ceil(side / max(1, round(side / window)))


def _relative(table: Tensor, side: int) -> Tensor:
    """Resample relative encodings (2 * old - 1, C) for a grid of another side."""
    resized = functional.interpolate(table.T[None], 2 * side - 1, mode="linear")
    return resized[0].T.contiguous()
