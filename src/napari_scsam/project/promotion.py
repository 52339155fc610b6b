"""Whether a finished round becomes the active one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from napari_scsam.core.settings import DICE_TIE

if TYPE_CHECKING:
    from collections.abc import Mapping

# A round is worse than its parent if the mean paired difference is below zero by more standard
# errors than this; two correspond to a 95 % interval. What few cases can tell:
# docs/explanation/rounds.md.
STANDARD_ERRORS = 2.0


def judge(number: int, metrics: Mapping[str, Any], active: int | None) -> tuple[bool, str]:
    """Decide whether a finished round becomes active, and give the reason.

    Parameters
    ----------
    number : int
        The finished round.
    metrics : mapping
        Its ``metrics.json``.
    active : int or None
        The round that is active now.

    Returns
    -------
    promoted : bool
        True for the first round, for one without held-out cases to validate on, and for one
        whose mean Dice is at least its parent's on the same slices, or less by no more than
        `STANDARD_ERRORS` of the mean difference over the held-out cases.
    reason : str
        One line for the user.
    """
    if active is None:
        return True, f"Round {number} is the first: now active."
    if not metrics["gated"]:
        why = metrics.get("reason") or "no case was held out"
        return True, f"Round {number} was not checked against round {active} ({why}): now active."
    new, old = _mean_dice(metrics["dice"]), _mean_dice(metrics.get("parent"))
    count = int(metrics["validation"]["cases"])
    cases = f"{count} held-out case{'' if count == 1 else 's'}"
    if new is None or old is None:
        return False, (
            f"Round {number} could not be compared with round {active} on {cases}; "
            f"round {active} stays active."
        )
    if abs(new - old) <= DICE_TIE:
        return True, f"Round {number} is as good as before ({new:.2f} Dice on {cases}): now active."
    digits = 2 if abs(new - old) >= 0.01 else 4
    if new > old:
        gain = f"{new - old:.{digits}f}"
        return True, f"Round {number} is better by {gain} Dice on {cases}: now active."
    both = f"{new:.{digits}f} against {old:.{digits}f} Dice on {cases}"
    if _may_be_chance(metrics.get("comparison")):
        return True, f"Round {number} is not clearly worse ({both}): now active."
    return False, f"Round {number} was not better ({both}); round {active} stays active."


def not_compared(number: int, active: int) -> str:
    """Why a round that does not go on from the active one is not promoted, in one line."""
    return (
        f"Round {number} was not compared with round {active}, which stays active: to use it, "
        f"make it active (rounds --promote {number})."
    )


def _may_be_chance(comparison: Mapping[str, Any] | None) -> bool:
    """Whether the mean difference to the parent is within its error; False if that is unknown."""
    error = (comparison or {}).get("standard_error")
    if comparison is None or error is None:
        return False
    return bool(comparison["difference"] >= -STANDARD_ERRORS * error)


def _mean_dice(dice: Mapping[str, Any] | None) -> float | None:
    value = ((dice or {}).get("pair") or {}).get("mean")
    return float(value) if value is not None and math.isfinite(value) else None
