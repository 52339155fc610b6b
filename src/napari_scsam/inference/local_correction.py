"""A correction of an outline changes it where the click is, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_scsam.core.log_odds import SURE
from napari_scsam.core.prompts import pixels_of

if TYPE_CHECKING:
    from napari_scsam.core.arrays import FloatArray, Mask
    from napari_scsam.core.prompts import ObjectKey, PointPrompt, PromptSet
    from napari_scsam.models import Decoded

# Pixels that touch at a corner are connected.
_CONNECTED = np.ones((3, 3), bool)


def corrected_near(outline: FloatArray, answer: Decoded, click: PointPrompt) -> Decoded:
    """Restrict SAM's answer to the region that a click is about.

    An outline that does not come from SAM's own clicks (a suggestion, a draft, a committed label)
    is often right where the person did not click, while SAM, asked with it as mask prompt, may
    change all of it. Only the connected region of the change that contains the click is taken
    (progressive merge of Chen et al., FocalClick, CVPR 2022, section 3.3). If the answer does not
    change the click's own pixel as wanted, all of it is taken.

    Parameters
    ----------
    outline : ndarray of shape (rows, cols), float32
        Log-odds of the outline that is corrected.
    answer : Decoded
        SAM's answer to the outline and the click.
    click : PointPrompt
        The latest click of a person.

    Returns
    -------
    Decoded
    """
    before: Mask = outline > 0
    (row, col) = pixels_of([(click.row, click.col)], before.shape)[0]
    if bool(before[row, col]) == click.positive:
        # An outside click beside the outline is satisfied. An inside click in it asks for another.
        unchanged = replace(answer, mask=before, logits=outline)
        return answer if click.positive else unchanged
    changed = answer.mask & ~before if click.positive else before & ~answer.mask
    if not changed[row, col]:
        return answer
    regions, _ = ndimage.label(changed, structure=_CONNECTED)
    region: Mask = regions == regions[row, col]
    logits = np.where(region, answer.logits, outline).astype(np.float32)
    return replace(answer, mask=logits > 0, logits=logits)


def latest_click(prompts: PromptSet, key: ObjectKey) -> PointPrompt | None:
    """Return the latest point of a person, if the object has no box and no stroke."""
    drawn = key in prompts.boxes or any(s.object_key == key for s in prompts.strokes)
    mine = [p for p in prompts.points if p.object_key == key and p.origin == "person"]
    return None if drawn or not mine else mine[-1]


def log_odds_of(mask: Mask) -> FloatArray:
    """Return a mask as log-odds, float32."""
    return np.where(mask, SURE, -SURE).astype(np.float32)
