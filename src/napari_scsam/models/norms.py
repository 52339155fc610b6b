"""Normalisations of the U-Net: of its activations in groups, and of its weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# So that a kernel of one value is not divided by nothing.
EPSILON = 1e-4


class Standardised(nn.Module):
    """Weights of a convolution with mean 0 and variance 1 / fan-in for each output.

    Qiao et al., Micro-Batch Training with Batch-Channel Normalization and Weight
    Standardization (arXiv 1903.10520): what group normalisation lacks to batch normalisation.
    """

    def forward(self, weight: Tensor) -> Tensor:
        """Of shape (outputs, inputs, h, w), as `weight`."""
        variance, mean = torch.var_mean(weight, (1, 2, 3), correction=0, keepdim=True)
        return (weight - mean) * torch.rsqrt(variance * weight[0].numel() + EPSILON)


class ChannelsLastNorm(nn.GroupNorm):
    """Group normalisation in the layout that a CPU's convolutions are fastest in.

    torch's own goes forward in it, but its backward pass takes up to 16 times as long, and
    changing the layout to and fro costs more than the normalisation (24 x 16 x 128 x 128,
    bfloat16, two threads: 57 ms forward and back with changes, 10 ms so).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Of shape (N, C, h, w), as `x`."""
        if x.device.type != "cpu":
            return super().forward(x)
        normed: Tensor = _GroupNorm.apply(x, self.weight, self.bias, self.num_groups, self.eps)
        return normed


class _GroupNorm(torch.autograd.Function):
    """Its gradients, as sums over places and products with one number for each channel."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, epsilon: float
    ) -> Tensor:
        n, channels, rows, cols = x.shape
        x = x.contiguous(memory_format=torch.channels_last)
        normed, mean, inverse = torch.native_group_norm(
            x, weight, bias, n, channels, rows * cols, groups, epsilon
        )
        ctx.save_for_backward(x, weight, mean, inverse)
        ctx.groups = groups
        return normed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse = ctx.saved_tensors
        exact = weight.dtype
        mean, inverse = (_for_each_channel(part.to(exact), x) for part in (mean, inverse))
        slope, seen = _places(gradients[0]), _places(x)
        total, product = _over_places(slope, exact), _over_places(slope * seen, exact)
        # x' = weight * inverse * slope + linear * x + constant, the latter two of each group.
        linear = _of_groups(weight * total, ctx.groups) * mean
        linear = (linear - _of_groups(weight * product, ctx.groups)) * inverse**3
        linear = linear * ctx.groups / x[0].numel()
        constant = _of_groups(weight * total, ctx.groups) * inverse * ctx.groups / x[0].numel()
        constant = -linear * mean - constant
        scale, linear, constant = (
            part[:, None, None].to(x.dtype) for part in (weight * inverse, linear, constant)
        )
        found = torch.addcmul(constant, seen, linear).addcmul_(slope, scale)
        of_x = found.permute(0, 3, 1, 2)
        of_weight = ((product - mean * total) * inverse).sum(0)
        return of_x, of_weight, total.sum(0), None, None


def _places(x: Tensor) -> Tensor:
    """(N, C, h, w) as (N, h, w, C)."""
    return x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)


def _over_places(values: Tensor, exact: torch.dtype) -> Tensor:
    """Sums (N, C) of values (N, h, w, C): of each row in their own precision, then exactly.

    At once it would first copy them all in the exact one.
    """
    return values.sum(2).sum(1, dtype=exact)


def _for_each_channel(values: Tensor, x: Tensor) -> Tensor:
    """One number for each group, (N, groups), as one for each channel (N, C)."""
    return values.repeat_interleave(x.shape[1] // values.shape[1], 1)


def _of_groups(values: Tensor, groups: int) -> Tensor:
    """Sums (N, C) over the channels of each group, for each of its channels."""
    n, channels = values.shape
    return values.view(n, groups, -1).sum(2).repeat_interleave(channels // groups, 1)
