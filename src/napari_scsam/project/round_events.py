"""The journal's events about rounds, parsed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_scsam.project import parsing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari_scsam.project.journal import Journal


@dataclass(frozen=True)
class RoundEvent:
    """One thing that happened to a round.

    Attributes
    ----------
    kind : str
        ``round`` when a finished round was added, ``promote`` and ``rollback`` for a
        person's choice.
    number : int
    reason : str
        For the user.
    promoted : bool
        Whether it became active.
    metrics : dict
        Its ``metrics.json``; empty unless the kind is ``round``.
    """

    kind: str
    number: int
    reason: str
    promoted: bool
    metrics: dict[str, Any]


def round_events(journal: Journal) -> list[RoundEvent]:
    """The events that decide which round is active, in order."""
    found = []
    for event in journal.events(["round", "promote", "rollback"]):
        with journal.reading(event) as payload:
            found.append(_round_event(event.kind, payload))
    return found


def _round_event(kind: str, payload: Mapping[str, Any]) -> RoundEvent:
    finished = kind == "round"
    return RoundEvent(
        kind=kind,
        number=parsing.number(payload["number"]),
        reason=parsing.text(payload["reason"]),
        promoted=parsing.flag(payload["promoted"]) if finished else kind == "promote",
        metrics=parsing.metrics(payload["metrics"]) if finished else {},
    )


def begun_rounds(journal: Journal) -> Iterator[int]:
    """The numbers of all rounds that were begun or finished."""
    yield from numbers(journal, ["begin", "round"])


def numbers(journal: Journal, kinds: Sequence[str]) -> Iterator[int]:
    """The round numbers of the events of some kinds."""
    for event in journal.events(kinds):
        with journal.reading(event) as payload:
            yield parsing.number(payload["number"])


def active_stack(events: Sequence[RoundEvent]) -> list[int]:
    """The rounds that were active one after the other; the last one is active now."""
    stack: list[int] = []
    for event in events:
        if event.kind == "rollback":
            stack = stack[:-1]
        elif event.promoted and stack[-1:] != [event.number]:
            stack.append(event.number)
    return stack
