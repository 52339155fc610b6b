"""Each event's hash over what it says and over the hash before it: finds damage, not forgery.

A bit that flips on a disk changes an event, or a hash, and the two no longer fit; an event that is
lost leaves a gap. Whoever means to deceive can compute the hashes anew: they are no signature.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from typing import TYPE_CHECKING, Any

from napari_scsam.project.journal_schema import HASHES_SQL, has_hashes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# id, time, kind, image, payload
Row = tuple[int, str, str, str | None, str]
FIRST = bytes(32)
COLUMNS = "events.id, time, kind, image, payload"
# What is looked through when a journal is opened: about half a second of it on two cores. What is
# older than that was looked through when it was backed up.
NEWEST = 200_000


def hash_of(row: Row, before: bytes) -> bytes:
    """SHA-256 of an event and of the hash before it."""
    return hashlib.sha256(before + json.dumps(row).encode()).digest()


def add_hashes(connection: sqlite3.Connection) -> None:
    """Give every event that has none its hash, inside the caller's transaction.

    Events of a version that wrote none come to be covered by this.
    """
    if not has_hashes(connection):
        for statement in _statements(HASHES_SQL):
            connection.execute(statement)
    newest = connection.execute("SELECT id, hash FROM hashes ORDER BY id DESC LIMIT 1").fetchone()
    last, before = newest or (0, FIRST)
    bare = connection.execute(f"SELECT {COLUMNS} FROM events WHERE id > ? ORDER BY id", [last])
    connection.executemany("INSERT INTO hashes VALUES (?, ?)", _hashed(bare, before))


def find_damage(connection: sqlite3.Connection, newest: int = NEWEST) -> str:
    """Why the newest events are not what was written; empty where they are.

    Parameters
    ----------
    connection : sqlite3.Connection
        To a journal whose schema was checked.
    newest : int
        How many are looked at.
    """
    count, last = connection.execute("SELECT count(*), max(id) FROM events").fetchone()
    if count <= newest:
        verdict = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
        if verdict != "ok":
            return verdict
    told = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    if (told[0] if told else 0) != (last or 0):
        return "events are missing at its end"
    if not has_hashes(connection):
        return ""
    return _first_fault(connection, max(0, count - newest))


def good_events(connection: sqlite3.Connection) -> Iterator[Row]:
    """Events from the first on, until one is not what was written or can't be read."""
    before: Any = FIRST
    hashed = has_hashes(connection)
    wanted = f"SELECT {COLUMNS}, hash FROM events LEFT JOIN hashes USING (id) ORDER BY id"
    plain = f"SELECT {COLUMNS}, NULL FROM events ORDER BY id"
    for number, (*said, noted) in enumerate(connection.execute(wanted if hashed else plain), 1):
        row: Any = tuple(said)
        if row[0] != number or not _is_row(row):
            return
        if noted is not None and hash_of(row, before) != noted:
            return
        before = hash_of(row, before)
        yield row


def _first_fault(connection: sqlite3.Connection, skipped: int) -> str:
    """The first event after `skipped` ones that does not fit its hash."""
    last = connection.execute("SELECT coalesce(max(id), 0) FROM hashes").fetchone()[0]
    start = connection.execute(
        "SELECT id, hash FROM hashes ORDER BY id LIMIT 1 OFFSET ?", [skipped - 1]
    ).fetchone()
    after, before = start if skipped and start else (0, FIRST)
    wanted = (
        f"SELECT {COLUMNS}, hash FROM events LEFT JOIN hashes USING (id) "
        "WHERE events.id > ? AND events.id <= ? ORDER BY id"
    )
    seen = 0
    for *said, noted in connection.execute(wanted, [after, last]):
        row: Any = tuple(said)
        if not _is_row(row) or noted is None or hash_of(row, before) != noted:
            return f"event {row[0]} is not what was written"
        before, seen = noted, seen + 1
    hashes = connection.execute("SELECT count(*) FROM hashes WHERE id > ?", [after]).fetchone()[0]
    return "" if seen == hashes else f"{hashes - seen} events are missing"


def _hashed(rows: Iterable[Row], before: bytes) -> Iterator[tuple[int, bytes]]:
    for row in rows:
        before = hash_of(row, before)
        yield row[0], before


def _is_row(row: tuple[Any, ...]) -> bool:
    number, time, kind, image, payload = row
    words = all(isinstance(said, str) for said in (time, kind, payload))
    return words and isinstance(number, int) and (image is None or isinstance(image, str))


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one: `executescript` would end the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
