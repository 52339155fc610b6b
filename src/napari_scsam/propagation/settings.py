"""All numbers of a propagation, each with its source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# Data on which numbers were chosen, with the weights shipped at the time.
_TWO_ATRIA = "measured: on two left atria of LA 2018"
_EIGHT_ATRIA = "measured: on eight left atria of LA 2018"


def _number(value: Any, source: str) -> Any:
    """A field with the source of its value: measured, a paper, derived, or arbitrary."""
    return field(default=value, metadata={"source": source})


@dataclass(frozen=True)
class StopRule:
    """When a class is flagged, and when it stops; pairs are thresholds for (flag, stop).

    Attributes
    ----------
    ratio : pair of float
        Area relative to the previous plane and to the trend, if both exceed it; or the inverse.
    estimate : pair of float
        SAM's predicted IoU is lower.
    overlap : pair of float
        IoU with the previous plane's mask, moved to the new centre, is lower.
    agreement : pair of float
        IoU of SAM's mask with that of the round's U-Net is lower. Below the first value, the
        two are taken for different objects, and their log-odds are not averaged.
    drift : pair of float
        IoU of SAM's mask with the annotated outline warped by optical flow is lower: at least
        one of them follows another structure. Not used if there is a U-Net.
    patience : int
        Number of flagged planes in a row after which a class stops.
    trend : pair of float
        Least and greatest area that a trend may predict, relative to the previous plane.
    min_pixels : int
        A class with fewer pixels stops.
    """

    ratio: tuple[float, float] = _number((1.5, 2.0), "arbitrary")
    estimate: tuple[float, float] = _number((0.6, 0.4), "arbitrary")
    overlap: tuple[float, float] = _number((0.6, 0.4), "arbitrary")
    agreement: tuple[float, float] = _number((0.5, 0.1), "arbitrary")
    drift: tuple[float, float] = _number(
        (0.3, 0.1),
        f"{_TWO_ATRIA}, Dice .817 without the test and .820 with .3; the other six went from"
        " .794 to .796. The .1 is arbitrary",
    )
    patience: int = _number(3, "arbitrary")
    trend: tuple[float, float] = _number((0.5, 2.0), "arbitrary")
    min_pixels: int = _number(9, "arbitrary")


@dataclass(frozen=True)
class AppearanceSettings:
    """The appearance of objects; widths are in pixels of SAM's low-resolution masks.

    Attributes
    ----------
    cell : int
        Pixels per cell of SAM's embedding, along each side.
    learned, applied, fades : float
        Distance from the outline within which the appearance is fitted, that within which it
        is applied, and the width over which it fades out there.
    mixed : float
        Cells nearer to the outline contain both sides, and are not used for validation.
    trusted : pair of float
        Area under the ROC curve in cross-validation at which the weight of the appearance
        starts to rise from 0, and at which it reaches 1.
    sectors : int
        Number of sectors around the object, for cross-validation.
    limit : float
        Greatest absolute log-odds.
    against, in_favour : float
        Weights of negative and positive log-odds. Negative ones are more reliable, because
        other structures may have the same appearance.
    shrinkage : float
        Shrinkage of the covariance towards its diagonal, because there are only about as many
        cells around an outline as there are features.
    """

    cell: int = _number(4, "paper: Segment Anything (Kirillov et al., ICCV 2023), its mask decoder")
    learned: float = _number(
        24.0,
        "arbitrary; fitted on the whole plane, it included other chambers of a heart in an atrium",
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
    """Optical flow.

    Attributes
    ----------
    longest : int
        Longest side of the images that are compared, in pixels; larger ones are reduced, to
        save time.
    radius : int
        Radius of the window, in pixels.
    margin : int
        Margin around the outlines within which flow is computed, in pixels.
    smallest : int
        Least number of pixels of an outline that is warped.
    """

    longest: int = _number(256, "arbitrary")
    radius: int = _number(4, f"{_TWO_ATRIA}, where 7 was no better")
    margin: int = _number(16, "derived: four radii; that they are four is arbitrary")
    smallest: int = _number(81, "derived: the pixels within one radius, (2 x 4 + 1) squared")


@dataclass(frozen=True)
class PropagationSettings:
    """Propagation from plane to plane.

    Lengths are fractions of the plane's longer side, unless stated otherwise.

    Attributes
    ----------
    tight : float
        Margin of the box around the previous object, for a SAM that also gets its mask.
    box_margins : tuple of float
        Margins that are tried on the annotated plane, for a SAM that takes boxes only. Some
        models fill the box, and need a small one.
    nearly : float
        The largest margin is chosen whose IoU with the annotated mask is lower than the best
        one by at most this.
    reach : float
        Greatest growth or motion of an object between planes.
    min_share : float
        Components with a smaller fraction of their class's area are not prompted separately.
    memory : int
        Number of planes that a trend is computed from.
    slope : float
        Log-odds per pixel of distance from the previous outline, in the softened mask.
    passes_agree, least_overlap : float
        If the masks of the two passes overlap less (IoU) than the first, only the one continues
        that is nearer to the warped outline, unless its IoU with that is below the second.
    sides_differ, sides_agree : float
        Masks from two sides that overlap less (IoU) than the first are flagged. Above the
        second, the flags of both sides are removed.
    smoothing_mm : float
        Standard deviation of the Gaussian that smooths log-odds along the axis, in mm.
    smoothing_reach : float
        Truncation of that Gaussian, in standard deviations.
    stop : StopRule
    appearance : AppearanceSettings
    flow : FlowSettings
    """

    tight: float = _number(0.0025, "arbitrary")
    box_margins: tuple[float, ...] = _number(
        (0.0, 0.005, 0.01, 0.02),
        "arbitrary; with 2 %, a SAM that fills the box doubled a left atrium within six slices",
    )
    nearly: float = _number(0.02, "arbitrary")
    reach: float = _number(0.03, "arbitrary")
    min_share: float = _number(0.02, "arbitrary")
    memory: int = _number(4, "arbitrary")
    slope: float = _number(
        0.4,
        f"{_TWO_ATRIA}, with the same result from 0.2 to 0.5; at 1 the mask was copied"
        " unchanged from plane to plane",
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
