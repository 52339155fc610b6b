"""The pretrained encoder: the published network's own features; and the U-Net over it."""

from __future__ import annotations

import hashlib
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_scsam.core.errors import ModelError
from napari_scsam.models import Embedding, pretrained
from napari_scsam.models.checkpoint import read_state_dict
from napari_scsam.models.class_prior import NO_PRIOR, ClassPrior
from napari_scsam.models.pretrained import build_encoder, fold_batch_norm, named_as_timm
from napari_scsam.models.pretrained_unet import PretrainedUNet
from napari_scsam.models.unet import UNet, new_network, sam_channels, twin_network

if TYPE_CHECKING:
    from pathlib import Path

# Channels of a made-up embedding, and classes.
DEPTH, CLASSES = 6, (2, 5)


@pytest.fixture(scope="module")
def published() -> torch.nn.Module:
    """The network that the weights were published with, by its own package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from efficientnet_lite_pytorch import EfficientNet

        network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(torch.load(pretrained.weights_file(), weights_only=True))
    return network.eval()


@pytest.mark.parametrize("side", [64, 96, 224])
def test_features_are_those_of_the_published_network(published: Any, side: int) -> None:
    from efficientnet_lite_pytorch import EfficientNet

    # It pads for one size only, which it is told beforehand.
    own = EfficientNet.from_name("efficientnet-lite0", image_size=side)
    own.load_state_dict(published.state_dict())
    own.eval()
    picture = torch.rand((2, 3, side, side), generator=torch.Generator().manual_seed(0))
    x = (picture - pretrained.MEAN) / pretrained.STD
    expected, wanted = [], {0: 0, 2: 1, 4: 2, 10: 3, 15: 4}
    with torch.no_grad():
        seen = own._swish(own._bn0(own._conv_stem(x)))
        for at, block in enumerate(own._blocks):
            seen = block(seen)
            if at in wanted:
                expected.append(seen)
        found = build_encoder().eval()(x)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)
    assert [f.shape[-1] for f in found] == [side // 2 ** (n + 1) for n in range(5)]


def test_every_weight_has_its_name_and_none_is_left_over() -> None:
    state = read_state_dict(pretrained.weights_file())
    named = named_as_timm(state)
    assert set(named) == set(build_encoder(pretrained=False).state_dict())
    left = {name for name in state if name.split(".")[0] in {"_conv_head", "_bn1", "_fc"}}
    assert len(named) + len(left) == len(state)
    with pytest.raises(ModelError, match=r"_blocks\.16\._bn1\.weight"):
        named_as_timm({"_blocks.16._bn1.weight": torch.zeros(1)})


def test_a_missing_package_and_a_changed_file_are_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"napari-scsam\[models\].*--unet scratch"):
        build_encoder()
    assert build_encoder(pretrained=False)  # a round's own file needs no package
    (tmp_path / "models").mkdir()
    file = tmp_path / pretrained.FILE
    file.write_bytes(b"other")
    spec = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr(pretrained, "find_spec", lambda name: spec)
    found = hashlib.sha256(b"other").hexdigest()[:12]
    with pytest.raises(ModelError, match=f"SHA-256 is {found}"):
        build_encoder()


@pytest.mark.parametrize("channels", [1, 3, 12])
def test_any_number_of_channels_answers_as_three_equal_ones_do(channels: int) -> None:
    grey = torch.rand((1, 1, 64, 64), generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        expected = build_encoder().eval()(grey.repeat(1, 3, 1, 1))
        found = build_encoder(channels).eval()(grey.repeat(1, channels, 1, 1))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


def test_statistics_stay_and_folding_them_changes_nothing() -> None:
    network = PretrainedUNet(3, sam_channels=8).train()
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms and not any(norm.training for norm in norms)
    before = [norm.running_mean.clone() for norm in norms]
    pictures, seen = torch.rand((2, 3, 64, 64)), torch.randn((2, 8, 16, 16))
    network(pictures, seen).sum().backward()
    for norm, mean in zip(norms, before, strict=True):
        assert torch.equal(norm.running_mean, mean) and norm.weight.grad is not None
    with torch.no_grad():
        expected = network(pictures, seen)
        fold_batch_norm(network.encoder)
        torch.testing.assert_close(network(pictures, seen), expected, rtol=1e-3, atol=1e-3)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())


def test_a_picture_without_sam_is_answered_by_its_pixels() -> None:
    network = PretrainedUNet(2, sam_channels=4).eval()
    pictures, seen = torch.rand((2, 3, 64, 64)), torch.randn((2, 4, 64, 64))
    seen[1] = 0
    with torch.no_grad():
        alone, joined = network(pictures), network(pictures, seen)
    torch.testing.assert_close(joined[1], alone[1])
    assert (joined[0] - alone[0]).abs().max() > 1e-2


def unet_that_sees_sam(prior: Any = None) -> UNet:
    network = new_network("pretrained+sam", 1 + len(CLASSES), 64, DEPTH + len(CLASSES))
    return UNet(network.eval(), CLASSES, 64, prior=prior, mirrored=True)


def prior_of_class_5() -> ClassPrior:
    weight = torch.randn((DEPTH, 2), generator=torch.Generator().manual_seed(2))
    return ClassPrior((0, 5), weight, torch.tensor([0.5, -0.5]))


def embedding_of(shape: tuple[int, ...] = (50, 64)) -> Embedding:
    features = torch.randn((1, DEPTH, 16, 16), generator=torch.Generator().manual_seed(3))
    return Embedding(features, shape, np.zeros(shape, np.float32), "k")


@pytest.mark.parametrize("prior", [NO_PRIOR, prior_of_class_5()])
def test_saved_and_read_again_it_answers_alike_with_and_without_sam(
    tmp_path: Path, prior: Any
) -> None:
    unet, told = unet_that_sees_sam(prior), embedding_of()
    image = np.random.default_rng(0).random((50, 64))
    unet.save(tmp_path / "u.safetensors")
    for trainable in (False, True):
        again = UNet.load(tmp_path / "u.safetensors", trainable=trainable)
        assert again.kind == "pretrained+sam" and again.sees_sam
        for seen in (None, told):
            expected = unet.probabilities(image, embedding=seen)
            np.testing.assert_allclose(
                again.probabilities(image, embedding=seen), expected, rtol=1e-3, atol=1e-4
            )
    assert np.abs(expected - unet.probabilities(image)).max() > 1e-3


def test_log_odds_join_at_the_embeddings_own_grid_and_unknown_classes_are_silent() -> None:
    prior, told = prior_of_class_5(), embedding_of()
    joined = sam_channels(told.features, prior, CLASSES)
    assert joined.shape == (1, DEPTH + 2, 16, 16)
    assert torch.equal(joined[:, :DEPTH], told.features)
    assert not joined[:, DEPTH].any()  # class 2, of which the prior knows nothing
    weight, bias = prior.tensors()["weight"], prior.tensors()["bias"]
    scores = torch.tensordot(told.features[0], weight, dims=([0], [0])) + bias
    expected = (scores[..., 1] - scores[..., 0]).clamp(-8, 8) / 4
    torch.testing.assert_close(joined[0, DEPTH + 1], expected)


def test_a_twin_is_of_the_same_kind_with_other_random_weights() -> None:
    for kind in ("scratch", "pretrained", "pretrained+sam"):
        network = new_network(kind, 2, 64, 5)
        twin = twin_network(network)
        pairs = list(zip(network.named_parameters(), twin.parameters(), strict=True))
        assert all(p.shape == q.shape for (_, p), q in pairs)
        assert any(not torch.equal(p, q) for (_, p), q in pairs)
        same = [torch.equal(p, q) for (name, p), q in pairs if name.startswith("encoder.")]
        assert all(same)


@pytest.mark.parametrize(
    ("weight", "bias"), [((3, 3), (2,)), ((3, 2), (2, 1)), ((3, 2), (2, 4)), ((3, 2), ())]
)
def test_a_damaged_prior_is_said(
    weight: tuple[int, ...], bias: tuple[int, ...], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="sizes do not fit"):
        ClassPrior.of_tensors(
            {
                "class_ids": torch.tensor([0, 1]),
                "weight": torch.zeros(weight),
                "bias": torch.zeros(bias),
            },
            tmp_path / "prior.safetensors",
        )
