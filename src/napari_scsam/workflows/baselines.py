"""Two baselines without training, for comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_scsam.core.arrays import LabelArray

# How far the structure may extend beyond the labelled slices, in slices. Arbitrary.
REACH = 5


def copy_nearest_slice(known: Mapping[int, LabelArray], count: int) -> LabelArray:
    """Label each slice like the nearest labelled one.

    Parameters
    ----------
    known : mapping of int to ndarray of shape (rows, cols), uint8
        Labelled slices by number.
    count : int
        Number of slices of the volume.

    Returns
    -------
    ndarray of shape (count, rows, cols), uint8
    """
    numbers = np.array(sorted(known))
    nearest = np.abs(np.arange(count)[:, None] - numbers).argmin(axis=1)
    return np.stack([known[int(numbers[i])] for i in nearest])


def threshold_baseline(image: NDArray[Any], known: Mapping[int, LabelArray]) -> LabelArray:
    """Threshold a scan with the values that fit the labelled slices best.

    Class 1 is everything that is not black. Class 2 is its dark part inside the bounding box of
    class 2 on the labelled slices. This favours the baseline, since without the box every dark
    groove would count.

    Parameters
    ----------
    image : ndarray of shape (slices, rows, cols)
        The scan.
    known : mapping of int to ndarray of shape (rows, cols), uint8
        Labelled slices by number, with the classes 1 and 2.

    Returns
    -------
    ndarray of the image's shape, uint8
    """
    numbers = sorted(known)
    labels = np.stack([known[index] for index in numbers])
    box = _box_of(labels == 2, numbers, image.shape)
    head = image > 0
    candidate = head[numbers] & box[numbers]
    values = np.unique(image[numbers][candidate])
    scores = [_dice(candidate & (image[numbers] < v), labels == 2) for v in values]
    label: LabelArray = head.astype(np.uint8)
    label[head & box & (image < values[int(np.argmax(scores))])] = 2
    return label


def _box_of(
    mask: NDArray[np.bool_], numbers: list[int], shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    with_class = [n for n, plane in zip(numbers, mask, strict=True) if plane.any()]
    outline: NDArray[np.bool_] = np.any(mask, axis=0)
    rows, cols = np.flatnonzero(np.any(outline, axis=1)), np.flatnonzero(np.any(outline, axis=0))
    box = np.zeros(shape, bool)
    first, last = max(0, with_class[0] - REACH), with_class[-1] + REACH + 1
    box[first:last, rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] = True
    return box


def _dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(2 * (a & b).sum() / max(1, a.sum() + b.sum()))
