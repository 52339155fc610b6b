"""Every number of a propagation, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# Sets that chose numbers. The weights were those that shipped at the time.
_TWO_ATRIA = "measured: on two left atria of LA 2018"
_EIGHT_ATRIA = "measured: on eight left atria of LA 2018"


def _number(value: Any, source: str) -> Any:
    """A field that says where its value comes from: measured, a paper, derived, or arbitrary."""
    return field(default=value, metadata={"source": source})


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
        IoU of SAM's mask and the round's U-Net, where both look, is under it. Under the first,
        two log-odds don't mean the same object, and no mean of them is taken.
    drift : pair of float
        IoU of SAM's mask and the annotated outline as it has moved with the picture is under it:
        at least one of them follows something else. Not asked where the U-Net says which.
    patience : int
        So many planes in a row that want a look are the last ones.
    trend : pair of float
        What a trend may make of the area on the plane before, at least and at most.
    min_pixels : int
        A class of fewer pixels is lost.
    """

    ratio: tuple[float, float] = _number((1.5, 2.0), "arbitrary")
    estimate: tuple[float, float] = _number((0.6, 0.4), "arbitrary")
    overlap: tuple[float, float] = _number((0.6, 0.4), "arbitrary")
    agreement: tuple[float, float] = _number((0.5, 0.1), "arbitrary")
    drift: tuple[float, float] = _number(
        (0.3, 0.1),
        f"{_TWO_ATRIA}, Dice .817 without the question and .820 with .3; the other six went from"
        " .794 to .796. The .1 is arbitrary",
    )
    patience: int = _number(3, "arbitrary")
    trend: tuple[float, float] = _number((0.5, 2.0), "arbitrary")
    min_pixels: int = _number(9, "arbitrary")


@dataclass(frozen=True)
class AppearanceSettings:
    """How an object is told from what is beside it; widths in pixels of SAM's small masks.

    Attributes
    ----------
    cell : int
        So many of these pixels are one cell of SAM's embedding.
    learned, told, fades : float
        How far from the outline the look is learned, how far it is told of, and over how many
        pixels it fades out there.
    mixed : float
        Nearer to the outline than this a cell is of both sides.
    trusted : pair of float
        How well the look tells sectors round the object apart that it did not learn from (area
        under the ROC curve): up to the first it is not told of at all, from the second on to the
        full.
    sectors : int
        Round the object.
    limit : float
        Most log-odds that it says.
    against, in_favour : float
        Weight of what it says beside the outline: where a place appearances different it is not the
        object, but what appearances the same may be another one.
    shrinkage : float
        Share of the covariance that is left on its diagonal: there are about as many cells beside
        one outline as there are features.
    """

    cell: int = _number(4, "paper: Segment Anything (Kirillov et al., ICCV 2023), its mask decoder")
    learned: float = _number(
        24.0,
        "arbitrary; learned on the whole plane it took other chambers of a heart for an atrium",
    )
    applied: float = _number(32.0, "arbitrary")
    fades: float = _number(4.0, "arbitrary")
    mixed: float = _number(3.0, "arbitrary")
    trusted: tuple[float, float] = _number((0.85, 0.95), "arbitrary")
    sectors: int = _number(6, "arbitrary")
    limit: float = _number(6.0, "arbitrary")
    against: float = _number(
        2.0, f"{_EIGHT_ATRIA}, with two trainings of the warm-up; 1.5 before that"
    )
    in_favour: float = _number(
        1.0, f"{_EIGHT_ATRIA}, with two trainings of the warm-up; .75 before that"
    )
    shrinkage: float = _number(0.3, "arbitrary")


@dataclass(frozen=True)
class FlowSettings:
    """How outlines move with the picture.

    Attributes
    ----------
    longest : int
        The longest side of the pictures that are compared: flow takes time, and outlines are
        smooth.
    radius : int
        Pixels around each one that show where it moved.
    margin : int
        So many pixels around the outlines are followed.
    smallest : int
        An outline that encloses fewer pixels of such a picture than show one place's motion is
        not seen to move.
    """

    longest: int = _number(256, "arbitrary")
    radius: int = _number(4, f"{_TWO_ATRIA}, where 7 was no better")
    margin: int = _number(16, "derived: four radii; that they are four is arbitrary")
    smallest: int = _number(81, "derived: the pixels within one radius, (2 x 4 + 1) squared")


@dataclass(frozen=True)
class PropagationSettings:
    """How masks are carried from plane to plane.

    Lengths are shares of the plane's longer side, where nothing else is said.

    Attributes
    ----------
    tight : float
        Air between the neighbour's object and the box for the next one, of a SAM that is asked
        by the mask, too: it follows an object out of a tight box.
    airs : tuple of float
        Air that is tried for a SAM that is asked by the box alone. One that fills its box needs
        little; one that does not needs some to follow an object that moves. Which it is, the
        annotated plane tells.
    nearly : float
        The loosest box is taken whose IoU with the annotated mask is less than the best one's
        by no more than this.
    reach : float
        An object moves and grows by no more than this.
    min_share : float
        An object of a smaller share of its class is not followed by itself.
    memory : int
        So many planes make a trend.
    slope : float
        Log-odds per pixel from the neighbour's outline: the next plane's may lie some beside it.
    passes_agree, nowhere : float
        Two ways to one object that overlap less (IoU) than the first do not both go on: the one
        that lies nearer to the outline as it has moved with the picture does, unless its overlap
        with that is under the second.
    sides_differ, sides_agree : float
        Outlines from two sides that overlap less (IoU) want a look; above the second, two ways
        led to one outline, and what either of them doubted is settled.
    smoothing_mm : float
        How far along the axis log-odds are evened: a Gaussian's standard deviation, in mm. Planes
        that lie further apart hardly change.
    smoothing_reach : float
        So many standard deviations of it count.
    stop : StopRule
    look : AppearanceSettings
    flow : FlowSettings
    """

    tight: float = _number(0.0025, "arbitrary")
    box_margins: tuple[float, ...] = _number(
        (0.0, 0.005, 0.01, 0.02),
        "arbitrary; with 2 % a SAM that fills its box doubled a left atrium within six slices",
    )
    nearly: float = _number(0.02, "arbitrary")
    reach: float = _number(0.03, "arbitrary")
    min_share: float = _number(0.02, "arbitrary")
    memory: int = _number(4, "arbitrary")
    slope: float = _number(
        0.4,
        f"{_TWO_ATRIA}, which came out the same from 0.2 to 0.5; at 1 the neighbour's mask was"
        " copied on and on",
    )
    passes_agree: float = _number(0.8, "arbitrary")
    least_overlap: float = _number(0.4, "arbitrary")
    sides_differ: float = _number(0.5, "arbitrary")
    sides_agree: float = _number(0.8, "arbitrary")
    smoothing_mm: float = _number(
        1.25, f"{_TWO_ATRIA}; on eight, Dice .819 without and .825 with it"
    )
    smoothing_reach: float = _number(3.0, "arbitrary: the rest of a Gaussian is 0.3 %")
    stop: StopRule = _number(StopRule(), "its own fields")
    appearance: AppearanceSettings = _number(AppearanceSettings(), "its own fields")
    flow: FlowSettings = _number(FlowSettings(), "its own fields")


SETTINGS = PropagationSettings()
