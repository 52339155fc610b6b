"""The processes that train one round together, as started by ``accelerate launch``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterable


class World:
    """One of several equal processes, or the only one.

    All processes draw the same global batch and train on their own part of it; gradients are
    summed. So the losses equal those of one process with the same batch, up to rounding.
    """

    def __init__(self) -> None:
        self.size, self.rank = 1, 0
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from accelerate import PartialState  # type: ignore[import-untyped]

            self._state = PartialState(cpu=not torch.cuda.is_available())
            self.size, self.rank = self._state.num_processes, self._state.process_index

    @property
    def is_main(self) -> bool:
        """Whether this is the main process, which writes files and makes decisions."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """Return the part of a global batch of `count` that this process trains on."""
        start, end = (count * at // self.size for at in (self.rank, self.rank + 1))
        return slice(start, end)

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum over all processes."""
        if self.size > 1:
            torch.distributed.all_reduce(value)
        return value

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum the gradients over all processes.

        A parameter without a gradient in every process keeps none, as in single-process training.
        Zero gradients would make the optimiser apply momentum and weight decay.
        """
        if self.size == 1:
            return
        everything = list(parameters)
        holders = self.sum(self._tensor([float(p.grad is not None) for p in everything]))
        for parameter in (p for p, count in zip(everything, holders, strict=True) if count):
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad)

    def broadcast(self, value: float) -> float:
        """Return the value of the main process, in all processes."""
        if self.size == 1:
            return value
        shared = self._tensor([value])
        torch.distributed.broadcast(shared, 0)
        return float(shared)

    def _tensor(self, values: list[float]) -> Tensor:
        """Return a tensor on the device whose tensors the processes exchange."""
        return torch.tensor(values, dtype=torch.float64, device=self._state.device)
