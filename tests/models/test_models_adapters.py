"""Adapters on the real LiteMedSAM and on a shallow SAM ViT (docs/explanation/adapting-sam.md)."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

from napari_scsam.core.errors import ModelError
from napari_scsam.models.adapters import (
    AdapterInfo,
    attach,
    class_tokens,
    encoder_hash,
    load_adapter,
    read_info,
    save_adapter,
    trainable_parameters,
)
from napari_scsam.models.base import build_network, load_base

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

METHODS = ["lora", "dora"]

BASE = "a" * 64


def shallow_vit() -> torch.nn.Module:
    torch.manual_seed(0)
    encoder = ImageEncoderViT(
        img_size=64,
        patch_size=16,
        embed_dim=48,
        depth=2,
        num_heads=3,
        out_chans=256,
        window_size=2,
        global_attn_indexes=(1,),
        use_rel_pos=True,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
    )
    return Sam(
        encoder,
        PromptEncoder(256, (4, 4), (64, 64), 16),
        MaskDecoder(
            transformer_dim=256,
            transformer=TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=256, num_heads=8),
        ),
    ).eval()


def lite_medsam() -> torch.nn.Module:
    return load_base("lite-medsam").module


def size_of(sam: Any) -> int:
    return sam.prompt_encoder.input_image_size[0]


def ask(sam: Any, *, encode: bool = True, mask: bool = False, tokens: Any = None) -> torch.Tensor:
    """Logits for one box and one point on a fixed picture, by SAM's own modules."""
    generator = torch.Generator().manual_seed(7)
    size = size_of(sam)
    picture = torch.rand((1, 3, size, size), generator=generator)
    side = sam.prompt_encoder.image_embedding_size[0]
    features = (
        sam.image_encoder(picture)
        if encode
        else torch.rand((1, 256, side, side), generator=generator)
    )
    sparse, dense = sam.prompt_encoder(
        points=(torch.tensor([[[20.0, 30.0]]]), torch.tensor([[1.0]])),
        boxes=torch.tensor([[5.0, 6.0, 50.0, 40.0]]),
        masks=torch.ones((1, 1, 4 * side, 4 * side)) if mask else None,
    )
    if tokens is not None:
        sparse = torch.cat([sparse, tokens], dim=1)
    return sam.mask_decoder(
        image_embeddings=features,
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )


