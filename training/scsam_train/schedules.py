"""Schedules of learning rates, pseudo-label weights and input sizes, and the moving average."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_scsam.core.round_contract import GROWN, SIDE_MULTIPLE, SMALLEST_SIDE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Fraction of a round with a rising learning rate, and the lowest factor of the rate. Arbitrary.
WARM_UP, FLOOR = 0.05, 0.02


def learning_rate(fraction: float) -> float:
    """Return the learning rate factor at `fraction` of the round: linear warm-up, then cosine."""
    if fraction < WARM_UP:
        return max(FLOOR, fraction / WARM_UP)
    rest = (fraction - WARM_UP) / (1 - WARM_UP)
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * min(rest, 1.0)))


def ramp(fraction: float, end: float = 0.4) -> float:
    """Return the weight of pseudo-labels: ``exp(-5 (1 - t / end)^2)``, and 1 from `end` on.

    Laine and Aila, Temporal Ensembling (ICLR 2017), section 3.
    """
    return math.exp(-5 * (1 - min(fraction / end, 1.0)) ** 2)


def balance_power(fraction: float) -> float:
    """Return the exponent of the class weights: 0.5 for half of the round, then falling to 0.

    Without class weights a ventricle of 0.5 % of the pixels is not found in 100 steps (Dice 0
    instead of 0.63 on MNI152); with them it is segmented too large.
    """
    return 0.5 * min(1.0, 2 * (1 - fraction))


def side_at(fraction: float, size: int) -> int:
    """Return the side of the U-Net's input at `fraction` of the round; `size` is the final side."""
    half = size // 2
    small = half >= SMALLEST_SIDE and half % SIDE_MULTIPLE == 0
    return half if small and fraction < GROWN else size


def pictures_at(fraction: float, count: int, size: int) -> int:
    """Return the batch size at `fraction` of the round, for `count` pictures of the full side.

    Batches of half the side are twice as large: the fixed cost of a step weighs more the smaller
    the pictures are.
    """
    return 2 * count if side_at(fraction, size) < size else count


def shrunk(images: Tensor, side: int) -> Tensor:
    """Downscale images or probabilities (N, C, s, s) to (N, C, side, side) by averaging."""
    if images.shape[-1] == side:
        return images
    return functional.adaptive_avg_pool2d(images, side)


def shrunk_labels(labels: Tensor, side: int) -> Tensor:
    """Downscale label maps (N, s, s) to (N, side, side), nearest neighbour."""
    step = labels.shape[-1] // side
    return labels[:, step // 2 :: step, step // 2 :: step]


class MovingAverage:
    """Exponential moving average of parameters: the teacher (Tarvainen and Valpola, 2017).

    The decay starts low, ``min(decay, (1 + t) / (10 + t))``, so that the average soon forgets
    the random initial weights.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float = 0.99) -> None:
        self._live = dict(parameters)
        self._average = {name: p.detach().clone() for name, p in self._live.items()}
        self._decay = decay
        self._steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Update the average with the current parameters."""
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        self._steps += 1
        for name, parameter in self._live.items():
            self._average[name].lerp_(parameter, 1 - decay)

    def state(self) -> dict[str, Any]:
        """Return the average and its number of updates."""
        return {"average": dict(self._average), "steps": self._steps}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        """Resume from a saved `state`."""
        for name, kept in self._average.items():
            kept.copy_(state["average"][name])
        self._steps = int(state["steps"])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Swap the average into the network inside the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def copy_to_network(self) -> None:
        """Copy the average into the network for good."""
        for name, parameter in self._live.items():
            parameter.copy_(self._average[name])

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self._live.items():
            kept = parameter.detach().clone()
            parameter.copy_(self._average[name])
            self._average[name] = kept
