"""A ViT for smaller pictures: its positions, its prompts, and what it is called."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from segment_anything.modeling import ImageEncoderViT

from napari_scsam import load_sam
from napari_scsam.core.errors import ModelError
from napari_scsam.core.prompts import Prompts
from napari_scsam.models.adapters import AdapterInfo, attach, save_adapter
from napari_scsam.models.base import build_network, load_base
from napari_scsam.models.resized_sam import resize_vit
from napari_scsam.models.sam import SamModel, SamWeights
from napari_scsam.models.zoo import ENTRIES, find_entry, sized

if TYPE_CHECKING:
    from pathlib import Path

    from napari_scsam.models.preprocess import Frame

IMAGE = np.random.default_rng(2).normal(size=(60, 90))
CPU = torch.device("cpu")


class FakeSam(torch.nn.Module):
    """An encoder of 8 x 8 tokens with blocks of windows and of the whole picture."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image_encoder = ImageEncoderViT(
            img_size=128, depth=2, embed_dim=16, num_heads=2, use_rel_pos=True, window_size=3,
            global_attn_indexes=(1,), norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        )  # fmt: skip
        self.prompt_encoder = torch.nn.Module()
        with torch.no_grad():
            for name, parameter in self.image_encoder.named_parameters():
                if "pos" in name:
                    parameter.normal_()


def test_relative_positions_are_those_that_sam_would_find_itself() -> None:
    small, by_sam = FakeSam(), FakeSam()
    resize_vit(small, 64)
    tokens = torch.randn((2, 4, 4, 16))
    with torch.no_grad():
        # SAM resamples the table in each pass where the grid does not fit it.
        expected = by_sam.image_encoder.blocks[1](tokens)
        torch.testing.assert_close(small.image_encoder.blocks[1](tokens), expected)
    assert small.image_encoder.blocks[1].attn.rel_pos_h.shape == (7, 8)


def test_absolute_positions_keep_their_layout() -> None:
    sam = FakeSam()
    table = torch.linspace(-1, 1, 8)[None, :, None, None].expand(1, 8, 8, 16)
    sam.image_encoder.pos_embed.data = table.clone()
    resize_vit(sam, 64)
    found = sam.image_encoder.pos_embed
    assert found.shape == (1, 4, 4, 16)
    rows = found[0, :, 0, 0]
    torch.testing.assert_close(found, rows[None, :, None, None].expand(1, 4, 4, 16))
    torch.testing.assert_close(rows, -rows.flip(0))
    assert (rows.diff() > 0.4).all()


@pytest.mark.parametrize(("size", "window"), [(256, 16), (512, 16), (768, 16), (320, 20), (64, 4)])
def test_windows_fill_the_picture(size: int, window: int) -> None:
    with torch.device("meta"):
        sam = build_network("vit_b")
    resize_vit(sam, size)
    encoder = sam.image_encoder
    assert {block.window_size for block in encoder.blocks} == {0, window}
    assert size // 16 % window == 0
    assert all(block.attn.use_rel_pos for block in encoder.blocks)
    with torch.device("meta"):
        assert encoder(torch.zeros(1, 3, size, size)).shape == (1, 256, size // 16, size // 16)


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_every_vit_can_be_made_smaller(name: str) -> None:
    entry = sized(find_entry(name), 512)
    with torch.device("meta"):
        sam = build_network(entry.architecture)
        resize_vit(sam, entry.input_size)
        prompts = sam.prompt_encoder
        dense = prompts(points=None, boxes=None, masks=torch.zeros(1, 1, 128, 128))[1]
    assert (entry.input_size, entry.embedding_size) == (512, 32)
    assert dense.shape == (1, 256, 32, 32) and prompts.input_image_size == (512, 512)
    assert prompts.mask_input_size == (128, 128)


def test_sizes_that_a_network_does_not_take_are_refused() -> None:
    for size in (100, 8, 2048):
        with pytest.raises(ModelError, match=f"multiple of 16 pixels, up to 1024; got {size}"):
            sized(find_entry("vit_b"), size)
    with pytest.raises(ModelError, match="sees 256 pixels, not 512"):
        load_base("lite-medsam", size=512)
    for entry in ENTRIES:
        assert sized(entry, None) is sized(entry, entry.input_size) is entry


@pytest.mark.usefixtures("vit_b_is_thin")
def test_a_smaller_sam_places_clicks_and_is_not_taken_for_the_large_one(
    thin_checkpoint: Path, vit: SamModel
) -> None:
    base = load_base("vit_b", thin_checkpoint, 128)
    small = SamModel(SamWeights.of(base, CPU))
    embedding = small.embed(IMAGE)
    assert embedding.features.shape == (1, 256, 8, 8)
    assert embedding.key != vit.embedding_key(IMAGE) and small.base_hash != vit.base_hash
    asked = Prompts([(10, 20)], [1], mask=np.zeros(IMAGE.shape, bool))
    assert small.decode(embedding, asked).mask.shape == IMAGE.shape
    # A point's code is nearest to that of its own token.
    prompts = small.module.prompt_encoder
    code = prompts._embed_points(*small._points(Prompts([(10, 20)], [1]), _frame(), CPU), pad=False)
    places = prompts.get_dense_pe()[0].flatten(1).T
    nearest = (code[0, 0] - prompts.point_embeddings[1].weight[0] - places).norm(dim=1).argmin()
    assert divmod(int(nearest), 8) == (0, 1)  # (14, 28) of 128 pixels


def _frame() -> Frame:
    from napari_scsam.models.preprocess import Frame

    return Frame(IMAGE.shape, 128)


@pytest.mark.usefixtures("vit_b_is_thin")
@pytest.mark.parametrize("profile", ["frozen-encoder", "adapted-encoder"])
def test_an_adapter_remembers_the_size(thin_checkpoint: Path, tmp_path: Path, profile: str) -> None:
    base = load_base("vit_b", thin_checkpoint, 128)
    info = AdapterInfo(base.base_hash, "vit_b", (1,), profile=profile, rank=2, sam_size=128)
    save_adapter(attach(base.module, info), tmp_path, info)
    sam = load_sam("vit_b", device="cpu", checkpoint=thin_checkpoint, adapter=tmp_path)
    assert sam.entry.input_size == 128
    assert sam.embed(IMAGE).features.shape == (1, 256, 8, 8)
    sam.decode(sam.embed(IMAGE), Prompts(), class_id=1)
