"""Muon on kernels: the library's own step, seen through matrices that share their memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_scsam.models.scratch_unet import build_network
from scsam_train.optimisers import MUON_RATE, KernelMuon, unet_optimisers


def kernel_and_gradient(layout: torch.memory_format) -> tuple[nn.Parameter, torch.Tensor]:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.randn(16, 8, 3, 3).to(memory_format=layout))
    return kernel, torch.randn(16, 8, 3, 3)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("layout_of_gradient", [torch.contiguous_format, torch.channels_last])
def test_a_kernel_is_changed_as_its_matrix_would_be(
    layout: torch.memory_format, layout_of_gradient: torch.memory_format
) -> None:
    kernel, gradient = kernel_and_gradient(layout)
    matrix = nn.Parameter(kernel.detach().clone().flatten(1))
    ours, theirs = KernelMuon([kernel]), torch.optim.Muon([matrix], weight_decay=0.0)
    memory, strides = kernel.data_ptr(), kernel.stride()
    for _ in range(3):
        kernel.grad = gradient.to(memory_format=layout_of_gradient)
        matrix.grad = gradient.flatten(1)
        ours.step()
        theirs.step()
    # The order of the columns is another one, so the last bits of bfloat16 are, too.
    torch.testing.assert_close(kernel.detach().flatten(1), matrix.detach(), atol=1e-4, rtol=0)
    assert (kernel - kernel_and_gradient(layout)[0]).abs().max() > 1e-4
    assert (kernel.data_ptr(), kernel.stride()) == (memory, strides)


def test_a_kernel_without_a_gradient_stays_and_one_with_new_memory_is_found() -> None:
    kernel, gradient = kernel_and_gradient(torch.channels_last)
    optimiser = KernelMuon([kernel])
    optimiser.step()
    before = kernel.detach().clone()
    torch.testing.assert_close(kernel, kernel_and_gradient(torch.channels_last)[0])
    # As when the network is moved to another device and back.
    kernel.data = kernel.detach().clone()
    kernel.grad = gradient
    optimiser.step()
    assert not torch.equal(kernel, before)


def test_first_and_last_convolution_and_all_that_is_no_kernel_are_adamws() -> None:
    network = build_network(3, fold=1)
    named = dict(network.named_parameters())
    rates = unet_optimisers(network, 0.002)
    muon, adamw = rates
    assert list(rates.values()) == [pytest.approx(0.002 * MUON_RATE), 0.002]
    kernels = {n for n, p in named.items() if p.ndim == 4}
    left = {id(p) for p in adamw.param_groups[0]["params"]}
    by_adamw = {name for name, p in named.items() if id(p) in left}
    (first,) = (n for n in kernels if "conv_0.conv_0" in n and "unet.conv_0" in n)
    (last,) = (n for n in kernels if "final_conv" in n)
    assert by_adamw & kernels == {first, last}
    assert by_adamw >= set(named) - kernels
    assert len(muon.param_groups[0]["params"]) == len(kernels) - 2
