"""The weights of both members in the pair, chosen on other planes than those reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_scsam.models import Pair
from scsam_train.data import TrainPlane
from scsam_train.validation_metrics import Judge, Marks, unet_share

# From this number of units on, one half chooses weights for the other and vice versa; with fewer,
# each unit is left out in turn. Halves of three cases still contain most classes. Arbitrary.
FEWEST_TO_HALVE = 6


@dataclass(frozen=True)
class Weighing:
    """Weights of the two members in the pair, per class.

    Attributes
    ----------
    unet_shares : list of float
        Weight of the U-Net, 0..1.
    guided : list of bool
        Whether SAM is prompted again by the mixture; see `Pair`.
    """

    unet_shares: list[float]
    guided: list[bool]

    @staticmethod
    def equal(classes: int) -> Weighing:
        """Return equal weights, without prompting SAM again."""
        return Weighing([0.5] * classes, [False] * classes)


@dataclass(frozen=True)
class Part:
    """Rows of the held-out planes that choose the weights, and rows that are reported with them."""

    chosen_by: list[int]
    reported_on: list[int]


@dataclass(frozen=True, eq=False)
class Weighed:
    """Chosen weights and the counts that they give.

    Attributes
    ----------
    weighing : Weighing
        Chosen on all held-out planes; the round keeps these.
    marks : Marks
        Counts of the pair use weights that were chosen on other planes (cross-validation).
    parts : list of Part
    unit : {'case', 'slice'}
        What the parts consist of.
    """

    weighing: Weighing
    marks: Marks
    parts: list[Part]
    unit: str

    @property
    def was_chosen(self) -> bool:
        """Whether the reported weights were chosen, instead of equal because planes were few."""
        return any(part.chosen_by for part in self.parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the entry for metrics.json: which cases (or slices) chose for which."""
        named = [
            {
                "chosen_by": self._names(part.chosen_by),
                "reported_on": self._names(part.reported_on),
            }
            for part in self.parts
        ]
        everything = self._names(range(len(self.marks.planes)))
        return {"unit": self.unit, "parts": named, "kept_weights_chosen_by": everything}

    def _names(self, rows: Sequence[int]) -> list[str]:
        return sorted({_unit_of(self.marks.planes[row], self.unit) for row in rows})


def parts_of(planes: Sequence[TrainPlane]) -> tuple[list[Part], str]:
    """Divide planes so that each is reported with weights that were chosen on others.

    Returns
    -------
    parts : list of Part
        Every plane is reported in exactly one of them. With six units or more there are two
        parts, each choosing for the other; with fewer, each unit is left out in turn. A single
        unit is reported with equal weights.
    unit : {'case', 'slice'}
        Slices if there is only one case.
    """
    unit = "case" if len({plane.case for plane in planes}) > 1 else "slice"
    rows: dict[str, list[int]] = {}
    for row, plane in enumerate(planes):
        rows.setdefault(_unit_of(plane, unit), []).append(row)
    units = [rows[name] for name in sorted(rows)] if unit == "case" else list(rows.values())
    groups = units
    if len(units) >= FEWEST_TO_HALVE:
        groups = [[row for one in half for row in one] for half in (units[::2], units[1::2])]
    return [
        Part([row for other in groups if other is not group for row in other], group)
        for group in groups
    ], unit


def weigh(judge: Judge, pair: Pair, marks: Marks, check: Callable[[], None]) -> Weighed:
    """Choose the weights of both members by their Dice on held-out planes.

    Parameters
    ----------
    judge : Judge
    pair : Pair
        With two trained members.
    marks : Marks
        Counts of its members, from `judge`.
    check : callable
        Called before each plane; raises Cancelled.
    """
    classes = len(marks.class_names)
    parts, unit = parts_of(marks.planes)
    everything = list(range(len(marks.planes)))
    choosers = [part.chosen_by for part in parts if part.chosen_by] + [everything]
    shares = _best_shares(judge, pair, marks, choosers, check)
    ways = [
        (pair.weighed(own, [guided] * classes), rows)
        for own, rows in zip(shares, choosers, strict=True)
        for guided in (False, True)
    ]
    answers = iter(judge.mark_joined(pair, ways, check))
    found = [
        Weighing(own, _guided(marks, rows, next(answers), next(answers)))
        for own, rows in zip(shares, choosers, strict=True)
    ]
    used = found[:-1] or [Weighing.equal(classes)]
    reported = [
        (pair.weighed(weighing.unet_shares, weighing.guided), part.reported_on)
        for weighing, part in zip(used, parts, strict=True)
    ]
    # Each plane is in exactly one part: the counts of the others are 0.
    counts = sum(judge.mark_joined(pair, reported, check))
    return Weighed(found[-1], marks.with_pair(np.asarray(counts)), parts, unit)


def _best_shares(
    judge: Judge,
    pair: Pair,
    marks: Marks,
    choosers: Sequence[Sequence[int]],
    check: Callable[[], None],
) -> list[list[float]]:
    """Return the best weight of the U-Net per class, for each of the choosing sets of rows.

    Candidates are the weight by inverse squared error, 1 and 0. A SAM that is often wrong is
    still confident and would outvote a U-Net with the larger weight.
    """
    classes = len(marks.class_names)
    mixtures = [_shares(marks.at(rows), pair.partner) for rows in choosers]
    tried = [(own, [1.0] * classes, [0.0] * classes) for own in mixtures]
    ways = [
        (pair.weighed(one), rows)
        for options, rows in zip(tried, choosers, strict=True)
        for one in options
    ]
    answers = iter(judge.mark_joined(pair, ways, check))
    best = []
    for options, rows in zip(tried, choosers, strict=True):
        dice = [_pair_dice(marks, rows, next(answers)) for _ in options]
        picks = np.argmax(dice, axis=0)  # ties go to the mixture
        best.append([options[pick][at] for at, pick in enumerate(picks)])
    return best


def _shares(marks: Marks, partner: str) -> list[float]:
    """Return the U-Net's weight per class; the mean of the others for a class without Dice."""
    scores, names = marks.dice(), marks.class_names.values()
    known = {
        name: unet_share(scores["unet"][name], scores[partner][name])
        for name in names
        if scores["unet"][name] is not None and scores[partner][name] is not None
    }
    other = float(np.mean(list(known.values()))) if known else 0.5
    return [known.get(name, other) for name in names]


def _guided(marks: Marks, rows: Sequence[int], plain: Any, guided: Any) -> list[bool]:
    """Whether the pair is better on these rows if SAM is prompted again, per class."""
    before, after = (_pair_dice(marks, rows, counts) for counts in (plain, guided))
    return [there > here for here, there in zip(before, after, strict=True)]


def _pair_dice(marks: Marks, rows: Sequence[int], counts: Any) -> list[float]:
    """Return the Dice per class of a pair with these counts on some rows; 0 if undefined."""
    scores = marks.with_pair(counts).at(rows).dice()["pair"]
    return [scores[name] or 0.0 for name in marks.class_names.values()]


def _unit_of(plane: TrainPlane, unit: str) -> str:
    return plane.case if unit == "case" else plane.name
