"""A SAM with a thin ViT and random weights, for tests that train its image encoder."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

from napari_scsam.models.base import BaseSam
from napari_scsam.models.resized_sam import resize_vit
from napari_scsam.models.zoo import find_entry, sized

if TYPE_CHECKING:
    from pathlib import Path


def thin_vit(checkpoint: Path | None = None) -> Sam:
    """SAM's ViT-B with two thin blocks, as ``sam_model_registry`` builds it."""
    torch.manual_seed(0)
    encoder = ImageEncoderViT(
        depth=2, embed_dim=24, img_size=1024, mlp_ratio=1, num_heads=2, patch_size=16,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6), qkv_bias=True, use_rel_pos=True,
        global_attn_indexes=[1], window_size=14, out_chans=256,
    )  # fmt: skip
    decoder = MaskDecoder(
        transformer_dim=256,
        transformer=TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=64, num_heads=8),
    )
    return Sam(encoder, PromptEncoder(256, (64, 64), (1024, 1024), 16), decoder).eval()


def thin_base(size: int = 64, normalisation: str = "sam") -> BaseSam:
    """The same, loaded for pictures of `size`."""
    module = thin_vit()
    resize_vit(module, size)
    entry = replace(sized(find_entry("vit_b"), size), normalisation=normalisation)
    return BaseSam(module, entry, ("thin",))
