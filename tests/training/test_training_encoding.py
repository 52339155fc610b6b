"""The two cost profiles: kept embeddings, and an image encoder that learns in every step."""

from __future__ import annotations

import io
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from thin import thin_base
from toy import run, toy_context, weights_of

from napari_scsam.core.prompts import Prompts
from napari_scsam.core.settings import TrainSettings
from napari_scsam.models import open_cache
from napari_scsam.models.adapters import AdapterInfo, attach, trainable_parameters
from napari_scsam.models.base import load_base
from napari_scsam.models.preprocess import prepare
from napari_scsam.models.sam import SamModel, SamWeights
from scsam_train import encoding
from scsam_train.augment import Augmenter
from scsam_train.data import TrainPlane
from scsam_train.embedded_views import Embedder, build_canvases
from scsam_train.encoding import as_base, choose_profile, encoding_of
from scsam_train.recipes import RECIPES

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")
ADAPTED = "adapted-encoder"
METHODS = ["lora", "dora"]
STEPS = 8


def adapted_sam(base: Any, method: str = "lora") -> Any:
    info = AdapterInfo(base.base_hash, base.entry.name, (1,), True, ADAPTED, 2, method=method)
    module = attach(base.module, info)
    sam = SamModel(SamWeights.of(replace(base, module=module), CPU), info)
    disturb(sam)
    sam.follow_encoder()
    return sam


