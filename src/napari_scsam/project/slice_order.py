"""The order in which slices are shown: that of the ranked queue, or that of the list of images."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from napari_scsam.core.geometry import Plane, SliceKey
from napari_scsam.project.image_queue import Finished, neighbour, plane_total
from napari_scsam.project.ranking import queue_stamp, read_queue

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from napari_scsam.project.ranking import QueueEntry, RankedQueue
    from napari_scsam.project.store import Project

# Slices that `SliceOrder.back` returns to. Arbitrary.
MOST_VISITED = 1000


@dataclass(frozen=True)
class Waiting:
    """An image of the ranked queue with a slice that is still to be labelled.

    Attributes
    ----------
    entry : QueueEntry
    position : int
        In the whole queue, from 0.
    plane : int
        The slice to show first, along axis 0; 0 for a two-dimensional image.
    """

    entry: QueueEntry
    position: int
    plane: int


@dataclass(frozen=True, eq=False)
class _Following:
    """A queue that is followed, with what was left since; replaced as a whole, for threads."""

    strategy: str | None = None
    entries: tuple[QueueEntry, ...] = ()
    positions: Mapping[str, int] = field(default_factory=dict)
    left: frozenset[SliceKey] = frozenset()


@dataclass(frozen=True, eq=False)
class _Known:
    """What `SliceOrder.waiting` found last, for the entries of one queue; replaced as a whole."""

    entries: tuple[QueueEntry, ...] = ()
    finished: Finished = field(default_factory=lambda: Finished({}, frozenset()))
    waiting: Mapping[str, Waiting | None] = field(default_factory=dict)


class SliceOrder:
    """Leads through the slices that are still to be labelled; may be used from several threads.

    With a ranked queue the next slice is the next ranked one of the open image, then the first one
    of the best image. What was committed or skipped, or was left since the queue was made, is
    passed over. Without a queue, or at its end, the next slice is that of the list of images.

    Parameters
    ----------
    project : Project
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._following = _Following()
        self._visited: list[SliceKey] = []
        self._stamp: tuple[int, int] | None = None
        self._known = _Known()

    @property
    def is_ranked(self) -> bool:
        """Whether a queue is followed."""
        return bool(self._following.entries)

    @property
    def strategy(self) -> str | None:
        """The strategy of the queue; None if the order is that of the list."""
        return self._following.strategy

    def use(self, queue: RankedQueue | None) -> None:
        """Follow another queue; None for the order of the list.

        Images and slices that the project does not have are left out.
        """
        if queue is None:
            self._following = _Following()
            return
        entries = tuple(_known(self._project, queue.entries))
        positions = {entry.image: at for at, entry in enumerate(entries)}
        self._following = _Following(queue.strategy, entries, positions)

    def refresh(self) -> None:
        """Follow the project's stored queue, if it has changed.

        It can be long, so that the window's thread must not wait for it.
        """
        stamp = queue_stamp(self._project.folder)
        if stamp != self._stamp:
            self._stamp = stamp
            self.use(None if stamp is None else read_queue(self._project.folder))

    def first(self) -> SliceKey | None:
        """The slice most worth labelling; None without a queue, or if nothing of it is left."""
        finished, entries = Finished.of(self._project), self._following.entries
        planes = ((e.image, plane) for e in entries for plane in _left_of(finished, e))
        return next(((image, Plane(0, plane)) for image, plane in planes), None)

    def rank_of(self, image_id: str) -> tuple[QueueEntry, int] | None:
        """Return an image's entry and position in the queue; None if it is not ranked."""
        at = self._following.positions.get(image_id)
        return None if at is None else (self._following.entries[at], at)

    def waiting(self) -> list[Waiting]:
        """The ranked images with a slice that is still to be labelled, in their order.

        An image of which nothing changed is the object that was returned before.
        """
        known, finished = self._known, Finished.of(self._project)
        following = self._following
        entries, positions = following.entries, following.positions
        if known.entries is entries:
            changed = finished.changed_since(known.finished) & positions.keys()
        else:
            known, changed = _Known(), set(positions)
        new = {image: _first_of(finished, entries, positions[image]) for image in changed}
        waiting = {**known.waiting, **new}
        self._known = _Known(entries, finished, waiting)
        return [found for e in entries if (found := waiting[e.image]) is not None]

    def after(self, key: SliceKey) -> SliceKey | None:
        """The slice to show after `key`; None if no other one is open."""
        return next(self._ranked_after(key), None) or neighbour(self._project, key)

    def upcoming(self, key: SliceKey, count: int) -> list[SliceKey]:
        """At most so many slices that will follow `key`, for preparing them."""
        ranked = self._ranked_after(key)
        return [found for _, found in zip(range(count), ranked, strict=False)]

    def leave(self, key: SliceKey) -> None:
        """Pass over a slice from now on, unless nothing else is left; `back` returns to it."""
        now = self._following
        self._following = replace(now, left=now.left | {key})
        self._visited = [*self._visited[1 - MOST_VISITED :], key]

    def back(self, key: SliceKey) -> SliceKey | None:
        """The slice before `key`: in a queue the one that was left last, else the neighbour."""
        while self.is_ranked and self._visited:
            last = self._visited.pop()
            if last != key:
                return last
        return neighbour(self._project, key, -1, only_open=False)

    def _ranked_after(self, key: SliceKey) -> Iterator[SliceKey]:
        """The open slices of the queue: the rest of the present image, then the best ones."""
        following, finished = self._following, Finished.of(self._project)
        here = following.positions.get(key[0])
        own = () if here is None else following.entries[here : here + 1]
        others = (entry for at, entry in enumerate(following.entries) if at != here)
        for entry in (*own, *others):
            for plane in _left_of(finished, entry):
                found = (entry.image, Plane(0, plane))
                if found != key and found not in following.left:
                    yield found


def _first_of(finished: Finished, entries: Sequence[QueueEntry], at: int) -> Waiting | None:
    """The entry of a queue at a position, if a ranked slice of it is still to be labelled."""
    plane = next(_left_of(finished, entries[at]), None)
    return None if plane is None else Waiting(entries[at], at, plane)


def _left_of(finished: Finished, entry: QueueEntry) -> Iterator[int]:
    """The ranked slices of an image that are neither committed nor skipped."""
    committed = finished.committed.get(entry.image, ())
    for plane in _planes(entry):
        if plane not in committed and (entry.image, plane) not in finished.skipped:
            yield plane


def _planes(entry: QueueEntry) -> tuple[int, ...]:
    return entry.planes or (entry.plane or 0,)


def _known(project: Project, entries: Iterable[QueueEntry]) -> Iterator[QueueEntry]:
    """The entries whose slices exist, each image once: the cache may be older than the project."""
    totals = {record.id: plane_total(record) for record in project.images()}
    seen: set[str] = set()
    for entry in entries:
        total = totals.get(entry.image, 0)
        if entry.image not in seen and all(plane < total for plane in _planes(entry)):
            seen.add(entry.image)
            yield entry
