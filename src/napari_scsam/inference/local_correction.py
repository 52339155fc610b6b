"""A click corrects an outline where it is, and nowhere else."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_scsam import models
from napari_scsam.core.log_odds import SURE
from napari_scsam.core.prompts import pixels_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_scsam.core.arrays import FloatArray, Mask
    from napari_scsam.core.prompts import ObjectKey, PointPrompt, PromptSet
    from napari_scsam.models import Decoded

# How far a click reaches, in its distances from the border of the outline. Chosen among 2, 3, 4 and
# no limit on four left atria, eight hearts and 25 polyps (docs/explanation/outlines.md).
REACH = 2.0
# Pixels; the first window in which the border is looked for. Arbitrary.
_FIRST_REACH = 64
# Pixels that touch at a corner are connected.
_CONNECTED = np.ones((3, 3), bool)


def corrected_near(outline: FloatArray, answer: Decoded, click: PointPrompt) -> Decoded:
    """Restrict SAM's answer to what a click says about an outline.

    An outline that does not come from clicks alone (a suggestion, a draft, a committed label, the
    mask of a box) is often right where the person did not click, while SAM, asked with it as mask
    prompt, may change all of it. Only the connected region of the change that contains the click
    is taken (progressive merge of Chen et al., FocalClick, CVPR 2022, section 3.3), and no more of
    it than `REACH` allows: the middle of a mistake is as far from the outline's border as the
    mistake is large. If the answer does not change the click's own pixel, a disc that reaches the
    border is changed. A click on a pixel that is right changes nothing.

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
        With the expected IoU of this outline.
    """
    before: Mask = outline > 0
    row, col = (int(value) for value in pixels_of([(click.row, click.col)], before.shape)[0])
    if before[row, col] == click.positive:
        return _with_outline(answer, outline)
    if before.all() or not before.any():
        return answer
    logits = outline.copy()
    wrong = ~before if click.positive else before
    depth = _depth(wrong, row, col)
    part = _around(row, col, REACH * depth)
    distance = _distance(before.shape, part, row, col)
    changed = (wrong & (answer.mask == click.positive))[part] & (distance <= REACH * depth)
    regions, _ = ndimage.label(changed, structure=_CONNECTED)
    of_click = regions[row - part[0].start, col - part[1].start]
    if of_click:
        np.copyto(logits[part], answer.logits[part], where=regions == of_click)
    else:
        logits[part][distance <= depth] = SURE if click.positive else -SURE
    return _with_outline(answer, logits)


def with_part(answer: Decoded, part: Mask) -> Decoded:
    """Return an answer with a part of an outline that it is not about."""
    if not part.any():
        return answer
    return _with_outline(answer, np.where(part, np.float32(SURE), answer.logits))


def _with_outline(answer: Decoded, logits: FloatArray) -> Decoded:
    """Return an answer with another outline, and how sure that is: SAM's IoU is of its own mask."""
    mask = logits > 0
    # What was drawn or committed is certain, however many pixels the plane has.
    certain = np.where(np.abs(logits) >= SURE, np.copysign(np.inf, logits), logits)
    return replace(answer, mask=mask, logits=logits, iou=models.expected_iou(certain, mask))


def _depth(wrong: Mask, row: int, col: int) -> float:
    """Distance from a pixel of a mask to the nearest one outside of it, of which there is one."""
    reach = _FIRST_REACH
    while True:
        # Windows, since a plane may be large and its mistakes are small.
        part = _around(row, col, reach)
        right = _distance(wrong.shape, part, row, col)[~wrong[part]]
        if right.size and right.min() <= reach:
            return float(right.min())
        reach *= 2


def _distance(
    shape: tuple[int, ...], part: tuple[slice, slice], row: int, col: int
) -> NDArray[np.float64]:
    """Distance of the pixels in a part of a plane from one of its pixels."""
    rows, cols = np.ogrid[: shape[0], : shape[1]]
    found: NDArray[np.float64] = np.hypot(rows[part[0]] - row, cols[:, part[1]] - col)
    return found


def _around(row: int, col: int, reach: float) -> tuple[slice, slice]:
    """Slices of rows and columns that contain a disc."""
    size = math.ceil(reach)
    return (
        slice(max(0, row - size), row + size + 1),
        slice(max(0, col - size), col + size + 1),
    )


def latest_click(prompts: PromptSet, key: ObjectKey) -> PointPrompt | None:
    """Return the latest point of a person in an object; None without one."""
    mine = [p for p in prompts.points if p.object_key == key and p.origin == "person"]
    return mine[-1] if mine else None


def log_odds_of(mask: Mask) -> FloatArray:
    """Return a mask as log-odds, float32."""
    return np.where(mask, SURE, -SURE).astype(np.float32)
