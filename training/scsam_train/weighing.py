"""How the pair's answer is made of its members', chosen on other planes than it is reported on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_scsam.models import Pair
from scsam_train.data import TrainPlane
from scsam_train.validation_metrics import Judge, Marks, unet_share

# From so many units on one half of them chooses for the other, and the other way round; of fewer
# each is left out in turn. Halves of three cases still hold most classes.
FEWEST_TO_HALVE = 6
# Standard errors of the mean paired difference by which another way of joining the members has to
# be ahead of the usual one; two are about a 95 % interval. What was measured:
# docs/explanation/rounds.md.
SURELY = 2.0


@dataclass(frozen=True)
class Weighing:
    """How the pair's answer is made of its members', for each class.

    Attributes
    ----------
    unet_shares : list of float
    guided : list of bool
        As for `Pair`.
    """

    unet_shares: list[float]
    guided: list[bool]

    @staticmethod
    def equal(classes: int) -> Weighing:
        """Both members count as much, and SAM is not asked again."""
        return Weighing([0.5] * classes, [False] * classes)


@dataclass(frozen=True)
class Part:
    """Rows of the held-out planes that choose weights, and those that are reported with them."""

    chosen_by: list[int]
    reported_on: list[int]


@dataclass(frozen=True, eq=False)
class Weighed:
    """A pair that was weighed.

    Attributes
    ----------
    weighing : Weighing
        Chosen by all held-out planes: what the round keeps.
    marks : Marks
        Each plane's pair is weighed by others.
    parts : list of Part
    unit : {'case', 'slice'}
        What the parts are made of.
    """

    weighing: Weighing
    marks: Marks
    parts: list[Part]
    unit: str

    @property
    def was_chosen(self) -> bool:
        """Whether the weights that are reported were chosen, and not equal for want of planes."""
        return any(part.chosen_by for part in self.parts)

    def to_dict(self) -> dict[str, Any]:
        """For metrics.json: which cases (or slices, of one case) chose for which."""
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
    """Divide planes so that each is reported with weights that others chose.

    Returns
    -------
    parts : list of Part
        Every plane is reported in one of them. With six units or more there are two, each of
        which chooses for the other; with fewer each unit is left out in turn. A unit alone is
        reported by itself, and nothing chooses.
    unit : {'case', 'slice'}
        Slices where there is one case only.
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
    """Weigh the members of a pair by what they did on held-out planes, guided where it helps.

    Parameters
    ----------
    judge : Judge
    pair : Pair
        With two trained members.
    marks : Marks
        Of its members, by `judge`.
    check : callable
        Called before each plane; raises Cancelled.
    """
    classes = len(marks.class_names)
    parts, unit = parts_of(marks.planes)
    everything = list(range(len(marks.planes)))
    choosers = [part.chosen_by for part in parts if part.chosen_by] + [everything]
    shares = _best_shares(judge, pair, [Cases(marks, rows, unit) for rows in choosers], check)
    ways = [
        (pair.weighed(own, [guided] * classes), rows)
        for own, rows in zip(shares, choosers, strict=True)
        for guided in (False, True)
    ]
    answers = iter(judge.mark_joined(pair, ways, check))
    found = [
        Weighing(own, _guided(Cases(marks, rows, unit), next(answers), next(answers)))
        for own, rows in zip(shares, choosers, strict=True)
    ]
    used = found[:-1] or [Weighing.equal(classes)]
    reported = [
        (pair.weighed(weighing.unet_shares, weighing.guided), part.reported_on)
        for weighing, part in zip(used, parts, strict=True)
    ]
    # Each plane is in one part only: the counts of the others are 0.
    counts = sum(judge.mark_joined(pair, reported, check))
    return Weighed(found[-1], marks.with_pair(np.asarray(counts)), parts, unit)


@dataclass(frozen=True, eq=False)
class Cases:
    """Held-out cases that choose: Dice of several pairs on them is compared case by case.

    Attributes
    ----------
    marks : Marks
    rows : sequence of int
        Their planes.
    unit : {'case', 'slice'}
        What counts as a case.
    """

    marks: Marks
    rows: Sequence[int]
    unit: str

    def dice(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Dice (cases, K) of a pair with these counts; NaN where neither holds the class."""
        rows: dict[str, list[int]] = {}
        for row in self.rows:
            rows.setdefault(_unit_of(self.marks.planes[row], self.unit), []).append(row)
        sums = np.stack([counts[own].sum(axis=0) for own in rows.values()])
        total = sums[:, :, 1] + sums[:, :, 2]
        return np.where(total > 0, 2 * sums[:, :, 0] / np.maximum(total, 1), np.nan)

    def lead(self, new: NDArray[np.int64], usual: NDArray[np.int64]) -> NDArray[np.float64]:
        """How far (K,) the first of two pairs is ahead, per class; 0 where it is not surely so.

        Surely: the mean of the paired differences is more than `SURELY` of its standard errors
        above 0. One case alone shows nothing.
        """
        differences = self.dice(new) - self.dice(usual)
        return np.array([_sure_mean(column[~np.isnan(column)]) for column in differences.T])


def _sure_mean(differences: NDArray[np.float64]) -> float:
    if len(differences) < 2:
        return 0.0
    mean = float(differences.mean())
    error = float(differences.std(ddof=1)) / len(differences) ** 0.5
    return mean if mean > SURELY * error else 0.0


def _best_shares(
    judge: Judge, pair: Pair, choosers: Sequence[Cases], check: Callable[[], None]
) -> list[list[float]]:
    """The U-Net's share of each class, as each of the choosing sets of cases has it best.

    By inverse error; or all or nothing, where one member alone is surely better than that mixture:
    a SAM that is often wrong is as sure of it, and outvotes a U-Net with the larger share.
    """
    classes = len(pair.class_ids)
    mixtures = [_shares(cases.marks.at(cases.rows), pair.partner) for cases in choosers]
    tried = [(own, [1.0] * classes, [0.0] * classes) for own in mixtures]
    ways = [
        (pair.weighed(one), cases.rows)
        for options, cases in zip(tried, choosers, strict=True)
        for one in options
    ]
    answers = iter(judge.mark_joined(pair, ways, check))
    best = []
    for options, cases in zip(tried, choosers, strict=True):
        usual, *others = (next(answers) for _ in options)
        leads = [np.zeros(classes), *(cases.lead(other, usual) for other in others)]
        picks = np.argmax(leads, axis=0)  # the mixture where no other is ahead
        best.append([options[pick][at] for at, pick in enumerate(picks)])
    return best


def _shares(marks: Marks, partner: str) -> list[float]:
    """The U-Net's share of each class; of one that no plane says anything of, their mean."""
    scores, names = marks.dice(), marks.class_names.values()
    known = {
        name: unet_share(scores["unet"][name], scores[partner][name])
        for name in names
        if scores["unet"][name] is not None and scores[partner][name] is not None
    }
    other = float(np.mean(list(known.values()))) if known else 0.5
    return [known.get(name, other) for name in names]


def _guided(cases: Cases, plain: NDArray[np.int64], guided: NDArray[np.int64]) -> list[bool]:
    """For each class, whether the pair is surely better where SAM is asked again."""
    return [bool(lead > 0) for lead in cases.lead(guided, plain)]


def _unit_of(plane: TrainPlane, unit: str) -> str:
    return plane.case if unit == "case" else plane.name
