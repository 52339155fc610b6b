"""SAM prompted by a map of the round's own: a box, a point and the outline of each part of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.core.log_odds import SURE
from napari_scsam.core.prompts import Prompts, bounding_box, deepest, loosened
from napari_scsam.models.outline import connected_parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_scsam.core.arrays import FloatArray
    from napari_scsam.models.protocols import Embedding, SamBackend

# Parts that are asked about: of at least this share of the largest one, and of more pixels than
# this; the largest ones. Arbitrary.
LEAST_SHARE, LEAST_PIXELS, MOST_PARTS = 0.1, 20, 4


def largest_parts(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """The parts of a mask (rows, cols) that are worth asking about, the largest first."""
    parts = connected_parts(mask, LEAST_PIXELS + 1)[:MOST_PARTS]
    return [part for part in parts if part.sum() >= LEAST_SHARE * parts[0].sum()]


def prompts_for(part: NDArray[np.bool_], odds: FloatArray) -> Prompts:
    """What SAM is shown of one part of a map: a loose box, its middle, and the map itself.

    Parameters
    ----------
    part : ndarray of shape (rows, cols), bool
        Not empty.
    odds : ndarray of shape (rows, cols), float32
        Log-odds of the class; other parts of it are left out of the mask prompt.
    """
    shown = np.where(part | (odds <= 0), odds, -SURE).clip(-SURE, SURE).astype(np.float32)
    box = loosened(bounding_box(part), (part.shape[0], part.shape[1]))
    return Prompts(points=[deepest(part)], labels=[1], box=box, mask=shown)


def prompted_by(odds: FloatArray) -> list[Prompts]:
    """The prompts that a map (rows, cols) of log-odds gives, one set for each part of it."""
    return [prompts_for(part, odds) for part in largest_parts(odds > 0)]


def refined(
    sam: SamBackend, embedding: Embedding, odds: FloatArray, class_id: int
) -> FloatArray | None:
    """SAM's log-odds of a class, prompted by each part of a map and by the class's token.

    This is SC-SAM's prompting (arXiv 2601.17934), with the map itself beside points in it; a
    round trains SAM on such prompts (`scsam_train.refinement`).

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
    for prompts in prompted_by(odds):
        logits = sam.decode(embedding, prompts, class_id=class_id).logits
        found = logits if found is None else np.maximum(found, logits)
    return found
