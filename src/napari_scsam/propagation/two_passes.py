"""Two passes of SAM through the same planes, and how their masks are combined."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from napari_scsam.propagation.settings import SETTINGS
from napari_scsam.propagation.stopping import DRIFTED
from napari_scsam.propagation.walk import Carried, Trail, iou

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_scsam.core.arrays import Logits
    from napari_scsam.propagation.appearance import Appearance

_TrailType = TypeVar("_TrailType", bound=Trail)


@dataclass(frozen=True, eq=False, kw_only=True)
class TwoPasses(Trail):
    """A trail with a second pass, in which SAM also gets the objects' appearance.

    Attributes
    ----------
    appearances : mapping of int to Appearance
        Of the classes that are distinguishable from their surroundings.
    second : Trail
        State of the second pass; for other classes, the same as that of the first.
    """

    appearances: Mapping[int, Appearance]
    second: Trail


def drifted(trail: Trail, class_id: int) -> Logits | None:
    """Log-odds of a class's annotated outline, warped by optical flow."""
    return None if trail.drift is None else trail.drift.log_odds(class_id, trail.label.shape)


def joined(trail: TwoPasses, first: Carried, second: Carried, classes: Iterable[int]) -> Carried:
    """Combine the two passes on a plane.

    While they agree, their mean is the result, because their errors differ. If they disagree,
    one of them is wrong. Both then continue from the one that is nearer to the warped outline.
    A class that one of them has lost stops.
    """
    logits, flags = dict(first.logits), dict(first.flags)
    ends_at = dict.fromkeys(first.trail.areas, (first.trail, first.trail))
    for class_id in classes:
        passes = [one for one in (first, second) if class_id in one.trail.areas]
        if len(passes) < 2:
            ends_at.pop(class_id, None)
            flags.setdefault(class_id, second.flags.get(class_id, "no outline found"))
            continue
        if iou(*(one.trail.label == class_id for one in passes)) >= SETTINGS.passes_agree:
            logits[class_id] = (first.logits[class_id] + second.logits[class_id]) / 2
            ends_at[class_id] = first.trail, second.trail
            continue
        better, overlap = _nearer(passes, class_id)
        flags.pop(class_id, None)
        if overlap < SETTINGS.least_overlap:
            del logits[class_id], ends_at[class_id]
            flags[class_id] = DRIFTED
            continue
        logits[class_id] = better.logits[class_id]
        ends_at[class_id] = better.trail, better.trail
        if class_id in better.flags:
            flags[class_id] = better.flags[class_id]
    on_first, on_second = ({c: ends[i] for c, ends in ends_at.items()} for i in (0, 1))
    onwards = replace(_gathered(trail, on_first), second=_gathered(second.trail, on_second))
    return Carried(onwards, logits, flags)


def _nearer(passes: list[Carried], class_id: int) -> tuple[Carried, float]:
    """The pass whose mask is nearer to the warped outline, and its IoU with that.

    Without a warped outline, it is the first one, which does not use the appearance.
    """
    moved = drifted(passes[0].trail, class_id)
    if moved is None:
        return passes[0], 1.0
    overlaps = [iou(one.trail.label == class_id, moved > 0) for one in passes]
    best = int(np.argmax(overlaps))
    return passes[best], overlaps[best]


def _gathered(trail: _TrailType, ends: Mapping[int, Trail]) -> _TrailType:
    """A trail in which each class continues from the given one."""
    label = np.zeros_like(trail.label)
    for class_id, end in sorted(ends.items()):
        label[(end.label == class_id) & (label == 0)] = class_id
    areas = {c: end.areas[c] for c, end in ends.items()}
    doubts = {c: end.doubts[c] for c, end in ends.items() if c in end.doubts}
    return replace(trail, label=label, areas=areas, doubts=doubts)
