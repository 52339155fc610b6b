"""The journal's hash chain: each event's hash covers its content and the hash before it.

It detects damage, not forgery. A bit that flips on the disk changes an event or a hash, so that
the two no longer match. A lost event leaves a gap. The hashes are no signature: anyone can
compute them again after changing an event.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from typing import TYPE_CHECKING, Any

from napari_scsam.project.journal_schema import HASHES_SQL, has_hashes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# id, time, kind, image, payload
Row = tuple[int, str, str, str | None, str]
FIRST = bytes(32)
COLUMNS = "events.id, time, kind, image, payload"
# Events that are always verified when a journal is opened (arbitrary; 0.6 s for 100,000 events were
# measured on one core). More are verified if they came after the last backup.
NEWEST = 50_000
# All events of a journal.
ALL = 2**62
# Events that are read at a time (arbitrary), so that no read keeps a writer waiting.
_BATCH = 500


def hash_of(row: Row, before: bytes) -> bytes:
    """SHA-256 of an event and of the hash before it."""
    return hashlib.sha256(before + json.dumps(row).encode()).digest()


def add_hashes(connection: sqlite3.Connection) -> None:
    """Add the missing hashes, inside the caller's transaction.

    They are missing for new events, and for events of a version that wrote no hashes.
    """
    if not has_hashes(connection):
        for statement in _statements(HASHES_SQL):
            connection.execute(statement)
    newest = connection.execute("SELECT id, hash FROM hashes ORDER BY id DESC LIMIT 1").fetchone()
    last, before = newest or (0, FIRST)
    bare = connection.execute(f"SELECT {COLUMNS} FROM events WHERE id > ? ORDER BY id", [last])
    connection.executemany("INSERT INTO hashes VALUES (?, ?)", _hashed(bare, before))


def do_nothing() -> None:
    """Do not pause."""


def find_damage(
    connection: sqlite3.Connection,
    newest: int = NEWEST,
    *,
    pause: Callable[[], None] = do_nothing,
) -> str:
    """Verify the newest events; return what is wrong with them, or an empty string.

    If these are all events, SQLite checks the integrity of the file, too.

    Parameters
    ----------
    connection : sqlite3.Connection
        To a journal whose schema was checked.
    newest : int
        The number of events to verify.
    pause : callable
        Called now and then; it may sleep, or raise to stop.
    """
    last = connection.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0]
    if last <= newest:
        verdict = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
        if verdict != "ok":
            return verdict
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    if (row[0] if row else 0) != last:
        return "events are missing at its end"
    return find_broken_link(connection, max(0, last - newest), pause)


def good_events(connection: sqlite3.Connection) -> Iterator[Row]:
    """Events from the first up to the first that is damaged or can't be read."""
    before: Any = FIRST
    hashed = has_hashes(connection)
    with_hash = f"SELECT {COLUMNS}, hash FROM events LEFT JOIN hashes USING (id) ORDER BY id"
    without = f"SELECT {COLUMNS}, NULL FROM events ORDER BY id"
    rows = connection.execute(with_hash if hashed else without)
    for number, (*columns, stored) in enumerate(rows, 1):
        row: Any = tuple(columns)
        if row[0] != number or not _is_row(row):
            return
        if stored is not None and hash_of(row, before) != stored:
            return
        before = hash_of(row, before)
        yield row


def last_hash(connection: sqlite3.Connection) -> int:
    """The ID of the last event that has a hash; 0 without any."""
    if not has_hashes(connection):
        return 0
    return int(connection.execute("SELECT coalesce(max(id), 0) FROM hashes").fetchone()[0])


def hash_at(connection: sqlite3.Connection, number: int) -> bytes | None:
    """The stored hash of an event; None if there is none."""
    if not has_hashes(connection):
        return None
    found = connection.execute("SELECT hash FROM hashes WHERE id = ?", [number]).fetchone()
    return found[0] if found else None


def find_broken_link(
    connection: sqlite3.Connection, after: int = 0, pause: Callable[[], None] = do_nothing
) -> str:
    """Describe the first event, after that of an ID, that does not match its hash.

    Events are read in batches, so that a program may write to the journal in between.
    """
    if not has_hashes(connection):
        return ""
    last = last_hash(connection)
    before: Any = hash_at(connection, after) if after else FIRST
    if before is None:
        return f"event {after} is missing" if after < last else ""
    seen, at = 0, after
    while rows := _batch(connection, at, last):
        for *columns, stored in rows:
            row: Any = tuple(columns)
            if not _is_row(row) or stored is None or hash_of(row, before) != stored:
                return f"event {row[0]} is not what was written"
            before, seen, at = stored, seen + 1, row[0]
        pause()
    counted = "SELECT count(*) FROM hashes WHERE id > ? AND id <= ?"
    hashes = connection.execute(counted, [after, last]).fetchone()[0]
    return "" if seen == hashes else f"{hashes - seen} events are missing"


def _batch(connection: sqlite3.Connection, after: int, last: int) -> list[tuple[Any, ...]]:
    """The next events and their hashes."""
    query = (
        f"SELECT {COLUMNS}, hash FROM events LEFT JOIN hashes USING (id) "
        "WHERE events.id > ? AND events.id <= ? ORDER BY id LIMIT ?"
    )
    return connection.execute(query, [after, last, _BATCH]).fetchall()


def _hashed(rows: Iterable[Row], before: bytes) -> Iterator[tuple[int, bytes]]:
    for row in rows:
        before = hash_of(row, before)
        yield row[0], before


def _is_row(row: tuple[Any, ...]) -> bool:
    number, time, kind, image, payload = row
    are_text = all(isinstance(value, str) for value in (time, kind, payload))
    return are_text and isinstance(number, int) and (image is None or isinstance(image, str))


def _statements(script: str) -> Iterator[str]:
    """Split a script into statements, since `executescript` would end the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