def disturb(model: Any) -> None:
    """Move every trainable parameter, as a long training would."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in trainable_parameters(model).values():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("build", "profile"),
    [
        (lite_medsam, "frozen-encoder"),
        (shallow_vit, "frozen-encoder"),
        (shallow_vit, "adapted-encoder"),
    ],
)
def test_an_adapter_starts_as_the_base_and_comes_back_from_its_file(
    build: Callable[[], Any], profile: str, method: str, tmp_path: Path
) -> None:
    # LiteMedSAM's encoder takes seconds, and this profile does not touch it.
    answer = partial(ask, encode=build is shallow_vit)
    with torch.no_grad():
        before = answer(build())[0]
        info = AdapterInfo(BASE, "x", (3, 9), understands_points=True, profile=profile, rank=4)
        info = replace(info, method=method)
        model = attach(build(), info)
        assert torch.equal(answer(model)[0], before)
        disturb(model)
        changed = answer(model)[0]
        assert not torch.allclose(changed, before, atol=1e-2)
        save_adapter(model, tmp_path / "a", info)
        again, found = load_adapter(build(), tmp_path / "a", BASE)
        assert found == info
        assert torch.equal(answer(again)[0], changed)
        assert torch.equal(class_tokens(again, info, 9), class_tokens(model, info, 9))
        with again.disable_adapter():
            assert torch.equal(answer(again)[0], before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("profile", ["frozen-encoder", "adapted-encoder"])
def test_gradients_reach_what_is_listed_and_nothing_else(profile: str, method: str) -> None:
    info = AdapterInfo(BASE, "x", (1,), profile=profile, rank=2, method=method)
    model = attach(shallow_vit(), info)
    tokens = class_tokens(model, AdapterInfo(BASE, "x", (1,)), 1)
    logits, iou = ask(model, mask=True, tokens=tokens)
    (logits.mean() + iou.mean()).backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None}
    listed = set(trainable_parameters(model))
    assert reached <= listed
    # No prompt of this answer uses the code of a negative point or of an empty mask.
    unused = {name for name in listed - reached if "lora" not in name}
    assert all("point_embeddings.0" in n or "no_mask" in n or "not_a_point" in n for n in unused)
    assert not {name for name in listed - reached if "lora" in name}
    encoder = [name for name in listed if "image_encoder" in name]
    assert bool(encoder) == (profile == "adapted-encoder")
    assert not [name for name in listed if "patch_embed" in name or "neck" in name]


def vit_b() -> torch.nn.Module:
    with torch.device("meta"):
        return build_network("vit_b")


@pytest.mark.parametrize(
    ("build", "method", "blocks", "count"),
    [
        # Of rank 4 on the fused qkv and on proj; DoRA has a length for each row beside.
        (lite_medsam, "lora", 10, 44_544),
        (lite_medsam, "dora", 10, 44_544 + 4 * (2 * 128 + 6 * 160 + 2 * 320)),
        (vit_b, "lora", 12, 221_184),
        (vit_b, "dora", 12, 221_184 + 4 * 12 * 768),
    ],
)
def test_every_attention_block_is_adapted_and_no_convolution(
    build: Callable[[], Any], method: str, blocks: int, count: int
) -> None:
    info = AdapterInfo(BASE, "x", (1,), profile="adapted-encoder", rank=4, method=method)
    names = trainable_parameters(attach(build(), info))
    encoder = {n for n in names if "image_encoder" in n}
    assert sum("attn.qkv.lora_A" in n for n in encoder) == blocks
    assert sum("attn.proj.lora_A" in n for n in encoder) == blocks
    assert not [n for n in encoder if "conv" in n or "patch_embed" in n]
    assert sum(names[n].numel() for n in encoder) == count


@pytest.mark.parametrize("method", METHODS)
def test_an_adapter_leaves_the_bases_weights_and_is_of_full_precision(method: str) -> None:
    info = AdapterInfo(BASE, "x", (1,), profile="adapted-encoder", rank=2, method=method)
    model = attach(shallow_vit(), info)
    own = {name.replace(".base_layer", ""): p for name, p in model.named_parameters()}
    base = dict(shallow_vit().named_parameters())
    shared = [name for name in base if f"base_model.model.{name}" in own]
    assert "image_encoder.blocks.1.attn.qkv.weight" in shared
    for name in shared:
        assert torch.equal(own[f"base_model.model.{name}"], base[name]), name
    assert {p.dtype for p in trainable_parameters(model).values()} == {torch.float32}


@pytest.mark.parametrize("method", METHODS)
def test_merging_answers_the_same_and_leaves_sams_own_keys(method: str) -> None:
    info = AdapterInfo(BASE, "x", (1,), profile="adapted-encoder", rank=4, method=method)
    with torch.no_grad():
        before = ask(shallow_vit())[0]
        model = attach(shallow_vit(), info)
        disturb(model)
        unmerged = ask(model)[0]
        merged = model.merge_and_unload()
        difference = float((ask(merged)[0] - unmerged).abs().max())
        assert difference < 1e-4 < float((unmerged - before).abs().max())
    own = {name for name in merged.state_dict() if "class_tokens" not in name}
    assert own == set(shallow_vit().state_dict())


def test_the_encoders_hash_tells_trainings_apart() -> None:
    frozen = AdapterInfo(BASE, "x", (1,), rank=2)
    assert encoder_hash(attach(shallow_vit(), frozen)) == ""
    infos = [replace(frozen, profile="adapted-encoder", method=method) for method in METHODS]
    lora, dora = (attach(shallow_vit(), info) for info in infos)
    first = encoder_hash(lora)
    assert len(first) == 64 and first != encoder_hash(dora)
    assert first == encoder_hash(attach(shallow_vit(), infos[0]))
    lora.mask_decoder.iou_token.weight.data += 1
    assert encoder_hash(lora) == first
    disturb(lora)
    assert encoder_hash(lora) != first
    with lora.disable_adapter():
        assert encoder_hash(lora) == ""


def test_adapters_from_before_there_was_a_choice_are_lora(tmp_path: Path) -> None:
    info = AdapterInfo(BASE, "lite-medsam", (1,), rank=2)
    save_adapter(attach(shallow_vit(), info), tmp_path, info)
    about = json.loads((tmp_path / "scsam.json").read_text())
    del about["method"], about["sam_size"]
    (tmp_path / "scsam.json").write_text(json.dumps(about))
    assert read_info(tmp_path) == info
    assert load_adapter(shallow_vit(), tmp_path, BASE)[1].method == "lora"
    (tmp_path / "scsam.json").write_text(json.dumps({**about, "method": "magic"}))
    with pytest.raises(ModelError, match="'magic', which this version does not know"):
        read_info(tmp_path)


def test_training_leaves_batchnorm_statistics_alone() -> None:
    model = attach(lite_medsam(), AdapterInfo(BASE, "x", (1,), rank=2))
    before = {name: b.clone() for name, b in model.named_buffers() if "running" in name}
    assert len(before) == 54
    optimiser = torch.optim.AdamW(trainable_parameters(model).values(), lr=1e-3)
    ask(model)[0].mean().backward()
    optimiser.step()
    for name, buffer in model.named_buffers():
        if name in before:
            assert torch.equal(buffer, before[name]), name


def test_another_base_is_refused(tmp_path: Path) -> None:
    info = AdapterInfo(BASE, "lite-medsam", (1,), rank=2)
    save_adapter(attach(shallow_vit(), info), tmp_path, info)
    with pytest.raises(ModelError, match="trained on lite-medsam"):
        load_adapter(shallow_vit(), tmp_path, "b" * 64)


def test_damaged_adapters_are_refused(tmp_path: Path) -> None:
    info = AdapterInfo(BASE, "lite-medsam", (1,), rank=2)
    save_adapter(attach(shallow_vit(), info), tmp_path, info)
    weights = tmp_path / "adapter_model.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes(kept[: len(kept) // 2])
    with pytest.raises(ModelError, match="damaged"):
        load_adapter(shallow_vit(), tmp_path, BASE)
    weights.write_bytes(kept)
    about = json.loads((tmp_path / "scsam.json").read_text())
    (tmp_path / "scsam.json").write_text(json.dumps({**about, "preprocess": 99}))
    with pytest.raises(ModelError, match="another preprocessing"):
        load_adapter(shallow_vit(), tmp_path, BASE)
    (tmp_path / "scsam.json").write_text("[]")
    with pytest.raises(ModelError, match="not a SAM adapter"):
        load_adapter(shallow_vit(), tmp_path, BASE)


def test_unknown_classes_are_named() -> None:
    info = AdapterInfo(BASE, "x", (1, 4), rank=2)
    model = attach(shallow_vit(), info)
    with pytest.raises(ModelError, match=r"\[1, 4\], not 2"):
        class_tokens(model, info, 2)
    assert class_tokens(model, info, 4).shape == (1, 2, 256)
