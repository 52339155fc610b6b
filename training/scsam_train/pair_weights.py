"""The weights of both members in the pair, chosen on other planes than those reported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scsam_train.validation_metrics import Evaluation, Evaluator, unet_share

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_scsam.models import Pair
    from scsam_train.data import TrainPlane

# From this number of units on, one half chooses weights for the other and vice versa; with fewer,
# each unit is left out in turn. Halves of three cases still contain most classes. Arbitrary.
MIN_TO_HALVE = 6
# Standard errors of the mean paired difference by which another mixture must be better than the
# default one; two correspond to a 95 % interval. Measured in docs/explanation/rounds.md.
STANDARD_ERRORS = 2.0


@dataclass(frozen=True)
class PairWeights:
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
    def equal(classes: int) -> PairWeights:
        """Return equal weights, without prompting SAM again."""
        return PairWeights([0.5] * classes, [False] * classes)


@dataclass(frozen=True)
class Fold:
    """Rows of the held-out planes that choose the weights, and rows that are reported with them."""

    chosen_by: list[int]
    reported_on: list[int]


@dataclass(frozen=True, eq=False)
class ChosenWeights:
    """Chosen weights and the counts that they give.

    Attributes
    ----------
    weights : PairWeights
        Chosen on all held-out planes; the round keeps these.
    evaluation : Evaluation
        Counts of the pair use weights that were chosen on other planes (cross-validation).
    folds : list of Fold
    unit : {'case', 'slice'}
        What the folds consist of.
    """

    weights: PairWeights
    evaluation: Evaluation
    folds: list[Fold]
    unit: str

    def to_dict(self) -> dict[str, Any]:
        """Return the entry for metrics.json: which cases (or slices) chose for which."""
        named = [
            {
                "chosen_by": self._names(fold.chosen_by),
                "reported_on": self._names(fold.reported_on),
            }
            for fold in self.folds
        ]
        everything = self._names(range(len(self.evaluation.planes)))
        return {"unit": self.unit, "parts": named, "kept_weights_chosen_by": everything}

    def _names(self, rows: Sequence[int]) -> list[str]:
        return sorted({_unit_of(self.evaluation.planes[row], self.unit) for row in rows})


def folds_of(planes: Sequence[TrainPlane]) -> tuple[list[Fold], str]:
    """Divide planes so that each is reported with weights that were chosen on others.

    Returns
    -------
    folds : list of Fold
        Every plane is reported in exactly one of them. With six units or more there are two
        folds, each choosing for the other; with fewer, each unit is left out in turn. A single
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
    if len(units) >= MIN_TO_HALVE:
        groups = [[row for one in half for row in one] for half in (units[::2], units[1::2])]
    return [
        Fold([row for other in groups if other is not group for row in other], group)
        for group in groups
    ], unit


def choose_weights(
    evaluator: Evaluator, pair: Pair, evaluation: Evaluation, check: Callable[[], None]
) -> ChosenWeights:
    """Choose the weights of both members by their Dice on held-out planes.

    Parameters
    ----------
    evaluator : Evaluator
    pair : Pair
        With two trained members.
    evaluation : Evaluation
        Counts of its members, from `evaluator`.
    check : callable
        Called before each plane; raises Cancelled.
    """
    classes = len(evaluation.class_names)
    folds, unit = folds_of(evaluation.planes)
    everything = list(range(len(evaluation.planes)))
    choosers = [fold.chosen_by for fold in folds if fold.chosen_by] + [everything]
    choosing = [ChoosingCases(evaluation, rows, unit) for rows in choosers]
    shares = _best_shares(evaluator, pair, choosing, check)
    mixtures = [
        (pair.weighed(own, [guided] * classes), rows)
        for own, rows in zip(shares, choosers, strict=True)
        for guided in (False, True)
    ]
    answers = iter(evaluator.evaluate_mixtures(pair, mixtures, check))
    found = [
        PairWeights(own, _guided(cases, next(answers), next(answers)))
        for own, cases in zip(shares, choosing, strict=True)
    ]
    used = found[:-1] or [PairWeights.equal(classes)]
    reported = [
        (pair.weighed(weights.unet_shares, weights.guided), fold.reported_on)
        for weights, fold in zip(used, folds, strict=True)
    ]
    # Each plane is in exactly one fold: the counts of the others are 0.
    counts = sum(evaluator.evaluate_mixtures(pair, reported, check))
    return ChosenWeights(found[-1], evaluation.with_pair(np.asarray(counts)), folds, unit)


