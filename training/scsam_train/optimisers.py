"""Optimisers of the U-Net: Muon for its kernels, AdamW for the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Ratio of Muon's learning rate to AdamW's.
MUON_RATE = 10.0
# Ratio of the learning rate of a pretrained encoder to that of new layers, from an experiment
# (docs/results/probes.md).
ENCODER_RATE = 0.15


class KernelMuon(Muon):
    """Muon for convolutions: each kernel is treated as a matrix (outputs, all else).

    Muon (Jordan et al., 2024, kellerjordan.github.io/posts/muon) makes the momentum of a
    weight matrix nearly orthogonal, so that all its directions are learned at the same speed.

    Parameters
    ----------
    kernels : iterable of nn.Parameter of shape (outputs, inputs, h, w)
    """

    def __init__(self, kernels: Iterable[nn.Parameter]) -> None:
        self._kernels = list(kernels)
        matrices = [nn.Parameter(_as_matrix(kernel.detach())) for kernel in self._kernels]
        super().__init__(matrices, weight_decay=0.0)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the kernels."""
        matrices = self.param_groups[0]["params"]
        for kernel, matrix in zip(self._kernels, matrices, strict=True):
            # Rebind: a network that moved to another device has new storage.
            matrix.data = _as_matrix(kernel.detach())
            if kernel.grad is not None:
                matrix.grad = _as_matrix(torch.empty_like(kernel).copy_(kernel.grad))
        result = super().step(closure)  # type: ignore[no-untyped-call]
        self.zero_grad(set_to_none=True)
        return result


def unet_optimisers(network: nn.Module, rate: float) -> dict[Optimizer, float]:
    """Return the optimisers of a U-Net's parameters and their learning rates.

    Muon updates all kernels except those of the first and last convolution, which work on pixels
    and classes instead of features, and those of a pretrained encoder, which AdamW updates slowly.
    """
    encoder = getattr(network, "encoder", None)
    known = [] if encoder is None else list(encoder.parameters())
    if known:
        ids = {id(parameter) for parameter in known}
        rest = [parameter for parameter in network.parameters() if id(parameter) not in ids]
        return {AdamW(known): ENCODER_RATE * rate, **_from_scratch(rest, rate)}
    return _from_scratch(list(network.parameters()), rate)


def _from_scratch(parameters: list[nn.Parameter], rate: float) -> dict[Optimizer, float]:
    kernels = [parameter for parameter in parameters if parameter.ndim == 4][1:-1]
    known = {id(kernel) for kernel in kernels}
    rest = [parameter for parameter in parameters if id(parameter) not in known]
    return {KernelMuon(kernels): MUON_RATE * rate, AdamW(rest): rate}


def _as_matrix(kernel: Tensor) -> Tensor:
    """Return a matrix view; Muon does not depend on the order of the columns."""
    in_order = kernel if kernel.is_contiguous() else kernel.permute(0, 2, 3, 1)
    return in_order.view(len(kernel), -1)
