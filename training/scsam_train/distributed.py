"""The processes that train one round together, as ``accelerate launch`` starts them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterable


class World:
    """One process among equals, or the only one.

    Every process draws the same global batch and learns from its own part of it; gradients
    are summed. So the losses are those of one process with the same batch, but for rounding.
    """

    def __init__(self) -> None:
        self.size, self.rank = 1, 0
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from accelerate import PartialState  # type: ignore[import-untyped]

            self._state = PartialState(cpu=not torch.cuda.is_available())
            self.size, self.rank = self._state.num_processes, self._state.process_index

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and decides."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """Part of a global batch of `count` that this process learns from."""
        start, end = (count * at // self.size for at in (self.rank, self.rank + 1))
        return slice(start, end)

    def sum(self, value: Tensor) -> Tensor:
        """Sum over the processes, on each of them."""
        if self.size > 1:
            torch.distributed.all_reduce(value)
        return value

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum the gradients over the processes.

        What no process has a gradient of keeps none, as with one process: of zeros an optimiser
        would make steps out of momentum and weight decay.
        """
        if self.size == 1:
            return
        everyone = list(parameters)
        had = self.sum(self._told([float(p.grad is not None) for p in everyone]))
        for parameter in (p for p, count in zip(everyone, had, strict=True) if count):
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad)

    def agreed(self, value: float) -> float:
        """What the leading process has, on each of them."""
        if self.size == 1:
            return value
        shared = self._told([value])
        torch.distributed.broadcast(shared, 0)
        return float(shared)

    def _told(self, values: list[float]) -> Tensor:
        """Numbers for the others, on the device whose tensors the processes exchange."""
        return torch.tensor(values, dtype=torch.float64, device=self._state.device)
