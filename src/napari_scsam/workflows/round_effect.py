"""What the newest round changed: Dice on held-out slices, accepted suggestions, and effort."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_scsam.rounds.shown_rounds import class_changes
from napari_scsam.workflows.acceptance import accepted_share
from napari_scsam.workflows.effort import IN_WINDOW, cost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_scsam.project import RoundRecord
    from napari_scsam.workflows.effort import Cost, Step


def round_effect(rounds: Sequence[RoundRecord], made: Sequence[Step]) -> str:
    """Describe the newest round in one line; empty before the first.

    Such as "Round 3: LV 0.91 (+0.02), RV 0.84 (-0.01) on 4 held-out cases. Suggestions accepted
    unedited: 41 % of 22 before, 62 % of 18 since. Actions a slice 4.1 → 1.6, seconds a slice 21 → 9
    (30 slices before, 18 since)."

    Parameters
    ----------
    rounds : sequence of RoundRecord
        All of the project.
    made : sequence of Step
        All commits of the project.
    """
    if not rounds:
        return ""
    active = next((record.number for record in rounds if record.active), None)
    suggested = [step for step in made if step.suggested]
    in_window = [step for step in made if step.source in IN_WINDOW]
    words = [
        _dice_text(rounds[-1]),
        _acceptance_text(*_before_and_since(suggested, active)),
        _effort_text(*map(cost, _before_and_since(in_window, active))),
    ]
    return " ".join(filter(None, words))


def _dice_text(record: RoundRecord) -> str:
    """The Dice of each class on held-out slices, with the change since the round before."""
    changes = class_changes(record)
    if not changes:
        return f"Round {record.number}: nothing was held out to check it on."
    validation = record.metrics.get("validation") or {}
    cases = validation.get("cases")
    where = "held-out slices" if not cases else f"{cases} held-out case{'' if cases == 1 else 's'}"
    stays = "" if record.active else " It did not become active."
    return f"Round {record.number}: {changes} on {where}.{stays}"


def _before_and_since(
    made: Sequence[Step], active: int | None
) -> tuple[Sequence[Step], Sequence[Step]]:
    """Commits of the last other round with any, and those of the active one.

    All earlier ones together would hide what a round changed.
    """
    earlier = [step.round for step in made if step.round != active]
    before = [step for step in made if earlier and step.round == earlier[-1]]
    return before, [step for step in made if step.round == active]


def _acceptance_text(before: Sequence[Step], since: Sequence[Step]) -> str:
    """Suggestions accepted unedited before and since the active round."""
    parts = [
        f"{round(100 * share)} % of {len(own)} {when}"
        for own, when in ((before, "before"), (since, "since"))
        if (share := accepted_share(own)) is not None
    ]
    return f"Suggestions accepted unedited: {', '.join(parts)}." if parts else ""


def _effort_text(before: Cost, since: Cost) -> str:
    """Actions and seconds a slice before and since the active round; empty without both."""
    parts = []
    if before.actions is not None and since.actions is not None:
        parts.append(f"actions a slice {before.actions:.1f} → {since.actions:.1f}")
    if before.seconds is not None and since.seconds is not None:
        parts.append(f"seconds a slice {before.seconds:.0f} → {since.seconds:.0f}")
    if not parts:
        return ""
    text = ", ".join(parts).capitalize()
    many = "slice" if before.slices == 1 else "slices"
    return f"{text} ({before.slices} {many} before, {since.slices} since)."
