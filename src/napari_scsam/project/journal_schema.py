"""The journal's tables, and a look that they are ours before anything in them is read."""

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
# Beside the events, so that a program from before there were hashes can go on writing.
HASHES_SQL = """
CREATE TABLE hashes (id INTEGER PRIMARY KEY, hash BLOB NOT NULL);
CREATE TRIGGER hashes_stay BEFORE UPDATE ON hashes
    BEGIN SELECT RAISE(ABORT, 'hashes are never changed'); END;
CREATE TRIGGER hashes_remain BEFORE DELETE ON hashes
    BEGIN SELECT RAISE(ABORT, 'hashes are never deleted'); END;
"""
_LISTED = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"


def check_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Make sure that the journal at `path` is one of ours.

    A view or a trigger is a program that runs when a table is read or written: one that is not
    ours could run for ever, or tell something else than the events.

    Raises
    ------
    ProjectError
        If it is of a newer version.
    DamagedError
        If something in it is missing, changed, or not ours.
    """
    refuse_newer(int(connection.execute("PRAGMA user_version").fetchone()[0]), path)
    connection.execute("PRAGMA trusted_schema = OFF")
    found = {(kind, name): _plain(sql) for kind, name, sql in connection.execute(_LISTED)}
    missing = [name for (kind, name), sql in _EVENTS.items() if found.get((kind, name)) != sql]
    strange = [name for (kind, name), sql in found.items() if _OURS.get((kind, name)) != sql]
    if missing or strange:
        raise DamagedError(
            f"{path} is damaged or not ours: its {', '.join(sorted({*missing, *strange}))} is not "
            "what this program writes. Restore a copy from the project's backups folder."
        )


def has_hashes(connection: sqlite3.Connection) -> bool:
    """Whether the journal has its table of hashes yet."""
    wanted = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'hashes'"
    return connection.execute(wanted).fetchone() is not None


def _plain(sql: str | None) -> str:
    return " ".join((sql or "").split())


def _listed(script: str) -> dict[tuple[str, str], str]:
    """What SQLite itself lists after a script has run."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(script)
        return {(kind, name): _plain(sql) for kind, name, sql in connection.execute(_LISTED)}


_EVENTS = _listed(EVENTS_SQL)
_OURS = _EVENTS | _listed(HASHES_SQL)
