"""Check, before a project is opened, that its files and folders are no links or devices."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from napari_scsam.core.errors import ProjectError
from napari_scsam.core.project_layout import (
    BACKUPS_FOLDER,
    CACHE_FOLDER,
    EMBEDDINGS_FOLDER,
    JOURNAL_FILE,
    LABELS_FOLDER,
    LOCK_FILE,
    PENDING_FOLDER,
    PROJECT_FILE,
    ROUNDS_FOLDER,
    SCANS_FOLDER,
    TUNED_FOLDER,
)
from napari_scsam.io.atomic import TEMPORARY
from napari_scsam.io.real_files import is_link, is_plain_file, real_folder

if TYPE_CHECKING:
    from pathlib import Path

ROLLBACK_FILE = f"{JOURNAL_FILE}-journal"
_LEFTOVER = re.compile(rf"{TEMPORARY}(?:journal|project\.toml|\d{{6,}}(?:\.plane-\d+)?\.nii\.gz)")
_FILES = (
    *(PROJECT_FILE, JOURNAL_FILE, LOCK_FILE),
    *(ROLLBACK_FILE, f"{JOURNAL_FILE}-wal", f"{JOURNAL_FILE}-shm"),
)
_FOLDERS = (
    *((LABELS_FOLDER,), (ROUNDS_FOLDER,), (TUNED_FOLDER,), (BACKUPS_FOLDER,), (SCANS_FOLDER,)),
    *((PENDING_FOLDER,), (CACHE_FOLDER,), (CACHE_FOLDER, EMBEDDINGS_FOLDER)),
)
# The last 8 bytes of a rollback journal that names a super-journal, which SQLite may delete
# (sqlite.org/fileformat.html, section 3, and pager.c). Ours never does, since each of our
# transactions is in one file.
_SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")


def check_own_files(folder: Path) -> None:
    """Make sure that opening a project folder can't open or delete a file outside it.

    Raises
    ------
    ProjectError
        If one of its files or folders is a link or a device, or if a left-over rollback journal
        names another file.
    """
    for name in _FILES:
        path = folder / name
        if os.path.lexists(path) and (is_link(path) or not path.is_file()):
            raise ProjectError(
                f"{path} is a link or no file, which a project may not have: nothing was "
                "changed. Put the file itself in its place."
            )
    for names in _FOLDERS:
        real_folder(folder, *names)
    _refuse_super_journal(folder / ROLLBACK_FILE)


def sweep(folder: Path) -> None:
    """Delete the temporary files of killed writers from a folder.

    Only the holder of the project's lock may call it, since nobody else is then writing them.
    """
    for path in folder.glob(".*") if folder.is_dir() else ():
        if _LEFTOVER.match(path.name) and is_plain_file(path):
            with suppress(OSError):
                path.unlink()


def _refuse_super_journal(path: Path) -> None:
    if not path.is_file():
        return
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - len(_SUPER_JOURNAL)))
        if stream.read() == _SUPER_JOURNAL:
            raise ProjectError(
                f"{path} was not written by this program: it names other files. Move it away, "
                "then open the project again."
            )
