"""Simulated prompts on a known mask, as a person or the U-Net would give them to SAM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_scsam.core.prompts import bounding_box, deepest, loosened

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_scsam.core.arrays import Mask

Click = tuple[float, float, int]

# Negative clicks fall into a ring at this distance from the object, in px. Arbitrary.
RING = (3, 20)
# Maximum shift of each side of a box, as a share of its length. Arbitrary.
MAX_JITTER = 0.05


def first_clicks(mask: Mask, count: int, rng: np.random.Generator) -> list[Click]:
    """Draw `count` clicks on a mask: one inside, the others inside or just outside.

    Parameters
    ----------
    mask : ndarray of shape (s, s), bool
        Not empty.
    count : int
        At least 1.
    rng : numpy.random.Generator

    Returns
    -------
    list of (row, col, label)
    """
    inside = np.argwhere(mask)
    start = deepest(mask) if rng.random() < 0.5 else _pick(inside, rng)
    clicks: list[Click] = [(*start, 1)]
    distance = ndimage.distance_transform_edt(~mask)
    ring = np.argwhere((distance >= RING[0]) & (distance <= RING[1]))
    for _ in range(count - 1):
        outside = len(ring) > 0 and rng.random() < 0.5
        clicks.append((*_pick(ring if outside else inside, rng), int(not outside)))
    return clicks


def next_click(guess: Mask, truth: Mask, valid: Mask) -> Click | None:
    """Return a click in the centre of the largest error; None if there is no error.

    Parameters
    ----------
    guess, truth, valid : ndarray of shape (s, s), bool
        `valid` is False for unannotated pixels.
    """
    parts, count = ndimage.label((guess != truth) & valid)
    if not count:
        return None
    largest = parts == int(np.bincount(parts.ravel())[1:].argmax()) + 1
    row, col = deepest(largest)
    return row, col, int(truth[int(row), int(col)])


def jittered_box(mask: Mask, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw a box (row0, col0, row1, col1) around a mask, as people and U-Nets give it.

    It lies between the bounding box, which a person draws, and the `loosened` one, with which
    SAM is prompted for the parts of a map; then each side is moved by at most 5 % of its length.
    """
    tight = bounding_box(mask)
    box = np.array(tight, dtype=np.float64)
    air = np.array(loosened(tight, (mask.shape[0], mask.shape[1]))) - box
    height, width = box[2] - box[0] + 1, box[3] - box[1] + 1
    sides = np.array([height, width, height, width])
    moved = box + rng.random() * air + rng.uniform(-MAX_JITTER, MAX_JITTER, 4) * sides
    limit = np.array([*mask.shape, *mask.shape]) - 1
    inside: NDArray[np.float32] = np.clip(moved, 0, limit).astype(np.float32)
    return inside


def _pick(candidates: NDArray[Any], rng: np.random.Generator) -> tuple[float, float]:
    row, col = candidates[int(rng.integers(len(candidates)))]
    return float(row), float(col)
