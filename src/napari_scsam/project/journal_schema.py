"""The journal's schema, and the check of it before anything is read."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from napari_scsam.core.errors import DamagedError
from napari_scsam.project.schema import SCHEMA, refuse_newer

if TYPE_CHECKING:
    from pathlib import Path

EVENTS_SQL = f"""
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
# Features of a journal are bits of its version above the schema's: a program that doesn't know one
# of them takes the version for a newer schema's, and refuses the journal. SLICES: commits of single
# slices, which the first versions would read as commits of whole volumes.
SLICES = 1 << 8
_FEATURES = SLICES
# A table of its own, so that versions without hashes can still write events.
HASHES_SQL = """
CREATE TABLE hashes (id INTEGER PRIMARY KEY, hash BLOB NOT NULL);
CREATE TRIGGER hashes_stay BEFORE UPDATE ON hashes
    BEGIN SELECT RAISE(ABORT, 'hashes are never changed'); END;
CREATE TRIGGER hashes_remain BEFORE DELETE ON hashes
    BEGIN SELECT RAISE(ABORT, 'hashes are never deleted'); END;
"""
_LISTED = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"


def check_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Make sure that the journal at `path` has exactly our schema.

    A view or a trigger is a program that runs when a table is read or written. One that is not
    ours could run forever, or return other rows than the events.

    Raises
    ------
    ProjectError
        If it is of a newer version.
    DamagedError
        If something in its schema is missing, changed, or not ours.
    """
    refuse_newer(_version(connection) & ~_FEATURES, path)
    connection.execute("PRAGMA trusted_schema = OFF")
    found = {(kind, name): _plain(sql) for kind, name, sql in connection.execute(_LISTED)}
    missing = [name for (kind, name), sql in _EVENTS.items() if found.get((kind, name)) != sql]
    unknown = [name for (kind, name), sql in found.items() if _OURS.get((kind, name)) != sql]
    if missing or unknown:
        raise DamagedError(
            f"{path} is damaged or not ours: its {', '.join(sorted({*missing, *unknown}))} is not "
            "what this program writes. Restore a copy from the project's backups folder."
        )


def add_feature(connection: sqlite3.Connection, feature: int) -> None:
    """Record, in the caller's transaction, that the journal has events with a feature."""
    version = _version(connection)
    if version | feature != version:
        connection.execute(f"PRAGMA user_version = {version | feature:d}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def has_hashes(connection: sqlite3.Connection) -> bool:
    """Whether the journal has its table of hashes yet."""
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'hashes'"
    return connection.execute(query).fetchone() is not None


def _plain(sql: str | None) -> str:
    return " ".join((sql or "").split())


def _listed(script: str) -> dict[tuple[str, str], str]:
    """The schema that a script creates, as SQLite lists it."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(script)
        return {(kind, name): _plain(sql) for kind, name, sql in connection.execute(_LISTED)}


_EVENTS = _listed(EVENTS_SQL)
_OURS = _EVENTS | _listed(HASHES_SQL)