@dataclass(frozen=True, eq=False)
class ChoosingCases:
    """Held-out cases that choose weights, by paired comparisons of pairs on them.

    Attributes
    ----------
    evaluation : Evaluation
    rows : sequence of int
        Rows of their planes.
    unit : {'case', 'slice'}
        What counts as a case.
    """

    evaluation: Evaluation
    rows: Sequence[int]
    unit: str

    def dice(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the Dice (cases, K) of a pair with these counts; NaN for an absent class."""
        rows: dict[str, list[int]] = {}
        for row in self.rows:
            rows.setdefault(_unit_of(self.evaluation.planes[row], self.unit), []).append(row)
        sums = np.stack([counts[own].sum(axis=0) for own in rows.values()])
        total = sums[:, :, 1] + sums[:, :, 2]
        return np.where(total > 0, 2 * sums[:, :, 0] / np.maximum(total, 1), np.nan)

    def lead(self, new: NDArray[np.int64], default: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the lead (K,) of the first of two pairs, per class; 0 if it is not significant.

        It is significant if the mean of the paired differences is more than `STANDARD_ERRORS` times
        its standard error above 0. A single case is never significant.
        """
        differences = self.dice(new) - self.dice(default)
        return np.array([_significant_mean(column[~np.isnan(column)]) for column in differences.T])


def _significant_mean(differences: NDArray[np.float64]) -> float:
    if len(differences) < 2:
        return 0.0
    mean = float(differences.mean())
    error = float(differences.std(ddof=1)) / len(differences) ** 0.5
    return mean if mean > STANDARD_ERRORS * error else 0.0


def _best_shares(
    evaluator: Evaluator,
    pair: Pair,
    choosing: Sequence[ChoosingCases],
    check: Callable[[], None],
) -> list[list[float]]:
    """Return the best weight of the U-Net per class, for each of the choosing sets of cases.

    The default is the weight by inverse squared error. It is replaced by 1 or 0 if one member
    alone is significantly better: a SAM that is often wrong is still confident and would outvote a
    U-Net with the larger weight.
    """
    classes = len(pair.class_ids)
    defaults = [_shares(cases.evaluation.subset(cases.rows), pair.partner) for cases in choosing]
    tried = [(own, [1.0] * classes, [0.0] * classes) for own in defaults]
    mixtures = [
        (pair.weighed(one), cases.rows)
        for options, cases in zip(tried, choosing, strict=True)
        for one in options
    ]
    answers = iter(evaluator.evaluate_mixtures(pair, mixtures, check))
    best = []
    for options, cases in zip(tried, choosing, strict=True):
        default, *others = (next(answers) for _ in options)
        leads = [np.zeros(classes), *(cases.lead(other, default) for other in others)]
        picks = np.argmax(leads, axis=0)  # the default if no other is ahead
        best.append([options[pick][at] for at, pick in enumerate(picks)])
    return best


def _shares(evaluation: Evaluation, partner: str) -> list[float]:
    """Return the U-Net's weight per class; the mean of the others for a class without Dice."""
    scores, names = evaluation.dice(), evaluation.class_names.values()
    known = {
        name: unet_share(scores["unet"][name], scores[partner][name])
        for name in names
        if scores["unet"][name] is not None and scores[partner][name] is not None
    }
    other = float(np.mean(list(known.values()))) if known else 0.5
    return [known.get(name, other) for name in names]


def _guided(
    cases: ChoosingCases, plain: NDArray[np.int64], guided: NDArray[np.int64]
) -> list[bool]:
    """Whether prompting SAM again makes the pair significantly better, per class."""
    return [bool(lead > 0) for lead in cases.lead(guided, plain)]


def _unit_of(plane: TrainPlane, unit: str) -> str:
    return plane.case if unit == "case" else plane.name
