"""What labelling cost, read from the journal: commits with their prompts, times and rounds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import INVALID
from napari_scsam.project import parsing
from napari_scsam.project.merge_origin import merge_origin
from napari_scsam.project.opinions import MERGE, SECOND
from napari_scsam.project.round_events import RoundEvent, active_stack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from napari_scsam.project.journal import Event

# A longer time between two commits counts as a break, in seconds. Arbitrary.
BREAK_S = 300.0
# Kinds of events with the origin of a label.
SOURCES = ("prompts", SECOND, "drafts", "mask", MERGE)
# Sources of the commits that were made in the window.
IN_WINDOW = ("prompts", "drafts")


@dataclass(frozen=True)
class Step:
    """One commit of a label.

    Attributes
    ----------
    image : str
    version : int
    time : str
        UTC, ISO 8601; where it was made, if it was merged.
    round : int or None
        The round that was active then.
    planes : tuple of int
        Slices that are labelled since then.
    slices : int
        Slices that this commit labelled or changed.
    source : str
        'prompts' (made in the window), 'drafts', 'mask' (from a file), or 'other'.
    actions : int
        Points, boxes, strokes and drawn areas of a person, and suggested points that were changed.
        Points that were rejected are one action together, or none if something was drawn instead.
    suggested : bool
        Whether it was made from points that the models suggested.
    unedited : bool
        Whether all of these were accepted as they were, and nothing was added.
    by : str
        Who made it; empty if nobody was named.
    seconds : float or None
        Since the commit before, or since a slice was skipped; None after a break, if the clock went
        back, and for what was not made in the window.
    """

    image: str
    version: int
    time: str
    round: int | None
    planes: tuple[int, ...]
    source: str
    slices: int = 1
    actions: int = 0
    suggested: bool = False
    unedited: bool = False
    seconds: float | None = None
    by: str = ""


@dataclass(frozen=True)
class Cost:
    """What the slices cost that were labelled in the window.

    Attributes
    ----------
    slices : int
    actions : float or None
        Mean for each slice; None without any.
    seconds : float or None
        Median over the slices of which the time is known; those that were committed together share
        it. None without any.
    """

    slices: int
    actions: float | None
    seconds: float | None


@dataclass(frozen=True)
class Moment:
    """How much was labelled after a commit or its undoing.

    Attributes
    ----------
    time : str
    images, slices : int
    """

    time: str
    images: int
    slices: int


def steps(events: Sequence[Event]) -> list[Step]:
    """Return every commit in order; what can't be read of an event is left out.

    Of the slices of one commit that were merged, the first counts.
    """
    made_from = {(e.image, _version(e)): e for e in events if e.kind in SOURCES}
    rounds = _active_rounds(events)
    found: list[Step] = []
    before: Event | None = None
    for event in events:
        source = made_from.get((event.image, _version(event)))
        origin = None if source is None else merge_origin(source.payload)
        if event.kind == "commit" and (planes := _planes(event)) is not None:
            step = _step(event, source, planes, rounds.get(event.id), before)
            if origin is None:
                found.append(step)
            elif not origin.is_part:
                found.append(
                    replace(step, time=origin.time, round=origin.round, seconds=origin.seconds)
                )
        if event.kind in ("commit", "skip"):
            before = event if origin is None else None
    return found


def cost(made: Iterable[Step]) -> Cost:
    """Return what each slice cost; labels from files are left out."""
    in_window = [step for step in made if step.source in IN_WINDOW]
    slices = sum(step.slices for step in in_window)
    actions = sum(step.actions for step in in_window) / slices if slices else None
    timed = [(step.seconds, step.slices) for step in in_window if step.seconds is not None]
    seconds = [passed / count for passed, count in timed for _ in range(count)]
    return Cost(slices, actions, median(seconds) if seconds else None)


def progress(events: Sequence[Event]) -> list[Moment]:
    """Return how much was labelled after each commit and each undoing."""
    of_version: dict[tuple[str | None, int | None], tuple[int, ...]] = {}
    labelled: dict[str | None, tuple[int, ...]] = {}
    found = []
    for event in events:
        version = _version(event)
        if event.kind == "commit" and (planes := _planes(event)) is not None:
            of_version[event.image, version] = labelled[event.image] = planes
        elif event.kind == "revert":
            labelled[event.image] = of_version.get((event.image, version), ())
        else:
            continue
        slices = sum(map(len, labelled.values()))
        found.append(Moment(event.time, sum(1 for p in labelled.values() if p), slices))
    return found


def elapsed(times: Iterable[str]) -> list[float]:
    """Return the seconds that have passed at each time; none pass while the clock goes back."""
    found, passed, before = [], 0.0, None
    for text in times:
        time = _parsed(text)
        if time is not None:
            passed += 0.0 if before is None else max((time - before).total_seconds(), 0.0)
            before = time
        found.append(passed)
    return found


def _parsed(text: str) -> datetime | None:
    """Return a time, in UTC if it has no zone; None if it is none."""
    try:
        time = datetime.fromisoformat(text)
    except (ValueError, TypeError):
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _step(
    event: Event,
    source: Event | None,
    planes: tuple[int, ...],
    active: int | None,
    before: Event | None,
) -> Step:
    kind = "other" if source is None or source.kind == MERGE else source.kind
    kind = "prompts" if kind == SECOND else kind
    points = [] if source is None else list(_tables(source.payload.get("points")))
    others = () if source is None else ("boxes", "strokes", "drawn")
    drawn = sum(len(list(_tables(source.payload.get(name)))) for name in others if source)
    proposed = [p for p in points if p.get("origin") == "model"]
    # Questions that were left open stay "proposed".
    edited = [p for p in proposed if p.get("state") == "edited"]
    rejected = any(p.get("state") == "rejected" for p in proposed)
    own = len(points) - len(proposed) + drawn
    # One key rejects all points of a suggestion, and what is drawn in their place does so itself.
    changes = len(edited) + int(rejected and not own)
    together = [] if source is None else source.payload.get("planes")
    return Step(
        image=event.image or "",
        version=_version(event) or 0,
        time=event.time,
        round=active,
        planes=planes,
        source=kind,
        slices=max(len(list(_tables(together))), 1),
        actions=own + changes,
        suggested=bool(proposed),
        unedited=bool(proposed) and not (edited or rejected or own),
        seconds=_seconds(before, event) if kind in IN_WINDOW else None,
        by=str(event.payload.get("by", "")),
    )


def _active_rounds(events: Iterable[Event]) -> dict[int, int]:
    """Return the round that was active at each commit, by the id of its event."""
    changes: list[RoundEvent] = []
    active: int | None = None
    found: dict[int, int] = {}
    for event in events:
        if event.kind == "commit" and active is not None:
            found[event.id] = active
        change = _round_change(event)
        if change is not None:
            changes.append(change)
            active = next(iter(active_stack(changes)[-1:]), None)
    return found


def _round_change(event: Event) -> RoundEvent | None:
    if event.kind not in ("round", "promote", "rollback"):
        return None
    try:
        number = parsing.number(event.payload["number"])
    except INVALID:
        return None
    promoted = event.kind == "promote" or event.payload.get("promoted") is True
    return RoundEvent(event.kind, number, "", promoted, {})


def _version(event: Event) -> int | None:
    value = event.payload.get("version")
    return value if isinstance(value, int) else None


def _planes(event: Event) -> tuple[int, ...] | None:
    """Slices that a commit leaves labelled; None if it can't be read."""
    try:
        return parsing.planes(event.payload["planes"])
    except INVALID:
        return None


def _tables(value: object) -> Iterator[Mapping[str, Any]]:
    items = value if isinstance(value, list) else []
    return (item for item in items if isinstance(item, dict))


def _seconds(before: Event | None, event: Event) -> float | None:
    if before is None:
        return None
    earlier, later = _parsed(before.time), _parsed(event.time)
    if earlier is None or later is None:
        return None
    seconds = (later - earlier).total_seconds()
    return seconds if 0 <= seconds <= BREAK_S else None
