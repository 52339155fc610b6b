"""The append-only journal of a project: a table of events in SQLite, and queries on it."""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from napari_scsam.core.annotator import annotator_name
from napari_scsam.core.errors import DamagedError, ProjectError
from napari_scsam.io.atomic import atomic_write
from napari_scsam.io.real_files import parse_json
from napari_scsam.project import parsing
from napari_scsam.project.backups import (
    back_up,
    backed_up_to,
    clear_errors,
    connect,
    connect_to_verify,
    damaged,
    forget_damage,
    has_backup,
    is_damage_noted,
    newest_good,
    note_damage,
)
from napari_scsam.project.hash_chain import (
    ALL,
    NEWEST,
    add_hashes,
    find_broken_link,
    find_damage,
    last_hash,
)
from napari_scsam.project.journal_schema import EVENTS_SQL, HASHES_SQL, add_feature, check_schema

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

# Events that are verified at most when a journal without a backup is opened (arbitrary: a second).
# The others are verified in the background.
_MOST_AT_OPENING = 200_000
# Kind, payload and image of an event to add.
NewEvent = tuple[str, Mapping[str, Any], str | None]


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes
    ----------
    id : int
        Increasing in the order of events.
    time : str
        UTC, ISO 8601.
    kind : str
        Such as ``commit``.
    image : str or None
        The image that it is about.
    payload : dict
        Its content, in plain JSON values.
    """

    id: int
    time: str
    kind: str
    image: str | None
    payload: dict[str, Any]


class Journal:
    """An open journal; safe to use from several threads.

    Parameters
    ----------
    path : Path
        An existing journal file.
    read_only : bool
        Refuse every change. The unfinished transaction of a crashed writer is still rolled
        back if the file can be written.

    Attributes
    ----------
    damage : str
        What is wrong with a damaged journal that was opened read-only; the undamaged events
        are then in memory. Empty otherwise.
    hashed_to : int
        ID of the last event with a hash when it was opened. Later events are of version 0.1.0.
    author : str
        Who makes the commits, which each of them records; empty if nobody is named.

    Raises
    ------
    ProjectError
        If the file is missing, not ours or of a newer version.
    DamagedError
        If it is damaged, and not opened read-only, or no event can be read.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        self._lock = threading.RLock()
        # The number of events of a kind, up to the ID of an event.
        self._counts: dict[str, tuple[int, int]] = {}
        self.damage = ""
        self.author = annotator_name()
        self._read_only = read_only
        if not path.is_file():
            raise ProjectError(f"The project has lost its journal: there is no {path}.")
        try:
            self._connection = _opened(path, read_only=read_only)
        except DamagedError as exc:
            if not read_only:
                raise
            self.damage = str(exc)
            self._connection = newest_good(path)
        # ID of the last event that a version with hashes wrote; the others are of version 0.1.0.
        self.hashed_to = last_hash(self._connection)
        # Closes the file even if close() is never called.
        self._finalizer = weakref.finalize(self, self._connection.close)
        if read_only:
            self._connection.execute("PRAGMA query_only = ON")

    @classmethod
    def create(cls, path: Path) -> Journal:
        """Create an empty journal at `path` and open it."""
        with (
            clear_errors(path),
            atomic_write(path) as temporary,
            closing(connect(temporary)) as connection,
        ):
            connection.executescript(EVENTS_SQL + HASHES_SQL)
        return cls(path)

    @property
    def folder(self) -> Path:
        """The project folder."""
        return self._path.parent

    def close(self) -> None:
        """Close the file, after what other threads read or write; it may be closed already."""
        # SQLite crashes if a connection is closed while another thread uses it.
        with self._lock:
            self._finalizer()

    def append(self, kind: str, payload: Mapping[str, Any], image: str | None = None) -> Event:
        """Add one event; it is durable when this returns."""
        return self.append_all([(kind, payload, image)])[0]

    def append_all(self, items: Iterable[NewEvent], feature: int = 0) -> list[Event]:
        """Add all events in one transaction, or none of them.

        Programs that don't know the `feature` (`journal_schema.SLICES`) of the events can't open
        the journal from then on.
        """
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        events = []
        if self.damage and not self._read_only:
            raise DamagedError(self.damage)
        with self._lock, clear_errors(self._path), self._transaction() as connection:
            for kind, content, image in items:
                payload = self._signed(kind, content)
                row = connection.execute(
                    "INSERT INTO events (time, kind, image, payload) VALUES (?, ?, ?, ?)",
                    (time, kind, image, json.dumps(payload)),
                )
                events.append(Event(int(row.lastrowid or 0), time, kind, image, dict(payload)))
            add_hashes(connection)
            add_feature(connection, feature)
        return events

    def _signed(self, kind: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """The payload of an event; that of a commit says who made it."""
        signs = kind == "commit" and self.author
        return {**payload, "by": self.author} if signs else payload

    def events(
        self, kinds: Sequence[str] = (), image: str | None = None, *, after: int = 0
    ) -> list[Event]:
        """Events in their order, optionally of some kinds, about one image, or after an ID."""
        return list(self.iterate(kinds, image, after=after))

    def iterate(
        self, kinds: Sequence[str] = (), image: str | None = None, *, after: int = 0
    ) -> Iterator[Event]:
        """`events`, read now and parsed one by one, so that few are in memory at a time."""
        conditions = ["id > ?"]
        values: list[Any] = [after, *kinds]
        if kinds:
            # The plus keeps SQLite from using the index, where only the newest events are read.
            column = "+kind" if after else "kind"
            conditions.append(f"{column} IN ({', '.join('?' * len(kinds))})")
        if image is not None:
            conditions.append("image = ?")
            values.append(image)
        return self._iterate(f"{' AND '.join(conditions)} ORDER BY id", values)

    def last_id(self) -> int:
        """The ID of the newest event; 0 without any."""
        return self._scalar("SELECT coalesce(max(id), 0) FROM events")

    def last(self, kind: str, image: str) -> Event | None:
        """The newest event of a kind about one image."""
        found = self._events("image = ? AND kind = ? ORDER BY id DESC LIMIT 1", [image, kind])
        return found[0] if found else None

    def commit_event(self, image: str, version: int) -> Event | None:
        """The event of one committed version of an image's label."""
        found = self._events(
            "kind = 'commit' AND image = ? AND json_extract(payload, '$.version') = ?",
            [image, version],
        )
        return found[0] if found else None

    def count(self, kind: str) -> int:
        """The number of events of a kind; only the events since the last call are counted."""
        last = self.last_id()
        with self._lock:
            count, seen = self._counts.get(kind, (0, 0))
            column = "+kind" if seen else "kind"
            query = f"SELECT count(*) FROM events WHERE id > ? AND id <= ? AND {column} = ?"
            count += self._scalar(query, [seen, last, kind])
            self._counts[kind] = (count, last)
            return count

    def newest_of_each_image(self, kinds: Sequence[str]) -> list[Event]:
        """The newest event of some kinds, of every image that has one."""
        newest = (
            f"SELECT max(id) FROM events WHERE kind IN ({', '.join('?' * len(kinds))}) "
            "GROUP BY image"
        )
        return self._events(f"id IN ({newest}) ORDER BY id", kinds)

    def has_commit_without(self, key: str, *, after: int) -> bool:
        """Whether the payload of a commit after the event of ID `after` lacks `key`."""
        found = self._rows(
            "SELECT 1 FROM events WHERE kind = 'commit' AND id > ? "
            "AND json_extract(payload, '$.' || ?) IS NULL LIMIT 1",
            [after, key],
        )
        return bool(found)

    def back_up(self) -> None:
        """Make a verified backup; see `backups.back_up`."""
        with self._lock, clear_errors(self._path):
            back_up(self._connection, self._path)

    def back_up_slowly(self, pause: Callable[[], None]) -> None:
        """Verify all events, and make a backup of new ones, while other threads write.

        Parameters
        ----------
        pause : callable
            Called now and then; it may sleep, or raise to stop.

        Raises
        ------
        DamagedError
            If an event is damaged. From then on, `append` refuses to add events.
        ProjectError
            If the disk is full, or the backups folder can't be used.
        """
        with clear_errors(self._path), closing(connect_to_verify(self._path)) as connection:
            try:
                if not has_backup(connection, self._path):
                    back_up(connection, self._path, pause)
                elif fault := find_broken_link(connection, pause=pause):
                    raise damaged(self._path, fault)
            except DamagedError as exc:
                self.damage = str(exc)
                note_damage(self._path, self.damage)
                raise

    def _events(self, condition: str, values: Sequence[Any] = ()) -> list[Event]:
        return list(self._iterate(condition, values))

    def _iterate(self, condition: str, values: Sequence[Any] = ()) -> Iterator[Event]:
        columns = "id, time, kind, image, payload"
        rows = self._rows(f"SELECT {columns} FROM events WHERE {condition}", values)
        return (self._to_event(*row) for row in rows)

    def _to_event(self, number: Any, time: Any, kind: Any, image: Any, payload: Any) -> Event:
        with parsing.reading(f"event {number}", self._path):
            return Event(
                id=parsing.number(number),
                time=parsing.text(time),
                kind=parsing.text(kind),
                image=None if image is None else parsing.text(image),
                payload=parsing.table(parse_json(parsing.text(payload))),
            )

    def reading(self, event: Event) -> parsing.Reading[dict[str, Any]]:
        """Give an event's payload, and name the event in parsing errors."""
        return parsing.Reading(f"event {event.id} ({event.kind})", self._path, event.payload)

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock, clear_errors(self._path):
            return self._connection.execute(sql, values).fetchall()

    def _scalar(self, sql: str, values: Sequence[Any] = ()) -> int:
        return int(self._rows(sql, values)[0][0])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def _opened(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Connect to a journal whose schema is ours and that is not damaged."""
    with clear_errors(path):
        connection = connect(path)
        try:
            connection.execute("PRAGMA journal_mode = TRUNCATE")
            connection.execute("PRAGMA synchronous = EXTRA")
            check_schema(connection, path)
            # One snapshot, since another program may add an event in the meantime.
            connection.execute("BEGIN")
            fault = _damage_at_opening(connection, path)
            connection.execute("COMMIT")
            if fault:
                raise damaged(path, fault)
            if not read_only:
                forget_damage(path)
        except BaseException:
            connection.close()
            raise
    return connection


def _damage_at_opening(connection: sqlite3.Connection, path: Path) -> str:
    """Verify the events since the last backup, and at least the newest ones."""
    if is_damage_noted(path):
        return find_damage(connection, ALL)
    last = connection.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0]
    since_backup = last - backed_up_to(connection, path)
    if since_backup <= NEWEST:
        return find_damage(connection)
    return find_damage(connection, min(since_backup, _MOST_AT_OPENING))
