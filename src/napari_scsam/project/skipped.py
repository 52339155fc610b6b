"""Slices that a person skipped, to be shown again later."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from napari_scsam.project import parsing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_scsam.project.journal import Event, Journal


class SkippedSlices:
    """The skipped slices, kept in memory and updated from the journal.

    Parameters
    ----------
    journal : Journal
        The project's.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        # Image ID and slice; a dictionary, to keep their order.
        self._waiting: dict[tuple[str, int], None] = {}
        # ID of the last event that is included.
        self._last_event = 0

    def all(self) -> list[tuple[str, int]]:
        """(image ID, slice) of slices skipped and not committed since, the oldest first."""
        last = self._journal.last_id()
        with self._lock:
            if last != self._last_event:
                self._apply(self._new_events())
                self._last_event = last
            return list(self._waiting)

    def _new_events(self) -> list[Event]:
        """Skips, and commits of images that have any; of all commits there may be a million."""
        if self._last_event:
            return self._journal.events(["skip", "commit"], after=self._last_event)
        events = self._journal.events(["skip"])
        for image in {event.image for event in events}:
            events += self._journal.events(["commit"], image)
        return sorted(events, key=lambda event: event.id)

    def _apply(self, events: Iterable[Event]) -> None:
        waiting = dict(self._waiting)
        for event in events:
            with self._journal.reading(event) as payload:
                image, plane = parsing.image_id(event.image), parsing.plane(payload["plane"])
                if event.kind == "skip":
                    waiting[image, parsing.number(plane)] = None
                    continue
                done = parsing.planes(payload["planes"]) if plane is None else (plane,)
            for index in done:
                waiting.pop((image, index), None)
        self._waiting = waiting
