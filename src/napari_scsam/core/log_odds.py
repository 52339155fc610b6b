"""Log-odds of being inside: how far they count, and the label plane that they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_scsam.core.arrays import LabelArray, Logits

# Log-odds beyond this say no more, and it is what a mask of yes and no stands for: a probability of
# 0.9997. Arbitrary.
SURE = 8.0


def label_of(
    logits: Mapping[int, Logits], shape: tuple[int, ...], kept: LabelArray | None = None
) -> LabelArray:
    """One label plane: where several classes are inside, the one with the highest log-odds.

    Parameters
    ----------
    logits : mapping of int to ndarray of shape (rows, cols), float
        Of each class; it is inside where they are above 0.
    shape : (rows, cols)
    kept : ndarray of shape (rows, cols), uint8, optional
        What stays where no class is inside; background by default.
    """
    label = np.zeros(shape, np.uint8) if kept is None else kept.astype(np.uint8)
    best = np.zeros(shape, np.float32)
    for class_id, odds in sorted(logits.items()):
        inside = odds > best
        label[inside] = class_id
        best[inside] = odds[inside]
    return label
