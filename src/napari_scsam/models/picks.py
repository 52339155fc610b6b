"""Open slices, and the picks that a ranking strategy makes of them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.models.groups import DECIMALS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_scsam.core.arrays import FloatArray
    from napari_scsam.models.doubt import Doubt


@dataclass(frozen=True, eq=False)
class OpenSlice:
    """An open slice and what was measured on it.

    Attributes
    ----------
    image : str
        ID of the image.
    plane : int
        Slice number; 0 for a two-dimensional image.
    features : ndarray of shape (D,), float32, or None
        Pooled features of the pretrained encoder.
    doubts : mapping of int to Doubt
        By class id, for those that are seen on the slice; empty without a trained round.
    """

    image: str
    plane: int
    features: FloatArray | None = None
    doubts: Mapping[int, Doubt] = field(default_factory=dict)


@dataclass(frozen=True)
class Pick:
    """One image of the queue, with its slice most worth labelling.

    Attributes
    ----------
    image : str
    plane : int
    score : float or None
        Comparable within a strategy; None for random picks.
    reason : str
        For the person.
    strategy : str
        The strategy that made this pick: 'random' for the random checks of `hybrid`.
    """

    image: str
    plane: int
    score: float | None
    reason: str
    strategy: str


@dataclass(frozen=True, eq=False)
class Labelled:
    """What is labelled already.

    Attributes
    ----------
    images : int
        Number of images with a label.
    features : ndarray of shape (M, D), float32
        Of labelled slices.
    """

    images: int = 0
    features: FloatArray = field(default_factory=lambda: np.zeros((0, 0), np.float32))


def random_slices(slices: Sequence[OpenSlice], seed: int) -> list[OpenSlice]:
    """Return one random slice of each image, in random order."""
    by_image: dict[str, list[OpenSlice]] = defaultdict(list)
    for one in slices:
        by_image[one.image].append(one)
    images = sorted(by_image, key=lambda image: (uniform(seed, image), image))
    return [
        min(by_image[image], key=lambda one: uniform(seed, one.image, one.plane))
        for image in images
    ]


def best_of_each(picks: Iterable[Pick]) -> list[Pick]:
    """Return the best pick of each image, best first; ties by id, then by slice."""
    best: dict[str, Pick] = {}
    for pick in sorted(picks, key=rank):
        best.setdefault(pick.image, pick)
    return list(best.values())


def rank(pick: Pick) -> tuple[float, str, int]:
    """Return what picks are sorted by: best first, ties by id, then by slice."""
    return (-round(pick.score or 0.0, DECIMALS), pick.image, pick.plane)


def as_random(slices: Iterable[OpenSlice], reason: str, strategy: str = "random") -> list[Pick]:
    """Return random picks, which have no score."""
    return [Pick(one.image, one.plane, None, reason, strategy) for one in slices]


def stacked_features(slices: Sequence[OpenSlice]) -> FloatArray:
    """Return the features of the slices, (N, D)."""
    return np.stack([np.asarray(one.features, np.float32) for one in slices])


def uniform(*parts: object) -> float:
    """Return a number in (0, 1) that only depends on the arguments."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return (int.from_bytes(digest[:6], "big") + 0.5) / 2**48
