from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from napari_scsam.core.errors import InputError, ModelError
from napari_scsam.models.scratch_unet import build_network
from napari_scsam.models.unet import UNet, rounded_size

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def unet() -> UNet:
    torch.manual_seed(0)
    return UNet(build_network(3), (2, 5), 64)


def test_about_two_million_parameters_and_no_running_statistics(unet: Any) -> None:
    count = sum(p.numel() for p in unet.network.parameters())
    assert 1.5e6 < count < 2.5e6
    assert not list(unet.network.buffers())  # the moving average of parameters is all there is


@pytest.mark.parametrize("shape", [(40, 90), (90, 40), (30, 40, 3), (200, 130)])
def test_probabilities_come_on_the_planes_own_grid(unet: Any, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).random(shape)
    found = unet.probabilities(image)
    assert found.shape == (3, *shape[:2])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)


def test_an_off_diagonal_object_is_found_where_it_is() -> None:
    """A network that only passes brightness on must mark the bright block's own pixels."""

    class Brightness(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            grey = x.mean(1, keepdim=True)
            return torch.cat([0.5 - grey, grey - 0.5], 1) * 40

    image = np.zeros((60, 120))
    image[40:50, 10:30] = 1
    marked = UNet(Brightness(), (1,), 64).probabilities(image)[1] > 0.5
    overlap = 2 * (marked & (image > 0)).sum() / (marked.sum() + image.sum())
    assert overlap > 0.9


class Position(torch.nn.Module):
    """Sure of its class towards the top left, whatever it sees."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, cols = torch.meshgrid(
            *(torch.linspace(4, -4, side) for side in x.shape[-2:]), indexing="ij"
        )
        return torch.stack([torch.zeros_like(rows), rows + 2 * cols]).expand(len(x), -1, -1, -1)


@pytest.mark.parametrize(
    ("learned", "flips"),
    [
        ({}, [()]),
        ({"mirrored": True}, [(), (1,)]),
        ({"turned": True}, [(), (0, 1)]),
        ({"mirrored": True, "turned": True}, [(), (1,), (0, 1), (0,)]),
    ],
)
def test_it_is_asked_for_the_views_that_it_learned_from(
    learned: dict[str, bool], flips: list[tuple[int, ...]], tmp_path: Path
) -> None:
    image = np.random.default_rng(2).random((64, 64))
    plain = UNet(Position(), (1,), 64).probabilities(image)
    found = UNet(Position(), (1,), 64, **learned).probabilities(image)
    expected = np.mean([np.flip(plain[1], axes) for axes in flips], axis=0)
    np.testing.assert_allclose(found[1], expected, atol=1e-6)
    UNet(build_network(2), (1,), 64, **learned).save(tmp_path / "u.safetensors")
    again = UNet.load(tmp_path / "u.safetensors")
    assert {name for name in ("mirrored", "turned") if getattr(again, name)} == set(learned)


def test_constant_planes_are_refused(unet: Any) -> None:
    with pytest.raises(InputError, match="nothing to see"):
        unet.probabilities(np.ones((20, 20)))


def test_saved_and_loaded_answers_alike(unet: Any, tmp_path: Path) -> None:
    image = np.random.default_rng(1).random((50, 50))
    unet.save(tmp_path / "u.safetensors")
    again = UNet.load(tmp_path / "u.safetensors")
    assert again.class_ids == (2, 5)
    assert again.image_size == 64
    np.testing.assert_array_equal(again.probabilities(image), unet.probabilities(image))


def test_a_network_from_before_weights_were_standardised_is_still_read(tmp_path: Path) -> None:
    path, image = tmp_path / "u.safetensors", np.random.default_rng(0).random((70, 50))
    old = UNet(build_network(2, standardised=False), (1,), 64)
    old.save(path)
    with safe_open(path, framework="pt") as stream:
        assert json.loads(stream.metadata()["scsam"])["format"] == "napari-scsam-unet-1"
    again = UNet.load(path)
    np.testing.assert_array_equal(again.probabilities(image), old.probabilities(image))
    assert not any("parametrizations" in name for name in again.network.state_dict())


def test_standardised_weights_have_mean_zero_and_equal_length() -> None:
    network = build_network(2)
    raw = [part for name, part in network.named_parameters() if name.endswith("weight.original")]
    convs = [part for part in network.modules() if getattr(part, "kernel_size", 0) == (3, 3)]
    assert len(raw) == len(convs) == 18
    with torch.no_grad():
        raw[5].mul_(7).add_(2)
    for conv in convs:
        weight = conv.weight.flatten(1)
        torch.testing.assert_close(weight.mean(1), torch.zeros(len(weight)), atol=1e-5, rtol=0)
        torch.testing.assert_close(weight.norm(dim=1), torch.ones(len(weight)), atol=2e-3, rtol=0)


def test_files_that_are_no_unet_are_refused(unet: Any, tmp_path: Path) -> None:
    path = tmp_path / "u.safetensors"
    with pytest.raises(ModelError):
        UNet.load(path)
    path.write_bytes(b"\x00" * 100)
    with pytest.raises(ModelError, match="not a U-Net"):
        UNet.load(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match="not a U-Net"):
        UNet.load(path)
    about = {"format": "napari-scsam-unet-1", "class_ids": [1], "image_size": 64}
    about |= {"features": [16, 32, 64, 128, 256, 16], "preprocess": 999}
    save_file({"x": torch.zeros(1)}, path, metadata={"scsam": json.dumps(about)})
    with pytest.raises(ModelError, match="another preprocessing"):
        UNet.load(path)


def test_sizes_are_what_four_poolings_take() -> None:
    assert [rounded_size(v) for v in (32, 100, 160, 161, 250)] == [32, 96, 160, 160, 256]
