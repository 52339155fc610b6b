"""Verified backups of the journal, and recovery of the undamaged part of a damaged one."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

from napari_scsam.core.errors import DamagedError, ProjectError
from napari_scsam.core.project_layout import BACKUPS_FOLDER
from napari_scsam.io.atomic import atomic_write, write_bytes
from napari_scsam.io.real_files import is_plain_file, make_real_folder, real_folder
from napari_scsam.project.hash_chain import (
    ALL,
    Row,
    add_hashes,
    do_nothing,
    find_damage,
    good_events,
    hash_at,
)
from napari_scsam.project.journal_schema import EVENTS_SQL, check_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

# Backups that are kept (arbitrary: one may be damaged and one may be too old).
KEPT = 3
# Seconds to wait for another program that has the file locked (arbitrary; sqlite3's default is 5).
_BUSY_TIMEOUT_S = 30
# Pages of 4 KiB that are copied at a time (arbitrary: some 10 ms, in which no one can write).
_PAGES = 4096
# Instructions of SQLite between two pauses (arbitrary: some 10 ms).
_INSTRUCTIONS = 1_000_000
# A note in the backups folder that the journal was found to be damaged.
DAMAGED_FILE = "damaged.txt"
_NAME = re.compile(r"journal-(\d{8,})\.sqlite")


class Stopped(Exception):
    """Raised by a pause, to stop a backup."""


def connect(path: Path | str) -> sqlite3.Connection:
    """Open the journal file `path` in autocommit mode.

    Transactions are begun and ended explicitly. The connection may be used from several threads;
    the lock of `Journal` serialises them.
    """
    return sqlite3.connect(
        path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )


@contextmanager
def clear_errors(path: Path) -> Iterator[None]:
    """Convert errors of SQLite to a one-line ProjectError; DamagedError if the file is damaged."""
    try:
        yield
    except sqlite3.Error as exc:
        raise _project_error(exc, path) from exc


def _project_error(exc: sqlite3.Error, path: Path) -> ProjectError:
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
    """The error for a damaged journal, with advice on how to restore it."""
    copies = _copies(path)
    advice = f"copy {copies[-1]} over it" if copies else "restore it from your own backup"
    return DamagedError(
        f"{path} is damaged ({why.splitlines()[0]}): {advice}. Until then it opens read-only, "
        "with everything that is known to be undamaged."
    )


def back_up(
    connection: sqlite3.Connection, path: Path, pause: Callable[[], None] = do_nothing
) -> None:
    """Copy the journal at `path` to the backups folder, verify the copy, and keep the last few.

    Nothing is done if there is a backup of the newest event already. `pause` is called now and
    then; it may sleep, or raise to stop.

    Raises
    ------
    ProjectError
        If the disk is full, or the backups folder can't be used.
    DamagedError
        If the journal is damaged; the earlier backups are kept.
    """
    last = connection.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0]
    target = path.parent / BACKUPS_FOLDER / f"journal-{last:08d}.sqlite"
    if target.exists():
        return
    make_real_folder(path.parent, BACKUPS_FOLDER)
    with atomic_write(target) as temporary, clear_errors(path):
        with closing(connect(temporary)) as copy:
            pages = -1 if pause is do_nothing else _PAGES
            connection.backup(copy, pages=pages, progress=lambda *_: pause())
            copy.set_progress_handler(lambda: _stops(pause), _INSTRUCTIONS)
            fault = find_damage(copy, ALL, pause=pause)
        if fault:
            raise damaged(path, fault)
    for old in _copies(path)[:-KEPT]:
        old.unlink(missing_ok=True)


def has_backup(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether there is a backup of the newest event of the journal at `path`."""
    last = int(connection.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0])
    return backed_up_to(connection, path) >= last


def backed_up_to(connection: sqlite3.Connection, path: Path) -> int:
    """The last event of the newest backup, if it is one of this journal; otherwise 0.

    All events up to it were verified when the backup was made.
    """
    copies = _copies(path)
    name = _NAME.fullmatch(copies[-1].name) if copies else None
    if name is None:
        return 0
    number = int(name[1])
    with suppress(sqlite3.Error), closing(_connect_read_only(copies[-1])) as copy:
        stored = hash_at(copy, number)
        if stored is not None and stored == hash_at(connection, number):
            return number
    return 0


def note_damage(path: Path, message: str) -> None:
    """Make the next opening of the journal at `path` verify all of its events."""
    make_real_folder(path.parent, BACKUPS_FOLDER)
    write_bytes(path.parent / BACKUPS_FOLDER / DAMAGED_FILE, f"{message}\n".encode())


def is_damage_noted(path: Path) -> bool:
    """Whether the journal at `path` was found to be damaged."""
    return is_plain_file(path.parent / BACKUPS_FOLDER / DAMAGED_FILE)


def forget_damage(path: Path) -> None:
    """Delete the note, after all events were verified."""
    with suppress(OSError):
        (path.parent / BACKUPS_FOLDER / DAMAGED_FILE).unlink()


def connect_to_verify(path: Path) -> sqlite3.Connection:
    """A second, read-only connection to a journal that another one may write to."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )


def _stops(pause: Callable[[], None]) -> bool:
    """Whether `pause` raises, as a progress handler of SQLite, which interrupts the query."""
    try:
        pause()
    except Stopped:
        return True
    return False


def newest_good(path: Path) -> sqlite3.Connection:
    """Load the undamaged events into memory: of a damaged journal, or of a backup that has more.

    The damaged file and the backups are only read.

    Raises
    ------
    DamagedError
        If no event can be read.
    """
    found: list[list[Row]] = [_rows_of(file) for file in (path, *_copies(path))]
    best = max(found, key=len)
    if not best:
        raise damaged(path, "none of its events can be read")
    return _in_memory(best)


def _rows_of(path: Path) -> list[Row]:
    rows: list[Row] = []
    # Every event before the first fault is undamaged.
    with suppress(sqlite3.Error, ProjectError), closing(_connect_read_only(path)) as connection:
        check_schema(connection, path)
        for row in good_events(connection):
            rows.append(row)
    return rows


def _connect_read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)


def _in_memory(rows: Iterable[Row]) -> sqlite3.Connection:
    connection = connect(":memory:")
    connection.executescript(EVENTS_SQL)
    connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", rows)
    add_hashes(connection)
    return connection


def _copies(path: Path) -> list[Path]:
    """Backups of the journal, the newest last."""
    try:
        folder = real_folder(path.parent, BACKUPS_FOLDER)
    except ProjectError:
        return []
    return sorted(folder.glob("journal-*.sqlite"))
