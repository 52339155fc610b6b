"""SAM prompted by a segmentation map of the round: box, point and map of each component."""

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

# Components that are used as prompts: at least this share of the largest one, at least this many
# pixels, and the largest ones up to this number. Arbitrary.
MIN_SHARE, MIN_PIXELS, MAX_PARTS = 0.1, 20, 4


def largest_parts(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Return the components of a mask (rows, cols) that are used as prompts, largest first."""
    parts = connected_parts(mask, MIN_PIXELS + 1)[:MAX_PARTS]
    return [part for part in parts if part.sum() >= MIN_SHARE * parts[0].sum()]


def prompts_for(part: NDArray[np.bool_], odds: FloatArray) -> Prompts:
    """Return the prompts for one component: a loose box, its centre, and the map itself.

    Parameters
    ----------
    part : ndarray of shape (rows, cols), bool
        Not empty.
    odds : ndarray of shape (rows, cols), float32
        Log-odds of the class; other components are removed from the mask prompt.
    """
    shown = np.where(part | (odds <= 0), odds, -SURE).clip(-SURE, SURE).astype(np.float32)
    box = loosened(bounding_box(part), (part.shape[0], part.shape[1]))
    return Prompts(points=[deepest(part)], labels=[1], box=box, mask=shown)


def prompted_by(odds: FloatArray) -> list[Prompts]:
    """Return one set of prompts per component of a map (rows, cols) of log-odds."""
    return [prompts_for(part, odds) for part in largest_parts(odds > 0)]


def refined(
    sam: SamBackend, embedding: Embedding, odds: FloatArray, class_id: int
) -> FloatArray | None:
    """Return SAM's log-odds of a class, prompted by each component of a map and the class token.

    This is the prompting of SC-SAM (arXiv 2601.17934), with the map itself as mask prompt in
    addition to points. A round trains SAM on such prompts (`scsam_train.refinement`).

    Parameters
    ----------
    sam : SamBackend
        Has a token for the class.
    embedding : Embedding
    odds : ndarray of shape (rows, cols), float32
        Above 0 where the class was predicted (`outline.log_odds`).
    class_id : int

    Returns
    -------
    ndarray of shape (rows, cols), float32, or None
        None if no component is large enough.
    """
    found: FloatArray | None = None
    for prompts in prompted_by(odds):
        logits = sam.decode(embedding, prompts, class_id=class_id).logits
        found = logits if found is None else np.maximum(found, logits)
    return found
