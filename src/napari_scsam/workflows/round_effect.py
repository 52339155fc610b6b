"""What the newest round changed: Dice by class on held-out slices, accepted suggestions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from napari_scsam.workflows.effort import steps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_scsam.project import Project, RoundRecord
    from napari_scsam.workflows.effort import Step


def round_effect(project: Project) -> str:
    """Describe the newest round in one line; empty before the first. Not for the window's thread.

    Such as "Round 3: LV 0.91 (+0.02), RV 0.84 (-0.01) on 4 held-out cases. Suggestions accepted
    unedited: 41 % of 22 before, 62 % of 18 since."
    """
    rounds = project.rounds()
    if not rounds:
        return ""
    words = [_dice_text(rounds[-1])]
    active = next((record.number for record in rounds if record.active), None)
    words.append(_acceptance_text(steps(project.events()), active))
    return " ".join(filter(None, words))


def _dice_text(record: RoundRecord) -> str:
    """The Dice of each class on held-out slices, with the change since the round before."""
    now = _pair(record.metrics.get("dice"))
    before = _pair(record.metrics.get("parent"))
    classes = [_class_text(name, now[name], before.get(name)) for name in now if name != "mean"]
    if not classes:
        return f"Round {record.number}: nothing was held out to check it on."
    validation = record.metrics.get("validation") or {}
    cases = validation.get("cases")
    where = "held-out slices" if not cases else f"{cases} held-out case{'' if cases == 1 else 's'}"
    stays = "" if record.active else " It did not become active."
    return f"Round {record.number}: {', '.join(classes)} on {where}.{stays}"


def _class_text(name: str, now: float, before: float | None) -> str:
    text = f"{name} {now:.2f}"
    return text if before is None else f"{text} ({now - before:+.2f})"


def _pair(dice: Any) -> Mapping[str, float]:
    """The Dice of both models together, by class; without those that were not measured."""
    found = dice.get("pair") if isinstance(dice, dict) else None
    return {
        str(name): float(value)
        for name, value in (found or {}).items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


def _acceptance_text(made: Sequence[Step], active: int | None) -> str:
    """Suggestions accepted unedited before and since the active round."""
    suggested = [step for step in made if step.suggested]
    since = [step for step in suggested if step.round == active]
    earlier = [step.round for step in suggested if step.round != active]
    # The last one that made suggestions: a share over all would hide what a round changed.
    before = [s for s in suggested if earlier and s.round == earlier[-1]]
    parts = [
        f"{_percent(own)} of {len(own)} {when}"
        for own, when in ((before, "before"), (since, "since"))
        if own
    ]
    return f"Suggestions accepted unedited: {', '.join(parts)}." if parts else ""


def _percent(made: Sequence[Step]) -> str:
    return f"{round(100 * sum(step.unedited for step in made) / len(made))} %"
