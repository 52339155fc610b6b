"""The current commit of each image, kept in memory and updated from the journal."""

from __future__ import annotations

import threading
from types import MappingProxyType
from typing import TYPE_CHECKING

from napari_scsam.project import parsing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_scsam.project.journal import Event, Journal

_KINDS = ("commit", "revert")


class CurrentLabels:
    """The commits that are current, with their versions and their annotated slices.

    They are read once, and then updated from the events that were added to the journal since.
    The mappings are replaced by each update and never modified, so that a caller may keep them.

    Parameters
    ----------
    journal : Journal
        The project's.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._commits: Mapping[str, Event] = {}
        self._planes: Mapping[str, list[int]] = {}
        # ID of the last event that is included.
        self._last_event = 0

    def commits(self) -> Mapping[str, Event]:
        """The event of the current commit, by image."""
        with self._lock:
            self._update()
            return self._commits

    def planes(self) -> Mapping[str, list[int]]:
        """The slices that are mostly annotated, by image."""
        with self._lock:
            self._update()
            return self._planes

    def _update(self) -> None:
        last = self._journal.last_id()
        if last == self._last_event:
            return
        if self._last_event:
            events: Sequence[Event] = self._journal.events(_KINDS, after=self._last_event)
        else:
            events = self._journal.newest_of_each_image(_KINDS)
        if events:
            self._apply(events)
        self._last_event = last

    def _apply(self, events: Sequence[Event]) -> None:
        commits, planes = dict(self._commits), dict(self._planes)
        for event in events:
            with self._journal.reading(event):
                image = parsing.image_id(event.image)
            commit = self._commit_of(event, image)
            if commit is None:
                commits.pop(image, None)
                planes.pop(image, None)
                continue
            with self._journal.reading(commit) as payload:
                planes[image] = list(parsing.planes(payload["planes"]))
            commits[image] = commit
        self._commits, self._planes = MappingProxyType(commits), MappingProxyType(planes)

    def _commit_of(self, event: Event, image: str) -> Event | None:
        """The commit that is current after an event."""
        with self._journal.reading(event) as payload:
            version = payload["version"]
            if event.kind == "commit" or version is None:
                return event if event.kind == "commit" else None
            version = parsing.number(version, 1)
        return self._journal.commit_event(image, version)
