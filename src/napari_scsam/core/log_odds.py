"""Log-odds of classes: their limit, and the label plane that follows from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_scsam.core.arrays import LabelArray, Logits

# Limit of log-odds, and the value for a binary mask: a probability of 0.9997. Arbitrary.
SURE = 8.0


def label_of(
    logits: Mapping[int, Logits], shape: tuple[int, ...], kept: LabelArray | None = None
) -> LabelArray:
    """Return a label plane: each pixel gets the class with the highest log-odds above 0.

    Parameters
    ----------
    logits : mapping of int to ndarray of shape (rows, cols), float
        Log-odds of each class; above 0 inside.
    shape : (rows, cols)
    kept : ndarray of shape (rows, cols), uint8, optional
        Label plane to keep where no class is inside; default: background.
    """
    label = np.zeros(shape, np.uint8) if kept is None else kept.astype(np.uint8)
    best = np.zeros(shape, np.float32)
    for class_id, odds in sorted(logits.items()):
        inside = odds > best
        label[inside] = class_id
        best[inside] = odds[inside]
    return label
