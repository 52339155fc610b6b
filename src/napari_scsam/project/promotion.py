"""Whether a finished round becomes the active one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from napari_scsam.core.settings import DICE_TIE

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

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
        True for the first round, for one without held-out cases to validate on, for one that
        shares no class with its parent, and for one whose mean Dice over the classes that both know
        is at least its parent's on the same slices, or less by no more than `STANDARD_ERRORS` of
        the mean difference over the held-out cases.
    reason : str
        One line for the user.
    """
    if active is None:
        return True, f"Round {number} is the first: now active."
    if not metrics["gated"]:
        why = metrics.get("reason") or "no case was held out"
        return True, f"Round {number} was not checked against round {active} ({why}): now active."
    if metrics.get("parent") is not None and not _by_class(metrics["parent"]):
        return True, (
            f"Round {number} could not be compared with round {active}, as they share no class: "
            "now active."
        )
    promoted, reason = _compare(number, metrics, active)
    return promoted, reason + _new_classes_text(metrics)


def _compare(number: int, metrics: Mapping[str, Any], active: int) -> tuple[bool, str]:
    """Judge a round by the mean Dice over the classes that its parent knows as well."""
    shared = _by_class(metrics.get("parent"))
    new, old = _mean_dice(metrics["dice"], shared), _mean_dice(metrics.get("parent"), shared)
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


def _new_classes_text(metrics: Mapping[str, Any]) -> str:
    """Name the classes that only the new round knows, in a sentence; empty without any."""
    if metrics.get("parent") is None:
        return ""
    known = {*_by_class(metrics["parent"]), *(metrics.get("unknown_classes") or ())}
    new = [name for name in _by_class(metrics["dice"]) if name not in known]
    return f" New, so not compared: {', '.join(new)}." if new else ""


def _by_class(dice: Mapping[str, Any] | None) -> dict[str, float | None]:
    """Return the pair's Dice by class; None for a class that no held-out case has."""
    found = dict((dice or {}).get("pair") or {})
    found.pop("mean", None)
    return found


def _mean_dice(dice: Mapping[str, Any] | None, classes: Container[str]) -> float | None:
    """Return the pair's mean Dice over these classes; None if there is no finite one."""
    found = [
        float(value)
        for name, value in _by_class(dice).items()
        if name in classes and value is not None
    ]
    mean = sum(found) / len(found) if found else math.nan
    return mean if math.isfinite(mean) else None
