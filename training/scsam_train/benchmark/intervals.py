"""How sure a difference of two candidates is: over seeds, and over cases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from scsam_train.benchmark.scoring import mean_dice, reported

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONFIDENCE = 0.95
# Of the bootstrap; the ends of an interval of a hundred cases move by less than .001 from one
# seed of its draws to another.
RESAMPLES = 9_999

Interval = tuple[float, float]


def answer(dice: Mapping[str, float], member: str) -> float | None:
    """Dice of a member; where one alone was trained, it is the pair's answer."""
    if member == "pair" and "pair" not in dice and len(dice) == 1:
        return next(iter(dice.values()))
    return dice.get(member)


def by_seed(mine: Mapping[str, Any], base: Mapping[str, Any], member: str) -> list[float]:
    """Differences of two candidates' mean Dice, of each seed that both have.

    Parameters
    ----------
    mine, base : mapping of str to dict
        Records by seed.
    member : str
        Of `scoring.COLUMNS`.
    """
    found = []
    for seed in mine:
        if seed in base:
            values = (answer(run[seed]["dice"], member) for run in (mine, base))
            found.append(_minus(*values))
    return [value for value in found if value is not None]


def by_case(mine: Mapping[str, Any], base: Mapping[str, Any], member: str) -> dict[str, float]:
    """Differences of two candidates' Dice by case, each a mean over the seeds that report it."""
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
    """Student's t interval of 95 % of the mean; None for fewer than two.

    It tells what other draws of labels, first weights and order would give, on these cases.
    """
    count = len(differences)
    if count < 2:
        return None
    half = stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * np.std(differences, ddof=1)
    mean = np.mean(differences)
    return float(mean - half / np.sqrt(count)), float(mean + half / np.sqrt(count))


def over_cases(differences: Sequence[float]) -> Interval | None:
    """Percentile bootstrap of 95 % of the mean over cases; None for fewer than two.

    Efron and Tibshirani, An introduction to the bootstrap, 1993, chapter 13. It tells what other
    cases would give, with these runs.
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
