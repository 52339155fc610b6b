"""Two ways of a propagation through the same planes, and what they make of each together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from napari_scsam.propagation.settings import SETTINGS
from napari_scsam.propagation.stopping import STRAYED
from napari_scsam.propagation.walk import Carried, Trail, iou

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_scsam.core.arrays import Logits
    from napari_scsam.propagation.appearance import Appearance

_Way = TypeVar("_Way", bound=Trail)


@dataclass(frozen=True, eq=False, kw_only=True)
class TwoPasses(Trail):
    """A trail that is walked a second time by a SAM that is told of the objects' appearances.

    Attributes
    ----------
    appearances : mapping of int to Appearance
        Of the classes that look unlike what is beside them on the annotated plane.
    second : Trail
        Where the second way is; like the first for other classes.
    """

    appearances: Mapping[int, Appearance]
    second: Trail


def drifted(trail: Trail, class_id: int) -> Logits | None:
    """Log-odds of a class's annotated outline as it has moved with the picture."""
    return None if trail.drift is None else trail.drift.log_odds(class_id, trail.label.shape)


def joined(trail: TwoPasses, first: Carried, second: Carried, told: Iterable[int]) -> Carried:
    """What two ways made of a plane: each goes on, or both where the better one of them is.

    They err in different ways, so that what is shown is the mean of them. That they part says
    that one has gone astray, and where the picture has moved says which. A class that one of
    them lost is let go.
    """
    logits, flags = dict(first.logits), dict(first.flags)
    ends_at = dict.fromkeys(first.trail.areas, (first.trail, first.trail))
    for class_id in told:
        ways = [way for way in (first, second) if class_id in way.trail.areas]
        if len(ways) < 2:
            ends_at.pop(class_id, None)
            flags.setdefault(class_id, second.flags.get(class_id, "no outline found"))
            continue
        if iou(*(way.trail.label == class_id for way in ways)) >= SETTINGS.passes_agree:
            logits[class_id] = (first.logits[class_id] + second.logits[class_id]) / 2
            ends_at[class_id] = first.trail, second.trail
            continue
        better, overlap = _nearer(ways, class_id)
        flags.pop(class_id, None)
        if overlap < SETTINGS.least_overlap:
            del logits[class_id], ends_at[class_id]
            flags[class_id] = STRAYED
            continue
        logits[class_id] = better.logits[class_id]
        ends_at[class_id] = better.trail, better.trail
        if class_id in better.flags:
            flags[class_id] = better.flags[class_id]
    on_first, on_second = ({c: ends[i] for c, ends in ends_at.items()} for i in (0, 1))
    onwards = replace(_gathered(trail, on_first), second=_gathered(second.trail, on_second))
    return Carried(onwards, logits, flags)


def _nearer(ways: list[Carried], class_id: int) -> tuple[Carried, float]:
    """The way whose mask is nearer to the outline as the picture has moved, and their IoU.

    Without such an outline, the first way: what the second was told is left aside.
    """
    moved = drifted(ways[0].trail, class_id)
    if moved is None:
        return ways[0], 1.0
    overlaps = [iou(way.trail.label == class_id, moved > 0) for way in ways]
    best = int(np.argmax(overlaps))
    return ways[best], overlaps[best]


def _gathered(trail: _Way, ends: Mapping[int, Trail]) -> _Way:
    """A trail with each class where one way left it."""
    label = np.zeros_like(trail.label)
    for class_id, end in sorted(ends.items()):
        label[(end.label == class_id) & (label == 0)] = class_id
    areas = {c: end.areas[c] for c, end in ends.items()}
    doubts = {c: end.doubts[c] for c, end in ends.items() if c in end.doubts}
    return replace(trail, label=label, areas=areas, doubts=doubts)
