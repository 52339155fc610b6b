"""SAMs built once for all tests of the models room."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
import segment_anything
import torch
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

from napari_scsam.models.sam import SamModel, load_sam

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def lite() -> SamModel:
    """Released LiteMedSAM on the CPU."""
    return load_sam("lite-medsam-released", device="cpu")


def _thin_vit_b(checkpoint: str | None = None) -> Sam:
    """SAM with ViT-B's frame, prompt encoder and mask decoder, but one thin encoder block."""
    torch.manual_seed(0)
    encoder = ImageEncoderViT(
        depth=1, embed_dim=24, img_size=1024, mlp_ratio=1, num_heads=2, patch_size=16,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6), qkv_bias=True, use_rel_pos=True,
        global_attn_indexes=[], window_size=14, out_chans=256,
    )  # fmt: skip
    prompts = PromptEncoder(
        embed_dim=256, image_embedding_size=(64, 64), input_image_size=(1024, 1024),
        mask_in_chans=16,
    )  # fmt: skip
    decoder = MaskDecoder(
        num_multimask_outputs=3, transformer_dim=256, iou_head_depth=3, iou_head_hidden_dim=256,
        transformer=TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
    )  # fmt: skip
    return Sam(encoder, prompts, decoder).eval()


@pytest.fixture
def vit_b_is_thin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build the thin SAM wherever ``vit_b`` is built."""
    monkeypatch.setitem(segment_anything.sam_model_registry, "vit_b", _thin_vit_b)


@pytest.fixture(scope="session")
def thin_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the thin SAM, saved as SAM's authors save theirs."""
    path = tmp_path_factory.mktemp("sam") / "thin.pth"
    torch.save(_thin_vit_b().state_dict(), path)
    return path


@pytest.fixture(scope="session")
def vit(thin_checkpoint: Path) -> SamModel:
    """The thin SAM, loaded as ``vit_b`` through the front door."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(segment_anything.sam_model_registry, "vit_b", _thin_vit_b)
        return load_sam("vit_b", device="cpu", checkpoint=thin_checkpoint)


@pytest.fixture(scope="session")
def blob() -> tuple[np.ndarray, np.ndarray]:
    """A non-square picture (150, 240) with one bright blob off its diagonal, and the blob."""
    rows, cols = np.indices((150, 240))
    truth = ((rows - 35) / 20) ** 2 + ((cols - 190) / 28) ** 2 < 1
    picture = np.random.default_rng(0).normal(80, 5, truth.shape) + 60 * truth
    return picture.astype(np.float32), truth
