"""Removes small islands of a label and fills small holes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from napari_scsam.core.arrays import LabelArray, Mask

# Pixels of islands and holes, at most. Arbitrary: about 5 x 5.
SMALL = 25


def cleaned(label: LabelArray, small: int = SMALL) -> LabelArray:
    """Remove small islands of each class, and fill small holes in it.

    The largest part of a class is never removed, and a hole that contains another class is not
    filled.

    Parameters
    ----------
    label : ndarray of shape (rows, cols), uint8
    small : int
        Greatest number of pixels of an island or a hole.

    Returns
    -------
    ndarray of shape (rows, cols), uint8
    """
    result = label.copy()
    for class_id in np.unique(label[label > 0]).tolist():
        result[_islands(label == class_id, small)] = 0
    for class_id in np.unique(result[result > 0]).tolist():
        result[_holes(result, class_id, small)] = class_id
    return result


def _islands(mask: Mask, small: int) -> Mask:
    parts, _ = ndimage.label(mask)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    removed = (sizes <= small) & (np.arange(len(sizes)) != sizes.argmax())
    removed[0] = False
    islands: Mask = removed[parts]
    return islands


def _holes(label: LabelArray, class_id: int, small: int) -> Mask:
    mask = label == class_id
    parts, count = ndimage.label(ndimage.binary_fill_holes(mask) & ~mask)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    others = np.bincount(parts.ravel(), label.ravel() > 0, minlength=count + 1)
    filled = (sizes <= small) & (others == 0)
    filled[0] = False
    holes: Mask = filled[parts]
    return holes
