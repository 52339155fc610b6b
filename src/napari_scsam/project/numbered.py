"""Numbered folders of a project: rounds and tunings, finished or not."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

from napari_scsam.core.round_contract import FAILED, PARTIAL
from napari_scsam.io.real_files import is_link

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(rf"(\d{{4,9}})({re.escape(PARTIAL)}|{re.escape(FAILED)})?")


def numbered(folder: Path, *, links: bool = False) -> list[tuple[int, str]]:
    """Number and suffix of every ``NNNN``, ``NNNN.partial`` and ``NNNN.failed`` in a folder.

    Parameters
    ----------
    folder : Path
        It need not exist.
    links : bool
        Include links and files, whose names can't be used again; they are never read.
    """
    if not folder.is_dir():
        return []
    there = (p for p in folder.iterdir() if links or (p.is_dir() and not is_link(p)))
    names = [_NAME.fullmatch(path.name) for path in there]
    return [(int(m[1]), m[2] or "") for m in names if m]


def unfinished(folder: Path) -> list[Path]:
    """The ``NNNN.partial`` folders in a folder, in the order of their numbers."""
    there = sorted(numbered(folder))
    return [folder / f"{number:04d}{suffix}" for number, suffix in there if suffix == PARTIAL]


def remove_tree(path: Path) -> None:
    """Delete a folder as far as possible; if it is a link, only the link itself."""
    if is_link(path):
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)
