"""Propagates masks through a volume from its annotated planes, and blends both directions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_scsam.core.errors import InputError
from napari_scsam.core.labels import BACKGROUND, NOT_ANNOTATED
from napari_scsam.core.log_odds import SURE, label_of
from napari_scsam.propagation.settings import SETTINGS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_scsam.core.arrays import LabelArray, Logits
    from napari_scsam.propagation.motion import Drift

TWO_SIDES = "the two sides disagree"


@dataclass(frozen=True, eq=False)
class Trail:
    """State of a propagation at one plane.

    Attributes
    ----------
    label : ndarray of shape (rows, cols), uint8
        Its masks; after the first step, on the grid that the models use.
    areas : mapping of int to tuple of int
        Numbers of pixels of each continuing class on the last planes, the latest last.
    doubts : mapping of int to int
        Number of planes in a row on which each class was flagged.
    box_margin : mapping of int to float
        Margin of each class's box; empty before the annotated plane was processed.
    drift : Drift or None
        The annotated plane's outlines, warped by optical flow.
    """

    label: LabelArray
    areas: Mapping[int, tuple[int, ...]]
    doubts: Mapping[int, int] = field(default_factory=dict)
    box_margin: Mapping[int, float] = field(default_factory=dict)
    drift: Drift | None = None

    @classmethod
    def start(cls, label: LabelArray) -> Trail:
        """Start with all classes of an annotated plane."""
        values, counts = np.unique(label, return_counts=True)
        nothing = (BACKGROUND, NOT_ANNOTATED)
        found = zip(values.tolist(), counts.tolist(), strict=True)
        return cls(label, {value: (count,) for value, count in found if value not in nothing})


@dataclass(frozen=True, eq=False)
class Carried:
    """The result of one step.

    Attributes
    ----------
    trail : Trail
        To continue from, without the classes that stopped here.
    logits : mapping of int to ndarray of shape (rows, cols), float
        Log-odds of each class that did not stop, on the plane's own grid.
    flags : mapping of int to str
        Why a class is flagged here, or has stopped.
    """

    trail: Trail
    logits: Mapping[int, Logits]
    flags: Mapping[int, str]


@dataclass(frozen=True, eq=False)
class Filled:
    """The masks of one plane.

    Attributes
    ----------
    index : int
        Of the plane.
    label : ndarray of shape (rows, cols), uint8
    flags : mapping of int to str
        Why a class is flagged; empty if none is.
    """

    index: int
    label: LabelArray
    flags: Mapping[int, str]


# (index of the next plane, trail) -> result of the step.
Carry = Callable[[int, Trail], Carried]


def propagate(
    carry: Carry,
    anchors: Mapping[int, LabelArray],
    count: int,
    spacing: float | None = None,
) -> Iterator[Filled]:
    """Propagate the masks of annotated planes to the planes before, between and after them.

    Between two annotated planes the masks come from both sides, and each plane's log-odds
    are their mean, weighted by the inverse distance (a linear blend). From each side, a class is
    propagated until it stops. After that, the log-odds are smoothed along the axis, because the
    errors of close planes differ.

    Parameters
    ----------
    carry : callable
        (index, Trail) -> Carried: one step, such as `napari_scsam.propagation.carry`. It is called
        first for each annotated plane itself, to prepare the trail.
    anchors : mapping of int to ndarray of shape (rows, cols), uint8
        Labels of the annotated planes; they are never changed.
    count : int
        Planes along the axis.
    spacing : float, optional
        Millimetres between planes; without it, nothing is smoothed.

    Yields
    ------
    Filled
        Whenever a plane's masks change: once from each side, and once by smoothing. The last
        one of an index is the best. The results so far can be used at any time.

    Raises
    ------
    InputError
        If there is no annotated plane, or one outside the volume.
    """
    if not anchors or min(anchors) < 0 or max(anchors) >= count:
        raise InputError(
            f"Masks are propagated from annotated slices 0 to {count - 1}, got {sorted(anchors)}."
        )
    # Both directions from a plane share the prepared trail.
    begin = cache(lambda at: _begin(carry, at, anchors[at]))
    shape = next(iter(anchors.values())).shape
    for lower, upper in pairwise([-1, *sorted(anchors), count]):
        starts = [
            _walk(carry, at, begin, range(at + step, end, step))
            for at, end, step in ((lower, upper, 1), (upper, lower, -1))
            if at in anchors
        ]
        gap: dict[int, _Plane] = {}
        for plane in _between(starts, shape):
            gap[plane.filled.index] = plane
            yield plane.filled
        if spacing:
            ends = {at: anchors[at] for at in (lower, upper) if at in anchors}
            within = range(max(lower, 0), min(upper, count - 1) + 1)
            yield from _smoothed(gap, ends, within, SETTINGS.smoothing_mm / spacing)


@dataclass(frozen=True, eq=False)
class _Patch:
    """Log-odds of one class, cropped to where they exceed ``-SURE``, to save memory."""

    at: tuple[slice, ...]
    odds: Logits

    @classmethod
    def of(cls, odds: Logits) -> _Patch:
        found = ndimage.find_objects((odds > -SURE).astype(np.uint8))
        at = found[0] if found else (slice(0), slice(0))
        return cls(at, odds[at].copy())

    def add_to(self, sum_above: Logits, weight: float) -> None:
        """Add their weighted excess over ``-SURE``."""
        sum_above[self.at] += weight * (self.odds + SURE)


@dataclass(frozen=True, eq=False)
class _Plane:
    """The masks of one plane, and the log-odds of each class."""

    filled: Filled
    patches: Mapping[int, _Patch]


def _begin(carry: Carry, at: int, label: LabelArray) -> Trail:
    trail = Trail.start(label)
    return carry(at, trail).trail if trail.areas else trail


def _walk(
    carry: Carry, start: int, begin: Callable[[int], Trail], planes: range
) -> Iterator[tuple[int, int, Carried]]:
    """(start, plane, result) of one direction, until all classes have stopped."""
    if not planes:
        return
    trail = begin(start)
    for index in planes:
        if not trail.areas:
            return
        carried = carry(index, trail)
        trail = carried.trail
        yield start, index, carried


def _between(
    walks: list[Iterator[tuple[int, int, Carried]]], shape: tuple[int, ...]
) -> Iterator[_Plane]:
    """Planes between two annotated ones, alternately from both sides."""
    seen: dict[int, dict[int, Carried]] = defaultdict(dict)
    for steps in zip_longest(*walks):
        for step in steps:
            if step is not None:
                start, index, carried = step
                sides = seen[index]
                sides[start] = carried
                yield _blend(index, sides, shape)
                if len(sides) == len(walks):
                    del seen[index]  # both sides have been here


def _blend(index: int, sides: Mapping[int, Carried], shape: tuple[int, ...]) -> _Plane:
    classes = sorted({c for side in sides.values() for c in (*side.logits, *side.flags)})
    logits: dict[int, Logits] = {}
    flags: dict[int, str] = {}
    for class_id in classes:
        given = {at: s.logits[class_id] for at, s in sides.items() if class_id in s.logits}
        if given:
            weights = [1 / abs(index - at) for at in given]
            logits[class_id] = np.average(list(given.values()), axis=0, weights=weights)
        flag = _flag(class_id, sides, [mask > 0 for mask in given.values()], index)
        if flag:
            flags[class_id] = flag
    patches = {class_id: _Patch.of(odds) for class_id, odds in logits.items()}
    return _Plane(Filled(index, label_of(logits, shape), flags), patches)


def _smoothed(
    gap: Mapping[int, _Plane], ends: Mapping[int, LabelArray], within: range, deviation: float
) -> Iterator[Filled]:
    """Smooth the planes between two annotated ones along the axis by a Gaussian.

    `deviation` is in planes. A class counts as absent on planes `within` that it did not reach.
    """
    reach = int(SETTINGS.smoothing_reach * deviation)
    if not reach or not gap:
        return
    patches: dict[int, Mapping[int, _Patch]] = {i: plane.patches for i, plane in gap.items()}
    for at, label in ends.items():
        found = Trail.start(label).areas
        patches[at] = {c: _Patch.of(np.where(label == c, SURE, -SURE)) for c in found}
    for index, plane in sorted(gap.items()):
        near = [i for i in range(index - reach, index + reach + 1) if i in within]
        weights = np.exp(-0.5 * ((np.array(near) - index) / deviation) ** 2)
        weights /= weights.sum()
        logits: dict[int, Logits] = {}
        for class_id, own in plane.patches.items():
            above = np.zeros(plane.filled.label.shape, np.float32)
            for weight, other in zip(weights.tolist(), near, strict=True):
                patch = patches.get(other, {}).get(class_id)
                if patch is not None:
                    patch.add_to(above, weight)
            if not (above > SURE).any():  # smoothing never removes a mask
                above[:] = 0
                own.add_to(above, 1.0)
            logits[class_id] = above - SURE
        filled = plane.filled
        yield Filled(index, label_of(logits, filled.label.shape), filled.flags)


def _flag(
    class_id: int, sides: Mapping[int, Carried], masks: list[NDArray[np.bool_]], index: int
) -> str:
    """The flag of a class after comparing both sides."""
    if len(masks) == 2:
        agreement = iou(*masks)
        if agreement >= SETTINGS.sides_agree:
            return ""
        if agreement < SETTINGS.sides_differ:
            return TWO_SIDES
    nearest_first = sorted(sides, key=lambda at: abs(index - at))
    return next(
        (sides[at].flags[class_id] for at in nearest_first if class_id in sides[at].flags), ""
    )


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks; 1 where both are empty."""
    either = int((a | b).sum())
    return int((a & b).sum()) / either if either else 1.0
