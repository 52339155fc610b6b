"""Making a project folder, also where an earlier attempt was killed half-way."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from napari_scsam.core.errors import ProjectError
from napari_scsam.core.project_layout import JOURNAL_FILE, LOCK_FILE, PROJECT_FILE
from napari_scsam.io.atomic import TEMPORARY, make_folder
from napari_scsam.project.journal import Journal
from napari_scsam.project.lock import take_lock
from napari_scsam.project.schema import ProjectInfo, write_info

if TYPE_CHECKING:
    from pathlib import Path

    from filelock import FileLock

# What `create_files` may have left when it was killed: a folder with nothing else is taken up.
_LEFT = re.compile(
    rf"{re.escape(LOCK_FILE)}|(?:{TEMPORARY})?(?:"
    rf"{re.escape(JOURNAL_FILE)}(?:-journal)?|{re.escape(PROJECT_FILE)})"
)


def create_files(folder: Path, info: ProjectInfo) -> FileLock:
    """Make the files of an empty project in a new or empty folder, and become its writer.

    Raises
    ------
    ProjectError
        If the folder is not empty, is a project, or can't be written.
    """
    _refuse_occupied(folder)
    make_folder(folder)
    lock = take_lock(folder, wait=0)
    try:
        _refuse_occupied(folder)  # once more, since nobody else can make one here now
        _remove_left(folder)
        Journal.create(folder / JOURNAL_FILE).close()
        # Last, since it is what makes the folder a project.
        write_info(folder, info)
    except BaseException:
        abandon(folder, lock)
        raise
    return lock


def abandon(folder: Path, lock: FileLock) -> None:
    """Take back a project that was just made; whatever else is in the folder stays."""
    lock.release()
    for path in (folder / PROJECT_FILE, folder / JOURNAL_FILE, folder / LOCK_FILE):
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _refuse_occupied(folder: Path) -> None:
    if (folder / PROJECT_FILE).exists():
        raise ProjectError(f"{folder} is a project already: open it, or name another folder.")
    if not folder.exists():
        return
    if not folder.is_dir() or any(not _is_left(path) for path in folder.iterdir()):
        raise ProjectError(
            f"{folder} is not an empty folder: name a new or empty one for the project."
        )


def _is_left(path: Path) -> bool:
    """Whether an unfinished creation has left this, and nothing was noted in it."""
    if _LEFT.fullmatch(path.name) is None or path.is_symlink() or not path.is_file():
        return False
    return path.name != JOURNAL_FILE or _is_empty(path)


def _is_empty(journal: Path) -> bool:
    """Whether a journal has no events: else it is a project that has lost its other file."""
    with suppress(sqlite3.Error):
        address = f"{journal.absolute().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(address, uri=True)) as connection:
            return connection.execute("SELECT 1 FROM events LIMIT 1").fetchone() is None
    return False


def _remove_left(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != LOCK_FILE and _is_left(path):
            path.unlink()
