"""Creation of a project folder, including one where an earlier attempt was killed half-way."""

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

# Files that a killed `create_files` may have left behind. A folder with only these can be used.
_LEFTOVER = re.compile(
    rf"{re.escape(LOCK_FILE)}|(?:{TEMPORARY})?(?:"
    rf"{re.escape(JOURNAL_FILE)}(?:-journal)?|{re.escape(PROJECT_FILE)})"
)


def create_files(folder: Path, info: ProjectInfo) -> FileLock:
    """Create an empty project in a new or empty folder, and take its lock.

    Raises
    ------
    ProjectError
        If the folder is not empty, is a project, or can't be written.
    """
    _refuse_occupied(folder)
    make_folder(folder)
    lock = take_lock(folder, wait=0)
    try:
        _refuse_occupied(folder)  # again, now that nobody else can create one here
        _remove_leftovers(folder)
        Journal.create(folder / JOURNAL_FILE).close()
        # Last, because this file makes the folder a project.
        write_info(folder, info)
    except BaseException:
        abandon(folder, lock)
        raise
    return lock


def abandon(folder: Path, lock: FileLock) -> None:
    """Delete a project that was just created, and its folder unless other files are in it."""
    lock.release()
    for path in (folder / PROJECT_FILE, folder / JOURNAL_FILE, folder / LOCK_FILE):
        with suppress(OSError):
            path.unlink(missing_ok=True)
    with suppress(OSError):  # there are other files in it
        folder.rmdir()


def _refuse_occupied(folder: Path) -> None:
    if (folder / PROJECT_FILE).exists():
        raise ProjectError(f"{folder} is a project already: open it, or name another folder.")
    if not folder.exists():
        return
    if not folder.is_dir() or any(not _is_leftover(path) for path in folder.iterdir()):
        raise ProjectError(
            f"{folder} is not an empty folder: name a new or empty one for the project."
        )


def _is_leftover(path: Path) -> bool:
    """Whether a file was left behind by a killed creation and holds no events."""
    if _LEFTOVER.fullmatch(path.name) is None or path.is_symlink() or not path.is_file():
        return False
    return path.name != JOURNAL_FILE or _is_empty(path)


def _is_empty(journal: Path) -> bool:
    """Whether a journal has no events; with events, it is a project that lost `project.toml`."""
    with suppress(sqlite3.Error):
        address = f"{journal.absolute().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(address, uri=True)) as connection:
            return connection.execute("SELECT 1 FROM events LIMIT 1").fetchone() is None
    return False


def _remove_leftovers(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != LOCK_FILE and _is_leftover(path):
            path.unlink()
