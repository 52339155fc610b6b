"""Normalisations of the U-Net: group normalisation and weight standardisation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# Avoids division by zero for a kernel of one value. Arbitrary.
EPSILON = 1e-4


class Standardised(nn.Module):
    """Standardises convolution weights to mean 0 and variance 1 / fan-in per output.

    Qiao et al., Micro-Batch Training with Batch-Channel Normalization and Weight
    Standardization (arXiv 1903.10520): it gives group normalisation an advantage of batch
    normalisation.
    """

    def forward(self, weight: Tensor) -> Tensor:
        """Return weights of shape (outputs, inputs, h, w)."""
        variance, mean = torch.var_mean(weight, (1, 2, 3), correction=0, keepdim=True)
        return (weight - mean) * torch.rsqrt(variance * weight[0].numel() + EPSILON)


class ChannelsLastNorm(nn.GroupNorm):
    """Group normalisation in the channels-last layout, the fastest for CPU convolutions.

    torch's backward pass takes up to 16 times as long in this layout, and converting the layout
    costs more than the normalisation itself (24 x 16 x 128 x 128, bfloat16, two threads: 57 ms
    forward and backward with conversions, 10 ms without).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return shape (N, C, h, w)."""
        if x.device.type != "cpu":
            return super().forward(x)
        normed: Tensor = _GroupNorm.apply(x, self.weight, self.bias, self.num_groups, self.eps)
        return normed


class _GroupNorm(torch.autograd.Function):
    """Group normalisation with an explicit gradient from sums over positions."""

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
        # x' = weight * inverse * slope + linear * x + constant, the latter two per group.
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
    """Convert (N, C, h, w) to (N, h, w, C)."""
    return x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)


def _over_places(values: Tensor, exact: torch.dtype) -> Tensor:
    """Sum values (N, h, w, C) to (N, C): rows in their own precision, then exactly.

    Summing at once would first convert a copy of all values.
    """
    return values.sum(2).sum(1, dtype=exact)


def _for_each_channel(values: Tensor, x: Tensor) -> Tensor:
    """Repeat one value per group, (N, groups), for each channel, (N, C)."""
    return values.repeat_interleave(x.shape[1] // values.shape[1], 1)


def _of_groups(values: Tensor, groups: int) -> Tensor:
    """Sum (N, C) over the channels of each group, repeated for each channel."""
    n, channels = values.shape
    return values.view(n, groups, -1).sum(2).repeat_interleave(channels // groups, 1)
