"""Uncommitted work, saved in one file per image so that it survives a kill."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import INVALID, ProjectError
from napari_scsam.core.project_layout import PENDING_FOLDER
from napari_scsam.io.atomic import storage_error, write_bytes
from napari_scsam.io.real_files import make_real_folder, read_json, real_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_scsam.project.store import Project

# Of the file's format.
VERSION = 1


def write_pending(project: Project, image_id: str, planes: list[dict[str, Any]]) -> None:
    """Save the uncommitted work on an image in place of what was saved before.

    The file is deleted if there is none. A project that is open read-only saves nothing.

    Raises
    ------
    ProjectError
        If the disk is full or can't be written, or the project is not there any more; what was
        saved before is unchanged.
    """
    if project.read_only:
        return
    project.check_writable()
    path = _path(project, image_id)
    if not planes:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, path) from error
        return
    make_real_folder(project.folder, PENDING_FOLDER)
    text = json.dumps({"version": VERSION, "planes": planes}, separators=(",", ":"))
    write_bytes(path, text.encode("utf-8"))


def read_pending(project: Project, image_id: str) -> list[dict[str, Any]]:
    """Read the uncommitted work on an image; an empty list if there is none.

    Raises
    ------
    ProjectError
        If the file is damaged, of another version, or a link; it is renamed.
    """
    try:
        kept = read_json(_path(project, image_id))
        if kept["version"] != VERSION or not all(isinstance(p, dict) for p in kept["planes"]):
            raise damaged(project, image_id)
        return list(kept["planes"])
    except FileNotFoundError:
        return []
    except (OSError, *INVALID) as error:
        raise damaged(project, image_id) from error


def damaged(project: Project, image_id: str) -> ProjectError:
    """Rename an unreadable file, and return the error that says so."""
    path = _path(project, image_id)
    aside = next(place for place in _asides(path) if not os.path.lexists(place))
    with suppress(OSError, ProjectError):
        project.check_writable()
        path.replace(aside)
    return ProjectError(
        f"What was not committed of this image could not be read; it is kept in {aside}. "
        "Committed labels are not touched."
    )


def _asides(path: Path) -> Iterator[Path]:
    """Names for a damaged file, so that none takes the place of an earlier one."""
    yield path.with_suffix(".damaged")
    yield from (path.with_suffix(f".{number}.damaged") for number in count(2))


def _path(project: Project, image_id: str) -> Path:
    return real_folder(project.folder, PENDING_FOLDER) / f"{image_id}.json"
