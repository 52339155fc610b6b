"""What was not committed yet, one file for each image, so that it outlives a kill."""

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
VERSION = 1


def write_pending(project: Project, image_id: str, planes: list[dict[str, Any]]) -> None:
    """Keep what is not committed of an image in place of what was kept before.

    Nothing is kept of an image without any, nor by a project that is open read-only.

    Raises
    ------
    ProjectError
        If the disk is full or can't be written; what was kept before is untouched.
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
    """What was not committed of an image when the project was last open; an empty list for none.

    Raises
    ------
    ProjectError
        If the file is damaged, or another version's; it is set aside.
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
    """Set a file that can't be read aside, and say so in one line."""
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
