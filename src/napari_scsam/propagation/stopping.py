"""When a propagation flags a class, and when it stops propagating it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_scsam.propagation.walk import iou

if TYPE_CHECKING:
    from napari_scsam.core.arrays import Logits, Mask
    from napari_scsam.propagation.settings import StopRule

DRIFTED = "outline drifted to another structure"


@dataclass(frozen=True, eq=False)
class Found:
    """A class on the new plane: log-odds, SAM's predicted IoU, IoU with U-Net and with motion."""

    logits: Logits
    estimate: float
    agreement: float | None = None
    drift: float | None = None


def judge(before: Mask, found: Found, areas: tuple[int, ...], rule: StopRule) -> tuple[str, bool]:
    """Judge a class's new mask.

    Parameters
    ----------
    before : ndarray of shape (rows, cols), bool
        Its mask on the previous plane.
    found : Found
    areas : tuple of int
        Numbers of pixels on the last planes, the latest last.
    rule : StopRule

    Returns
    -------
    reason : str
        Why it is flagged, in words for the annotator; empty if it is not.
    stops : bool
        Whether the class stops here.
    """
    mask = found.logits > 0
    area = int(mask.sum())
    if area < rule.min_pixels:
        return "no outline found", True
    ratio = _jump(area, areas, rule.trend)
    doubts = [
        (max(ratio, 1 / ratio), rule.ratio, _area_words(ratio)),
        (-found.estimate, _less(rule.estimate), "outline unsure"),
        (-iou(_moved_onto(before, mask), mask), _less(rule.overlap), "shape changed"),
    ]
    if found.agreement is not None:
        doubts.append((-found.agreement, _less(rule.agreement), "the models disagree"))
    elif found.drift is not None:
        doubts.append((-found.drift, _less(rule.drift), DRIFTED))
    for level in (1, 0):
        reasons = [words for value, limits, words in doubts if value > limits[level]]
        if reasons:
            return ", ".join(reasons), bool(level)
    return "", False


def _less(limits: tuple[float, float]) -> tuple[float, float]:
    return (-limits[0], -limits[1])


def _jump(area: int, areas: tuple[int, ...], trend: tuple[float, float]) -> float:
    """Area relative to the previous plane or to the trend, whichever is nearer to 1."""
    before = areas[-1]
    expected = float(before)
    if len(areas) > 1:
        expected = before + float(np.mean(np.diff(areas)))
    expected = float(np.clip(expected, trend[0] * before, trend[1] * before))
    return min((area / before, area / expected), key=lambda r: abs(np.log(r)))


def _area_words(ratio: float) -> str:
    if ratio >= 2:
        return "area doubled"
    if ratio <= 0.5:
        return "area halved"
    return f"area {'grew' if ratio > 1 else 'shrank'} by {abs(ratio - 1):.0%}"


def _moved_onto(mask: Mask, target: Mask) -> Mask:
    """`mask` shifted by whole pixels so that its centre lies on that of `target`."""
    shift = np.subtract(ndimage.center_of_mass(target), ndimage.center_of_mass(mask))
    moved: Mask = ndimage.shift(mask.astype(np.uint8), np.rint(shift), order=0).astype(bool)
    return moved
