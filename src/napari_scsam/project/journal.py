"""The append-only journal of a project: one SQLite table of events, and what is read from it."""

from __future__ import annotations

import json
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import ProjectError
from napari_scsam.io.atomic import atomic_write, make_folder
from napari_scsam.project.schema import SCHEMA, refuse_newer

if TYPE_CHECKING:
    from pathlib import Path

_SCHEMA_SQL = f"""
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time TEXT NOT NULL,
    kind TEXT NOT NULL,
    image TEXT,
    payload TEXT NOT NULL
);
CREATE INDEX events_of ON events (kind, image);
CREATE TRIGGER events_stay BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;
CREATE TRIGGER events_remain BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'events are never deleted'); END;
CREATE VIEW current_labels AS
    SELECT image, json_extract(payload, '$.version') AS version FROM events
    WHERE version IS NOT NULL AND id IN (
        SELECT max(id) FROM events WHERE kind IN ('commit', 'revert') GROUP BY image
    );
PRAGMA user_version = {SCHEMA};
"""
# Arbitrary.
_KEPT_BACKUPS = 3
# Kind, payload and image of an event that is to be added.
Noted = tuple[str, Mapping[str, Any], str | None]


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes
    ----------
    id : int
        Rising in the order of events.
    time : str
        UTC, ISO 8601.
    kind : str
        Such as ``commit``.
    image : str or None
        The image that it is about.
    payload : dict
        What it says; plain JSON values.
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
        Refuse every change. A left-over of a crashed writer is still rolled back,
        where the file may be written.

    Raises
    ------
    ProjectError
        If the file is missing, damaged or of a newer version.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        self._lock = threading.RLock()
        if not path.is_file():
            raise ProjectError(f"The project has lost its journal: there is no {path}.")
        with _clear_errors(path):
            self._connection = _connect(path)
            # Closes the file even when nobody called close().
            self._finalizer = weakref.finalize(self, self._connection.close)
            self._connection.execute("PRAGMA journal_mode = TRUNCATE")
            self._connection.execute("PRAGMA synchronous = EXTRA")
            refuse_newer(self._scalar("PRAGMA user_version"), path)
            if read_only:
                self._connection.execute("PRAGMA query_only = ON")

    @classmethod
    def create(cls, path: Path) -> Journal:
        """Make an empty journal at `path` and open it."""
        with (
            _clear_errors(path),
            atomic_write(path) as temporary,
            closing(_connect(temporary)) as connection,
        ):
            connection.executescript(_SCHEMA_SQL)
        return cls(path)

    def close(self) -> None:
        """Close the file; harmless when it is closed."""
        self._finalizer()

    def append(self, kind: str, payload: Mapping[str, Any], image: str | None = None) -> Event:
        """Add one event; it is on the disk when this returns."""
        return self.append_all([(kind, payload, image)])[0]

    def append_all(self, items: Iterable[Noted]) -> list[Event]:
        """Add all of (kind, payload, image) in one transaction, or none."""
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        events = []
        with self._lock, _clear_errors(self._path), self._transaction() as connection:
            for kind, payload, image in items:
                row = connection.execute(
                    "INSERT INTO events (time, kind, image, payload) VALUES (?, ?, ?, ?)",
                    (time, kind, image, json.dumps(payload)),
                )
                events.append(Event(int(row.lastrowid or 0), time, kind, image, dict(payload)))
        return events

    def events(self, kinds: Sequence[str] = (), image: str | None = None) -> list[Event]:
        """Events in their order: all, or those of some kinds, or about one image."""
        conditions = ["1"]
        values: list[Any] = list(kinds)
        if kinds:
            conditions.append(f"kind IN ({', '.join('?' * len(kinds))})")
        if image is not None:
            conditions.append("image = ?")
            values.append(image)
        return self._events(f"{' AND '.join(conditions)} ORDER BY id", values)

    def last(self, kinds: Sequence[str], image: str) -> Event | None:
        """The newest event of some kinds about one image."""
        found = self._events(
            f"image = ? AND kind IN ({', '.join('?' * len(kinds))}) ORDER BY id DESC LIMIT 1",
            [image, *kinds],
        )
        return found[0] if found else None

    def commit_event(self, image: str, version: int) -> Event | None:
        """The event of one committed version of an image's label."""
        found = self._events(
            "kind = 'commit' AND image = ? AND json_extract(payload, '$.version') = ?",
            [image, version],
        )
        return found[0] if found else None

    def current_labels(self) -> dict[str, int]:
        """The version that counts now, of every image that has a label."""
        return dict(self._rows("SELECT image, version FROM current_labels"))

    def current_commits(self) -> list[Event]:
        """The commit that counts now, of every image that has a label."""
        return self._events(
            "kind = 'commit' AND (image, json_extract(payload, '$.version')) IN "
            "(SELECT image, version FROM current_labels) ORDER BY id"
        )

    def has_commit_without(self, key: str, *, after: int) -> bool:
        """Whether a commit later than the event `after` (its id) does not say `key`."""
        found = self._rows(
            "SELECT 1 FROM events WHERE kind = 'commit' AND id > ? "
            "AND json_extract(payload, '$.' || ?) IS NULL LIMIT 1",
            [after, key],
        )
        return bool(found)

    def back_up(self, folder: Path) -> None:
        """Copy the journal to `folder` and check the copy, unless the newest copy is as new.

        The last three copies are kept.

        Raises
        ------
        ProjectError
            If the journal is damaged (the good copies stay), or the disk is full.
        """
        last = self._scalar("SELECT coalesce(max(id), 0) FROM events")
        target = folder / f"journal-{last:08d}.sqlite"
        if target.exists():
            return
        make_folder(folder)
        with atomic_write(target) as temporary, self._lock, _clear_errors(self._path):
            with closing(_connect(temporary)) as copy:
                self._connection.backup(copy)
                verdict = copy.execute("PRAGMA integrity_check").fetchone()[0]
            if verdict != "ok":
                raise ProjectError(_damaged(self._path, verdict))
        for old in sorted(folder.glob("journal-*.sqlite"))[:-_KEPT_BACKUPS]:
            old.unlink(missing_ok=True)

    def _events(self, condition: str, values: Sequence[Any] = ()) -> list[Event]:
        rows = self._rows(
            f"SELECT id, time, kind, image, payload FROM events WHERE {condition}", values
        )
        return [Event(i, time, kind, of, json.loads(text)) for i, time, kind, of, text in rows]

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock, _clear_errors(self._path):
            return self._connection.execute(sql, values).fetchall()

    def _scalar(self, sql: str) -> int:
        return int(self._rows(sql)[0][0])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            message = (
                f"The disk is full: {path} was not written. Nothing that was saved before is "
                "lost; make room, then try again."
            )
        elif code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            message = _damaged(path, str(exc))
        elif code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            message = f"{path} is being used by another program; try again."
        else:
            message = f"{path} can't be used: {exc}."
        raise ProjectError(message) from exc


def _damaged(path: Path, why: str) -> str:
    copies = sorted((path.parent / "backups").glob("journal-*.sqlite"))
    advice = f"copy {copies[-1]} over it" if copies else "restore it from your own backup"
    return f"{path} is damaged ({why.splitlines()[0]}): {advice}."


def _connect(path: Path) -> sqlite3.Connection:
    # Autocommit: every transaction is written out where it is meant. The journal's lock
    # serialises the threads.
    return sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
