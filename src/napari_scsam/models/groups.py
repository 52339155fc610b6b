"""Groups of similar slices by k-means on pooled features, without randomness."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.spatial.distance import cdist

if TYPE_CHECKING:
    from napari_scsam.core.arrays import DoubleArray, FloatArray, IndexArray

# Largest number of groups; below it, the square root of half of the slices (Mardia et al.,
# Multivariate Analysis, 1979). The limit is arbitrary.
MOST_GROUPS = 64
# Arbitrary; k-means has mostly converged by then.
ITERATIONS = 20
# Decimals to which distances and scores are compared. Scores are the same to 1e-4 however many
# threads and processes compute them, and the order is the same only if near ties are ties.
DECIMALS = 4


def group_count(slices: int) -> int:
    """Return the number of groups for a number of slices."""
    return int(np.clip(np.sqrt(slices / 2), 1, MOST_GROUPS))


def grouped(features: FloatArray, count: int) -> tuple[IndexArray, DoubleArray]:
    """Group feature vectors by k-means.

    Parameters
    ----------
    features : ndarray of shape (N, D)
        N > 0. The result depends on their order only through ties.
    count : int
        Number of groups at most.

    Returns
    -------
    groups : ndarray of shape (N,), int
        The group of each vector, from 0.
    distances : ndarray of shape (N,), float64
        Distance of each vector to the centre of its group.
    """
    data = unit_length(features)
    with warnings.catch_warnings():
        # An empty group, where there are fewer different vectors than groups.
        warnings.simplefilter("ignore", UserWarning)
        centres, groups = kmeans2(data, _first_centres(data, count), ITERATIONS, minit="matrix")
    return np.asarray(groups, np.intp), np.linalg.norm(data - centres[groups], axis=1)


def nearest_distances(features: FloatArray, known: FloatArray) -> DoubleArray:
    """Return the distance of each vector (N, D) to the nearest of the known ones (M, D), M > 0.

    Vectors are scaled to length 1, so that distances are 0..2.
    """
    distances: DoubleArray = cdist(unit_length(features), unit_length(known)).min(axis=1)
    return distances


def unit_length(features: FloatArray) -> DoubleArray:
    """Return vectors (N, D) scaled to length 1; those of zeros stay."""
    data: DoubleArray = np.asarray(features, np.float64)
    lengths = np.linalg.norm(data, axis=1, keepdims=True)
    scaled: DoubleArray = np.divide(data, lengths, out=np.zeros_like(data), where=lengths > 0)
    return scaled


def _first_centres(data: DoubleArray, count: int) -> DoubleArray:
    """Return vectors far from each other: the most central one, then always the farthest."""
    start = int(_apart(data, data.mean(axis=0)).argmin())
    chosen = [start]
    distance = _apart(data, data[start])
    while len(chosen) < count and distance.max() > 0:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, _apart(data, data[chosen[-1]]))
    return data[chosen]


def _apart(data: DoubleArray, centre: DoubleArray) -> DoubleArray:
    """Return the distance of each vector to one, rounded so that near ties are ties."""
    distances: DoubleArray = np.linalg.norm(data - centre, axis=1).round(DECIMALS)
    return distances
