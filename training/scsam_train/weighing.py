"""How the pair's answer is made of its members', chosen on other planes than it is reported on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scsam_train.validation_metrics import Judge, Marks, unet_share

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_scsam.models import Pair
    from scsam_train.data import TrainPlane

# From so many units on one half of them chooses for the other, and the other way round; of fewer
# each is left out in turn. Halves of three cases still hold most classes.
FEWEST_TO_HALVE = 6


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
    # Each plane is in one part only: the counts of the others are 0.
    counts = sum(judge.mark_joined(pair, reported, check))
    return Weighed(found[-1], marks.with_pair(np.asarray(counts)), parts, unit)


def _best_shares(
    judge: Judge,
    pair: Pair,
    marks: Marks,
    choosers: Sequence[Sequence[int]],
    check: Callable[[], None],
) -> list[list[float]]:
    """The U-Net's share of each class, as each of the choosing sets of rows has it best.

    By inverse error; or all or nothing, where one member alone does better than that mixture: a
    SAM that is often wrong is as sure of it, and outvotes a U-Net with the larger share.
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
        picks = np.argmax(dice, axis=0)  # the mixture where others do no better
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


def _guided(marks: Marks, rows: Sequence[int], plain: Any, guided: Any) -> list[bool]:
    """For each class, whether the pair is better on these rows where SAM is asked again."""
    before, after = (_pair_dice(marks, rows, counts) for counts in (plain, guided))
    return [there > here for here, there in zip(before, after, strict=True)]


def _pair_dice(marks: Marks, rows: Sequence[int], counts: Any) -> list[float]:
    """Dice of each class on some rows, of a pair with these counts; 0 where there is none."""
    scores = marks.with_pair(counts).at(rows).dice()["pair"]
    return [scores[name] or 0.0 for name in marks.class_names.values()]


def _unit_of(plane: TrainPlane, unit: str) -> str:
    return plane.case if unit == "case" else plane.name
