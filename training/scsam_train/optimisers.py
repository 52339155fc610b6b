"""What the U-Net descends with: Muon for its kernels, AdamW for the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Muon's learning rate to AdamW's.
MUON_RATE = 10.0
# A pretrained encoder's to that of what starts from nothing, as in a probe
# (docs/results/probes.md).
ENCODER_RATE = 0.15


class KernelMuon(Muon):
    """Muon for convolutions: each kernel as a matrix (outputs, all else).

    Muon (Jordan et al., 2024, kellerjordan.github.io/posts/muon) makes the momentum of a
    weight matrix nearly orthogonal, so that all its directions are learned at one speed.

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
        """Change the kernels by their gradients."""
        matrices = self.param_groups[0]["params"]
        for kernel, matrix in zip(self._kernels, matrices, strict=True):
            # Anew, since a network that moves to another device has other memory.
            matrix.data = _as_matrix(kernel.detach())
            if kernel.grad is not None:
                matrix.grad = _as_matrix(torch.empty_like(kernel).copy_(kernel.grad))
        result = super().step(closure)  # type: ignore[no-untyped-call]
        self.zero_grad(set_to_none=True)
        return result


def unet_optimisers(network: nn.Module, rate: float) -> dict[Optimizer, float]:
    """Optimisers of a U-Net's parameters, from its first to its last, and their learning rates.

    Muon has all kernels but those of the first and of the last convolution, which see pixels
    and classes and not features, and those of a pretrained encoder, which AdamW changes slowly.
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
    """A view; in which order "all else" comes makes no difference to Muon."""
    in_order = kernel if kernel.is_contiguous() else kernel.permute(0, 2, 3, 1)
    return in_order.view(len(kernel), -1)
