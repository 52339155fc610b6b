"""Parallel work on a CPU: one thread per picture is faster than all threads on one picture."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

T = TypeVar("T")
R = TypeVar("R")


class Pool:
    """A pool of threads, each limited to one torch thread.

    On 2 cores, embedding two pictures takes 0.86 s in this way and 1.24 s sequentially.

    Attributes
    ----------
    workers : int
    """

    def __init__(self, workers: int, executor: ThreadPoolExecutor | None) -> None:
        self.workers, self._executor = workers, executor

    def map(self, function: Callable[[Any], R], items: Iterable[Any]) -> Iterator[R]:
        """Yield the results in the order of `items`."""
        return (
            map(function, items) if self._executor is None else self._executor.map(function, items)
        )


@contextmanager
def side_by_side(device: torch.device) -> Iterator[Pool]:
    """Yield a pool with one worker per torch thread on a CPU, else the calling thread alone."""
    workers = torch.get_num_threads() if device.type == "cpu" else 1
    if workers == 1:
        yield Pool(1, None)
        return
    # torch keeps its number of threads per calling thread.
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as executor:
        yield Pool(workers, executor)


def in_parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield slices of at most `size` items."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
