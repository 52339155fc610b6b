"""Confidence intervals of the difference of two candidates: over seeds, and over cases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from scsam_train.benchmark.scoring import mean_dice, reported

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Confidence level of all intervals, by convention.
CONFIDENCE = 0.95
# Of the bootstrap; with a hundred cases the ends of an interval vary by less than 0.001 between
# random seeds.
RESAMPLES = 9_999

Interval = tuple[float, float]


def answer(dice: Mapping[str, float], member: str) -> float | None:
    """Return the Dice of a member; if only one was trained, it also counts as the pair."""
    if member == "pair" and "pair" not in dice and len(dice) == 1:
        return next(iter(dice.values()))
    return dice.get(member)


def by_seed(mine: Mapping[str, Any], base: Mapping[str, Any], member: str) -> list[float]:
    """Return the differences of two candidates' mean Dice, for each seed that both have.

    Parameters
    ----------
    mine, base : mapping of str to dict
        Records by seed.
    member : str
        One of `scoring.COLUMNS`.
    """
    found = []
    for seed in mine:
        if seed in base:
            values = (answer(run[seed]["dice"], member) for run in (mine, base))
            found.append(_minus(*values))
    return [value for value in found if value is not None]


def by_case(mine: Mapping[str, Any], base: Mapping[str, Any], member: str) -> dict[str, float]:
    """Return the differences of two candidates' Dice by case, averaged over their common seeds."""
    found: dict[str, list[float]] = {}
    for seed in mine:
        if seed not in base:
            continue
        both = set(reported(mine[seed])) & set(reported(base[seed]))
        for case in sorted(both):
            values = (answer(mean_dice(run[seed]["cases"], [case]), member) for run in (mine, base))
            difference = _minus(*values)
            if difference is not None:
                found.setdefault(case, []).append(difference)
    return {case: float(np.mean(values)) for case, values in sorted(found.items())}


def over_seeds(differences: Sequence[float]) -> Interval | None:
    """Return Student's 95 % t interval of the mean; None for fewer than two values.

    It reflects other draws of labels, initial weights and order, on the same cases.
    """
    count = len(differences)
    if count < 2:
        return None
    half = stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * np.std(differences, ddof=1)
    mean = np.mean(differences)
    return float(mean - half / np.sqrt(count)), float(mean + half / np.sqrt(count))


def over_cases(differences: Sequence[float]) -> Interval | None:
    """Return the 95 % percentile bootstrap interval of the mean; None for fewer than two cases.

    Efron and Tibshirani, An introduction to the bootstrap, 1993, chapter 13. It reflects other
    cases, with the same runs.
    """
    if len(differences) < 2:
        return None
    found = stats.bootstrap(
        (np.asarray(differences),),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def _minus(mine: float | None, base: float | None) -> float | None:
    return None if mine is None or base is None else mine - base
