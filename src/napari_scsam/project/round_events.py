"""What the journal says about rounds, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_scsam.project import claims

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari_scsam.project.journal import Journal


@dataclass(frozen=True)
class RoundEvent:
    """One thing that happened to a round.

    Attributes
    ----------
    kind : str
        ``round`` when it was taken in, ``promote`` and ``rollback`` by hand.
    number : int
    reason : str
        For the person.
    promoted : bool
        Whether it became active.
    metrics : dict
        Its ``metrics.json``, of ``round`` alone.
    """

    kind: str
    number: int
    reason: str
    promoted: bool
    metrics: dict[str, Any]


def round_events(journal: Journal) -> list[RoundEvent]:
    """Everything that decides which round is active, in order."""
    found = []
    for event in journal.events(["round", "promote", "rollback"]):
        with journal.reading(event) as payload:
            found.append(_round_event(event.kind, payload))
    return found


def _round_event(kind: str, payload: Mapping[str, Any]) -> RoundEvent:
    taken_in = kind == "round"
    return RoundEvent(
        kind=kind,
        number=claims.number(payload["number"]),
        reason=claims.text(payload["reason"]),
        promoted=claims.flag(payload["promoted"]) if taken_in else kind == "promote",
        metrics=claims.metrics(payload["metrics"]) if taken_in else {},
    )


def begun_rounds(journal: Journal) -> Iterator[int]:
    """Numbers that rounds were begun or taken in with."""
    yield from numbers(journal, ["begin", "round"])


def numbers(journal: Journal, kinds: Sequence[str]) -> Iterator[int]:
    """The rounds that events of some kinds are about."""
    for event in journal.events(kinds):
        with journal.reading(event) as payload:
            yield claims.number(payload["number"])


def active_stack(events: Sequence[RoundEvent]) -> list[int]:
    """Rounds that were active one after the other; the last is, the ones before can be again."""
    stack: list[int] = []
    for event in events:
        if event.kind == "rollback":
            stack = stack[:-1]
        elif event.promoted and stack[-1:] != [event.number]:
            stack.append(event.number)
    return stack
