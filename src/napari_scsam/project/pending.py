"""Uncommitted work, saved in one file per image so that it survives a kill."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import ProjectError
from napari_scsam.io.atomic import make_folder, storage_error, write_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from napari_scsam.project.store import Project

FOLDER = "pending"
# Of the file's format.
VERSION = 1


def write_pending(project: Project, image_id: str, planes: list[dict[str, Any]]) -> None:
    """Save the uncommitted work on an image in place of what was saved before.

    The file is deleted if there is none. A project that is open read-only saves nothing.

    Raises
    ------
    ProjectError
        If the disk is full or can't be written; what was saved before is unchanged.
    """
    if project.read_only:
        return
    path = _path(project, image_id)
    if not planes:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, path) from error
        return
    make_folder(path.parent)
    text = json.dumps({"version": VERSION, "planes": planes}, separators=(",", ":"))
    write_bytes(path, text.encode("utf-8"))


def read_pending(project: Project, image_id: str) -> list[dict[str, Any]]:
    """Read the uncommitted work on an image; an empty list if there is none.

    Raises
    ------
    ProjectError
        If the file is damaged or of another version; it is renamed.
    """
    path = _path(project, image_id)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(project, image_id) from error
    try:
        kept = json.loads(text)
        if kept["version"] != VERSION:
            raise damaged(project, image_id)
        return list(kept["planes"])
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(project, image_id) from error


def damaged(project: Project, image_id: str) -> ProjectError:
    """Rename an unreadable file, and return the error that says so."""
    path = _path(project, image_id)
    aside = path.with_suffix(".damaged")
    with suppress(OSError):
        path.replace(aside)
    return ProjectError(
        f"What was not committed of this image could not be read; it is kept in {aside}. "
        "Committed labels are not touched."
    )


def _path(project: Project, image_id: str) -> Path:
    return project.folder / FOLDER / f"{image_id}.json"
