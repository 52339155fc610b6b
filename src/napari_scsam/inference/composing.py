"""Combines SAM's masks of several objects into one label plane."""

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
    """Combine the masks of several objects into one label plane.

    If masks overlap, the class with the higher log-odds gets the pixel.

    Parameters
    ----------
    decoded : mapping of (class id, object number) to Decoded
    shape : (rows, cols)
    draft : ndarray of shape (rows, cols), uint8, optional
        Label plane to keep for the classes that were not decoded.

    Returns
    -------
    ndarray of shape (rows, cols), uint8
        0 for background.
    """
    odds: dict[int, Logits] = {}
    for (class_id, _), answer in decoded.items():
        odds[class_id] = np.maximum(odds.get(class_id, -np.inf), answer.logits)
    left = None if draft is None else np.where(np.isin(draft, list(odds)), BACKGROUND, draft)
    return label_of(odds, shape, left)
