"""Rings: a box around a structure that encloses another class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari_scsam.core.arrays import Mask
    from napari_scsam.core.prompts import Box

# An answer is the enclosed class if more than this share of it is on that class. Arbitrary.
MOST_OF_IT = 0.5


def ring_around(box: Box, answer: Mask, protected: Mask) -> Mask | None:
    """The ellipse in a box, if the model outlined what the boxed structure encloses.

    A box around the wall of a heart makes SAM outline the cavity within the wall. If the cavity is
    protected, nothing would be left of that answer. The ellipse without the cavity is the wall.

    Parameters
    ----------
    box : (row0, col0, row1, col1)
    answer : ndarray of shape (rows, cols), bool
        The model's mask of the boxed structure.
    protected : ndarray of shape (rows, cols), bool
        Pixels of other classes that may not be replaced.

    Returns
    -------
    ndarray of shape (rows, cols), bool, or None
        Without the protected pixels; None if the answer is to be used.
    """
    r0, c0, r1, c1 = box
    rows, cols = np.ogrid[: answer.shape[0], : answer.shape[1]]
    inside = (rows >= r0) & (rows <= r1) & (cols >= c0) & (cols <= c1)
    edge = inside & ~((rows >= r0 + 1) & (rows <= r1 - 1) & (cols >= c0 + 1) & (cols <= c1 - 1))
    outlined = answer & inside
    lost = int((outlined & protected).sum())
    if lost <= MOST_OF_IT * int(outlined.sum()) or (outlined & protected & edge).any():
        return None
    # Half a pixel more: a box goes through the centres of its outermost pixels.
    height, width = (r1 - r0) / 2 + 0.5, (c1 - c0) / 2 + 0.5
    distance = ((rows - (r0 + r1) / 2) / height) ** 2 + ((cols - (c0 + c1) / 2) / width) ** 2
    ellipse: Mask = (distance <= 1) & ~protected
    return ellipse
