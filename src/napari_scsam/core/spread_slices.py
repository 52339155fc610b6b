"""The slices of a volume that stand for all of it where measuring each would take too long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

# Slices of a volume that are measured, evenly spaced over those in question. Arbitrary.
MOST_SLICES = 16


def spread(planes: Sequence[int]) -> tuple[int, ...]:
    """Return at most `MOST_SLICES` slices, evenly spaced."""
    if len(planes) <= MOST_SLICES:
        return tuple(planes)
    at = np.linspace(0, len(planes) - 1, MOST_SLICES).round().astype(int)
    return tuple(planes[i] for i in at)
