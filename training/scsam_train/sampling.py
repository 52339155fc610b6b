"""Which labelled planes a step learns from: rare classes and small cases are not left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

# Share of the draws that ask for a plane that holds a class, each class as often.
BY_CLASS = 0.5


class BalancedSampler:
    """Draws planes: half of them hold a class drawn first; then the case, then the plane.

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
        """Indices of `count` planes, perhaps some of them twice."""
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