def disturb(sam: Any) -> None:
    """Move the image encoder's adapter, as a training would."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in trainable_parameters(sam.module).items():
            if "image_encoder" in name:
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize(
    ("wanted", "device", "trains_sam", "profile", "why"),
    [
        ("auto", "cpu", True, "frozen-encoder", "this is a CPU"),
        ("auto", "cuda", True, ADAPTED, r"a GPU for it \(cuda\)"),
        ("auto", "mps", True, ADAPTED, r"a GPU for it \(mps\)"),
        ("auto", "cuda", False, "frozen-encoder", "does not train SAM"),
        (ADAPTED, "cpu", True, ADAPTED, "settings ask"),
        (ADAPTED, "cuda", False, "frozen-encoder", "does not train SAM"),
        ("frozen-encoder", "cuda", True, "frozen-encoder", "settings ask"),
    ],
)
def test_the_profile_is_the_devices_unless_it_is_asked_for(
    wanted: Any, device: str, trains_sam: bool, profile: str, why: str
) -> None:
    found, reason = choose_profile(wanted, device, trains_sam=trains_sam)
    assert found == profile
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(reason)
    assert ("trained, too" in reason) == (profile == ADAPTED)


@pytest.mark.parametrize("method", METHODS)
def test_gradients_under_checkpointing_reach_every_adapter_and_are_the_plain_ones(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sam = adapted_sam(thin_base(), method)
    encode = encoding_of(sam, TrainSettings())
    pixels = torch.randn((2, 3, 64, 64), generator=torch.Generator().manual_seed(1))
    found = []
    for checkpointed in (encoding._checkpointed, lambda encoder: nullcontext()):
        monkeypatch.setattr(encoding, "_checkpointed", checkpointed)
        sam.module.zero_grad()
        encode(pixels).sin().sum().backward()
        found.append({n: p.grad for n, p in sam.module.named_parameters() if p.grad is not None})
    ours, plain = found
    listed = {name for name in trainable_parameters(sam.module) if "image_encoder" in name}
    assert set(ours) == set(plain) == listed and len(listed) == {"lora": 8, "dora": 12}[method]
    for name, gradient in ours.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(gradient, plain[name], rtol=1e-3, atol=1e-5)


def test_checkpointing_keeps_less_for_the_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scsam_train.precision.has_bfloat16", lambda device: False)
    sam = adapted_sam(thin_base())
    sam.module.image_encoder.neck = torch.nn.Identity()  # it is no block
    encode, pixels = encoding_of(sam, TrainSettings()), torch.randn((4, 3, 64, 64))
    kept = []
    for checkpointed in (encoding._checkpointed, lambda encoder: nullcontext()):
        monkeypatch.setattr(encoding, "_checkpointed", checkpointed)
        tensors = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, seen=tensors: seen.append(tensor) or tensor, lambda tensor: tensor
        ):
            encode(pixels)
        kept.append(sum(t.numel() for t in tensors if not isinstance(t, torch.nn.Parameter)))
    assert kept[0] < 0.2 * kept[1]


def test_a_step_of_litemedsam_leaves_its_statistics_and_the_copy_follows() -> None:
    """The pitfalls of docs/explanation/adapting-sam.md on the real TinyViT."""
    sam = adapted_sam(load_base("lite-medsam"))
    encode = encoding_of(sam, TrainSettings())
    picture = np.random.default_rng(0).random((40, 50))
    before = {n: b.clone() for n, b in sam.module.named_buffers()}
    parameters = trainable_parameters(sam.module)
    optimiser = torch.optim.AdamW(parameters.values(), lr=1e-2)
    features = encode(prepare(picture, 256, "unit").pixels[None].half())
    features.sin().mean().backward()
    assert features.dtype == torch.float32
    listed = {n: p for n, p in parameters.items() if "image_encoder" in n}
    assert len(listed) == 40
    for name, parameter in listed.items():
        assert parameter.grad is not None and parameter.dtype == torch.float32, name
    stale, old = sam.embed(picture), sam.embedding_key(picture)
    optimiser.step()
    for name, buffer in sam.module.named_buffers():
        assert torch.equal(buffer, before[name]), name
    assert not sam.module.training
    sam.follow_encoder()
    with torch.no_grad():
        now = sam.module.image_encoder(prepare(picture, 256, "unit").pixels[None])
    found = sam.embed(picture)
    assert (found.features - now).norm() < 0.03 * now.norm()
    assert (stale.features - now).norm() > 0.05 * now.norm()
    assert old != found.key == sam.embedding_key(picture)


@pytest.mark.parametrize("method", METHODS)
def test_an_adapted_sam_can_answer_as_its_base(method: str) -> None:
    base = thin_base()
    bare = SamModel(SamWeights.of(base, CPU))
    picture, click = np.random.default_rng(0).random((40, 50)), Prompts([(10, 20)], [1])
    embedding = bare.embed(picture)
    logits = bare.decode(embedding, click).logits
    sam = adapted_sam(thin_base(), method)
    own = sam.embed(picture)
    assert not torch.allclose(own.features, embedding.features, atol=1e-3)
    with as_base(sam) as as_shipped:
        found = as_shipped.embed(picture)
        assert found.key == embedding.key and torch.equal(found.features, embedding.features)
        assert as_shipped.decode(found, click).logits == pytest.approx(logits, abs=1e-5)
        assert sam.embedding_key(picture) == own.key
    assert sam.embed(picture).key == own.key
    assert torch.equal(sam.embed(picture).features, own.features)


@pytest.mark.parametrize("normalisation", ["sam", "unit"])
def test_a_view_moves_the_label_with_the_picture(normalisation: str) -> None:
    """A bright block stays under its label, and what comes in from outside is padding."""
    sam = adapted_sam(thin_base(64, normalisation))
    encode = encoding_of(sam, TrainSettings())
    picture = np.broadcast_to(np.linspace(0.2, 0.4, 64), (48, 64)).copy()
    picture[10:30, 34:58] = 0.9
    kept = prepare(picture, 64, normalisation).pixels[None].half()
    target = torch.zeros((16, 16), dtype=torch.uint8)
    target[3:7, 9:14] = 1
    target[12:] = 255
    views = [encode.weak(kept, target, np.random.default_rng(i)) for i in range(8)]
    for pixels, label in views:
        assert pixels.shape == kept.shape and pixels.dtype == kept.dtype
        assert label.shape == target.shape and set(label.unique().tolist()) <= {0, 1, 255}
        grey = pixels[0, 0].float().unfold(0, 4, 4).unfold(1, 4, 4).mean((2, 3))
        assert grey[label == 1].mean() > grey[label == 0].mean() + 0.2
        outside = (pixels[0] == 0).all(0)[2::4, 2::4]
        assert outside[label == 255].float().mean() > 0.8
    assert not torch.equal(views[0][1], views[1][1])
    again = encode.weak(kept, target, np.random.default_rng(1))
    assert all(torch.equal(a, b) for a, b in zip(views[1], again, strict=True))
    strong = encode.strong(kept, target, np.random.default_rng(1))
    assert torch.equal(strong[1], views[1][1]) and not torch.equal(strong[0], views[1][0])


def test_kept_embeddings_are_taken_as_they_are_and_hidden_in_part() -> None:
    context = toy_context()
    encode = encoding_of(context.sam, context.settings)
    kept, target = torch.randn((1, 256, 8, 8)).half(), torch.ones((32, 32), dtype=torch.uint8)
    assert torch.equal(encode(kept), kept.float())
    weak, strong = (
        view(kept, target, np.random.default_rng(0)) for view in (encode.weak, encode.strong)
    )
    assert weak[0] is kept and weak[1] is strong[1] is target
    hidden = (strong[0] == 0).flatten(2).all(2).float().mean()
    assert 0.02 < hidden < 0.25


def test_pictures_are_kept_for_the_steps_and_nothing_is_embedded(tmp_path: Path) -> None:
    sam = adapted_sam(thin_base())
    pixels = np.random.default_rng(0).random((30, 40)).astype(np.float32)
    label = (pixels > 0.5).astype(np.uint8)
    planes = [TrainPlane("a", "a", 0, pixels, label), TrainPlane("b", "b", 0, pixels.T, label.T)]
    materials = build_canvases(planes[:1], planes[1:], (1,), 32, CPU)
    cache = open_cache(tmp_path / "cache")
    embedder = Embedder(sam, cache, (1,), 16, Augmenter(TrainSettings(), 1))
    embedder.fill(materials, planes[:1], planes[1:], lambda done, total: None)
    assert len(materials.views[0]) == 1 and len(materials.unlabelled_features) == 1
    kept = materials.views[0][0].features
    assert torch.equal(kept, prepare(pixels, 64, "sam").pixels[None].half())
    assert not (tmp_path / "cache").exists()


SAM_RECIPES = [name for name in sorted(RECIPES) if "sam" in RECIPES[name].members]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SAM_RECIPES)
def test_a_recipe_trains_the_encoders_adapter_and_goes_on_where_it_was_stopped(
    name: str, method: str
) -> None:
    kits = [
        toy_context(recipe=name, profile=ADAPTED, adapter=method, steps=STEPS) for _ in range(2)
    ]
    before = weights_of(kits[0])
    whole = RECIPES[name](kits[0])
    run(whole, 0, 5, STEPS)
    stream = io.BytesIO()
    torch.save(whole.state(), stream)
    rest = run(whole, 5, STEPS, STEPS)
    whole.finish()
    after = weights_of(kits[0])
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    encoder = {key for key in changed if "image_encoder" in key}
    assert len([key for key in encoder if "lora_B" in key]) == 4
    assert all("lora_" in key for key in encoder)
    stream.seek(0)
    resumed = RECIPES[name](kits[1])
    resumed.restore(torch.load(stream, weights_only=True))
    assert run(resumed, 5, STEPS, STEPS) == rest
    resumed.finish()
    kept = weights_of(kits[1])
    assert all(torch.equal(kept[key], value) for key, value in after.items())


def test_sam_learns_with_its_encoder() -> None:
    context = toy_context(recipe="sam-only", profile=ADAPTED, steps=24, mirror=False)
    reports = run(RECIPES["sam-only"](context), 0, 24, 24)
    losses = [report.loss_sam for report in reports]
    assert np.mean(losses[-6:]) < 0.6 * np.mean(losses[:6])
