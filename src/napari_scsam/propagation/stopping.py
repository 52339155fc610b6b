"""When a propagation wants a look at a class, and when it follows it no further."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_scsam.propagation.walk import iou

if TYPE_CHECKING:
    from napari_scsam.core.arrays import Logits, Mask

# A class of fewer pixels is lost.
MIN_PIXELS = 9
STRAYED = "outline strayed"


@dataclass(frozen=True)
class StopRule:
    """When a class wants a look, and when it is not followed any further: (look, stop).

    Attributes
    ----------
    ratio : pair of float
        Area against the plane before and against the trend, when both say so; either way.
    estimate : pair of float
        SAM's own estimate of the IoU is under it.
    overlap : pair of float
        IoU with the plane before, moved onto the new centre, is under it.
    agreement : pair of float
        IoU of SAM's mask and the round's U-Net, where both look, is under it.
    drift : pair of float
        IoU of SAM's mask and the annotated outline as it has moved with the picture is under it:
        at least one of them follows something else. Not asked where the U-Net says which.
    patience : int
        So many planes in a row that want a look are the last ones.
    """

    ratio: tuple[float, float] = (1.5, 2.0)
    estimate: tuple[float, float] = (0.6, 0.4)
    overlap: tuple[float, float] = (0.6, 0.4)
    agreement: tuple[float, float] = (0.5, 0.1)
    drift: tuple[float, float] = (0.3, 0.1)
    patience: int = 3


RULE = StopRule()


@dataclass(frozen=True, eq=False)
class Found:
    """A class on the new plane: its log-odds, SAM's estimate of the IoU, others' IoU with it."""

    logits: Logits
    estimate: float
    agreement: float | None = None
    drift: float | None = None


def judge(before: Mask, found: Found, areas: tuple[int, ...], rule: StopRule) -> tuple[str, bool]:
    """What speaks against a class's new mask.

    Parameters
    ----------
    before : ndarray of shape (rows, cols), bool
        Its mask on the plane before.
    found : Found
    areas : tuple of int
        Pixels on the last planes, the latest last.
    rule : StopRule

    Returns
    -------
    reason : str
        In an annotator's words; empty where nothing speaks against it.
    stops : bool
        Whether the class is not followed any further.
    """
    mask = found.logits > 0
    area = int(mask.sum())
    if area < MIN_PIXELS:
        return "no outline found", True
    ratio = _jump(area, areas)
    doubts = [
        (max(ratio, 1 / ratio), rule.ratio, _area_words(ratio)),
        (-found.estimate, _less(rule.estimate), "outline unsure"),
        (-iou(_moved_onto(before, mask), mask), _less(rule.overlap), "shape changed"),
    ]
    if found.agreement is not None:
        doubts.append((-found.agreement, _less(rule.agreement), "the models disagree"))
    elif found.drift is not None:
        doubts.append((-found.drift, _less(rule.drift), STRAYED))
    for level in (1, 0):
        reasons = [words for value, limits, words in doubts if value > limits[level]]
        if reasons:
            return ", ".join(reasons), bool(level)
    return "", False


def _less(limits: tuple[float, float]) -> tuple[float, float]:
    return (-limits[0], -limits[1])


def _jump(area: int, areas: tuple[int, ...]) -> float:
    """Area over the plane before's or over the trend's, whichever is nearer to 1."""
    before = areas[-1]
    expected = float(before)
    if len(areas) > 1:
        expected = before + float(np.mean(np.diff(areas)))
    expected = float(np.clip(expected, 0.5 * before, 2 * before))
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
