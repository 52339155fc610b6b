"""How a round compares with the one that it started from, on the same held-out planes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scsam_train.splitting import EarlierSplit
from scsam_train.validation_metrics import mean_of

if TYPE_CHECKING:
    from pathlib import Path

    from scsam_train.validation_metrics import Evaluation


def forgetting(now: Evaluation, before: Evaluation, parent: Path) -> dict[str, Any] | None:
    """Compare a round with its parent on planes that were held out of both.

    Parameters
    ----------
    now, before : Evaluation
        Counts of the round and of its parent, on the planes that the round holds out.
    parent : Path
        Folder of the parent.

    Returns
    -------
    dict or None
        ``planes``: how many of these planes the parent held out as well. ``parent`` and
        ``round``: mean Dice of each pair on them. None if there is no such plane, or the parent's
        split can't be read.
    """
    split = EarlierSplit.of_round(parent)
    names = split.held_out - split.train
    now_there, before_there = now.of_planes(names), before.of_planes(names)
    if now_there is None or before_there is None:
        return None
    return {
        "planes": len(now_there.planes),
        "parent": before_there.dice()["pair"]["mean"],
        "round": now_there.dice()["pair"]["mean"],
    }


def comparison(now: Evaluation, before: Evaluation) -> dict[str, Any] | None:
    """Return how much better a round's pair is than its parent's, with the error of that figure.

    Parameters
    ----------
    now, before : Evaluation
        Counts of the round and of its parent on the same planes.

    Returns
    -------
    dict or None
        ``unit``: 'case', or 'slice' if all planes are of one case. ``count`` of units.
        ``difference``: mean over the units of the round's Dice minus the parent's, each the mean of
        the classes that both have. ``standard_error`` of it; None for a single unit. None if there
        is no unit with such a class.
    """
    several = len({plane.case for plane in now.planes}) > 1
    differences = _by_case(now, before) if several else _by_slice(now, before)
    if not differences:
        return None
    count = len(differences)
    error = float(np.std(differences, ddof=1) / np.sqrt(count)) if count > 1 else None
    return {
        "unit": "case" if several else "slice",
        "count": count,
        "difference": float(np.mean(differences)),
        "standard_error": error,
    }


def _by_slice(now: Evaluation, before: Evaluation) -> list[float]:
    rows = range(len(now.planes))
    return [gain for row in rows for gain in _by_case(now.subset([row]), before.subset([row]))]


def _by_case(now: Evaluation, before: Evaluation) -> list[float]:
    """Mean difference of the pair's Dice, for each case with a class that both have a Dice of."""
    gains, earlier = [], before.cases()
    for case, scores in now.cases().items():
        found = zip(scores["pair"].values(), earlier[case]["pair"].values(), strict=True)
        gain = mean_of([new - old for new, old in found if new is not None and old is not None])
        if gain is not None:
            gains.append(gain)
    return gains
