"""Sampling of labelled planes, balanced by class and case."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

# Share of the draws that require a plane with a given class, all classes equally often. Arbitrary.
BY_CLASS = 0.5


class BalancedSampler:
    """Draws planes: for half of them a class first, then a case, then a plane.

    Parameters
    ----------
    labels : Tensor of shape (L, s, s), uint8
    cases : sequence of str, length L
    classes : int
        K.
    """

    def __init__(self, labels: Tensor, cases: Sequence[str], classes: int) -> None:
        holds = [
            (labels == position).flatten(1).any(1).numpy() for position in range(1, classes + 1)
        ]
        everything = np.arange(len(labels))
        self._all = _by_case(everything, cases)
        self._holding = [_by_case(everything[held], cases) for held in holds if held.any()]

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the indices of `count` planes, drawn with replacement."""
        return np.array([self._one(rng) for _ in range(count)], np.int64)

    def _one(self, rng: np.random.Generator) -> int:
        groups = self._all
        if self._holding and rng.random() < BY_CLASS:
            groups = self._holding[int(rng.integers(len(self._holding)))]
        planes = groups[int(rng.integers(len(groups)))]
        return int(planes[int(rng.integers(len(planes)))])


def _by_case(indices: NDArray[np.int64], cases: Sequence[str]) -> list[NDArray[np.int64]]:
    found: dict[str, list[int]] = {}
    for index in indices.tolist():
        found.setdefault(cases[index], []).append(index)
    return [np.array(planes) for planes in found.values()]
