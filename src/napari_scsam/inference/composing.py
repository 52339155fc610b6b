"""One label plane out of what a SAM answered for several objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.core.labels import BACKGROUND
from napari_scsam.core.log_odds import label_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_scsam.core.arrays import LabelArray, Logits
    from napari_scsam.core.prompts import ObjectKey
    from napari_scsam.models import Decoded


def compose(
    decoded: Mapping[ObjectKey, Decoded], shape: tuple[int, int], draft: LabelArray | None = None
) -> LabelArray:
    """One label plane out of the masks of several objects.

    Where masks overlap, the class with the higher log-odds has the pixel.

    Parameters
    ----------
    decoded : mapping of (class id, object number) to Decoded
    shape : (rows, cols)
    draft : ndarray of shape (rows, cols), uint8, optional
        What stays of the classes that nothing was asked about.

    Returns
    -------
    ndarray of shape (rows, cols), uint8
        0 where no class is inside.
    """
    odds: dict[int, Logits] = {}
    for (class_id, _), answer in decoded.items():
        odds[class_id] = np.maximum(odds.get(class_id, -np.inf), answer.logits)
    left = None if draft is None else np.where(np.isin(draft, list(odds)), BACKGROUND, draft)
    return label_of(odds, shape, left)
