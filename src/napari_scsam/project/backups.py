"""Checked copies of the journal, and the newest good state of one that was damaged."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

from napari_scsam.core.errors import DamagedError, ProjectError
from napari_scsam.core.project_layout import BACKUPS_FOLDER
from napari_scsam.io.atomic import atomic_write
from napari_scsam.io.real_files import make_real_folder, real_folder
from napari_scsam.project.chain import Row, add_hashes, find_damage, good_events
from napari_scsam.project.journal_schema import EVENTS_SQL, check_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

KEPT = 3


def connect(path: Path | str) -> sqlite3.Connection:
    """Open a journal's file.

    Autocommit: every transaction is written out where it is meant. The journal's lock serialises
    the threads.
    """
    return sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)


@contextmanager
def clear_errors(path: Path) -> Iterator[None]:
    """Say what SQLite met in one line, as a ProjectError; DamagedError where it met damage."""
    try:
        yield
    except sqlite3.Error as exc:
        raise _in_words(exc, path) from exc


def _in_words(exc: sqlite3.Error, path: Path) -> ProjectError:
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged(path, str(exc))
    if code == sqlite3.SQLITE_FULL:
        return ProjectError(
            f"The disk is full: {path} was not written. Nothing that was saved before is "
            "lost; make room, then try again."
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return ProjectError(f"{path} is being used by another program; try again.")
    return ProjectError(f"{path} can't be used: {exc}.")


def damaged(path: Path, why: str) -> DamagedError:
    """The error of a journal that is damaged, with what can be done."""
    copies = _copies(path)
    advice = f"copy {copies[-1]} over it" if copies else "restore it from your own backup"
    return DamagedError(
        f"{path} is damaged ({why.splitlines()[0]}): {advice}. Until then it opens read-only, "
        "with all that is known to be good."
    )


def back_up(connection: sqlite3.Connection, path: Path) -> None:
    """Copy the journal at `path` beside it, check the copy, and keep the last few.

    Nothing is done where the newest copy is as new.

    Raises
    ------
    ProjectError
        If the disk is full, or the copies' folder can't be used.
    DamagedError
        If the journal is damaged; the good copies stay.
    """
    last = connection.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0]
    target = path.parent / BACKUPS_FOLDER / f"journal-{last:08d}.sqlite"
    if target.exists():
        return
    make_real_folder(path.parent, BACKUPS_FOLDER)
    with atomic_write(target) as temporary, clear_errors(path):
        with closing(connect(temporary)) as copy:
            connection.backup(copy)
            fault = find_damage(copy, newest=2**62)
        if fault:
            raise damaged(path, fault)
    for old in _copies(path)[:-KEPT]:
        old.unlink(missing_ok=True)


def newest_good(path: Path) -> sqlite3.Connection:
    """A journal in memory that has the events of the damaged one that are known to be good.

    The damaged file and the copies are only read.

    Raises
    ------
    DamagedError
        If there is none.
    """
    found: list[list[Row]] = [_rows_of(file) for file in (path, *_copies(path))]
    best = max(found, key=len)
    if not best:
        raise damaged(path, "none of its events can be read")
    return _in_memory(best)


def _rows_of(path: Path) -> list[Row]:
    rows: list[Row] = []
    # What can be read before the first fault is good.
    with suppress(sqlite3.Error, ProjectError), closing(_connect_to_look(path)) as connection:
        check_schema(connection, path)
        for row in good_events(connection):
            rows.append(row)
    return rows


def _connect_to_look(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)


def _in_memory(rows: Iterable[Row]) -> sqlite3.Connection:
    connection = connect(":memory:")
    connection.executescript(EVENTS_SQL)
    connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", rows)
    add_hashes(connection)
    return connection


def _copies(path: Path) -> list[Path]:
    """Copies of the journal, the newest last."""
    try:
        folder = real_folder(path.parent, BACKUPS_FOLDER)
    except ProjectError:
        return []
    return sorted(folder.glob("journal-*.sqlite"))
