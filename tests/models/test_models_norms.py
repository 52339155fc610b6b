"""Group normalisation in the convolutions' layout against torch's own."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from monai.networks.nets.basic_unet import UpCat
from torch import nn
from torch.nn import functional

from napari_scsam.models.norms import ChannelsLastNorm
from napari_scsam.models.scratch_unet import build_network


def norms(dtype: Any, channels: int = 16, groups: int = 8) -> tuple[Any, Any]:
    torch.manual_seed(0)
    ours = ChannelsLastNorm(groups, channels).to(dtype)
    with torch.no_grad():
        ours.weight.uniform_(0.5, 1.5)
        ours.bias.normal_()
    theirs = nn.GroupNorm(groups, channels).to(dtype)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def gradients(norm: Any, x: torch.Tensor, slope: torch.Tensor) -> tuple[torch.Tensor, ...]:
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    out = norm(x)
    out.backward(slope)
    return out.detach(), x.grad, norm.weight.grad, norm.bias.grad


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(("channels", "groups"), [(16, 8), (24, 8), (8, 1)])
def test_answers_and_gradients_are_those_of_torch(
    layout: torch.memory_format, channels: int, groups: int
) -> None:
    ours, theirs = norms(torch.float64, channels, groups)
    x = (3 + 2 * torch.randn((3, channels, 6, 10), dtype=torch.float64)).contiguous(
        memory_format=layout
    )
    slope = torch.randn_like(x)
    for found, expected in zip(gradients(ours, x, slope), gradients(theirs, x, slope), strict=True):
        torch.testing.assert_close(found, expected)


def test_gradients_are_those_of_finite_differences() -> None:
    ours, _ = norms(torch.float64, 8, 4)
    x = torch.randn((2, 8, 3, 2), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ours, (x,))


def test_half_precision_is_as_near_to_the_truth_as_torchs() -> None:
    ours, theirs = norms(torch.float32)
    x, slope = torch.randn((2, 4, 16, 32, 32))
    true = gradients(copy.deepcopy(theirs), x, slope)
    last = {"memory_format": torch.channels_last}
    halves = x.bfloat16().contiguous(**last), slope.bfloat16().contiguous(**last)
    for norm in (ours, theirs):
        for found, expected in zip(gradients(norm, *halves), true, strict=True):
            error = (found.float() - expected).abs().max() / expected.abs().max()
            assert error < 0.02, norm


def test_the_u_net_has_no_other_and_pads_nothing() -> None:
    network = build_network(2, 1)
    kinds = {type(part) for part in network.modules() if isinstance(part, nn.GroupNorm)}
    assert kinds == {ChannelsLastNorm}
    assert not any(part.is_pad for part in network.modules() if isinstance(part, UpCat))


def test_a_u_net_learns_what_it_learned_with_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand((2, 3, 32, 64), generator=torch.Generator().manual_seed(1))
    target = (images.mean(1) > 0.5).long()
    found = {}
    for name in ("ours", "torch's"):
        if name == "torch's":
            monkeypatch.setattr(ChannelsLastNorm, "forward", nn.GroupNorm.forward)
        torch.manual_seed(0)
        network = build_network(2, 1)
        loss = functional.cross_entropy(network(images), target)
        loss.backward()
        found[name] = (loss.detach(), [p.grad for p in network.parameters()])
    torch.testing.assert_close(found["ours"], found["torch's"], rtol=1e-3, atol=1e-5)
