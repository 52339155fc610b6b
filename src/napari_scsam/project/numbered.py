"""Folders of a project that are named by numbers: rounds and tunings, finished or not."""

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
        Need not exist.
    links : bool
        Count what is no folder of its own, too: its name is taken, but nothing is read there.
    """
    if not folder.is_dir():
        return []
    there = (p for p in folder.iterdir() if links or (p.is_dir() and not is_link(p)))
    names = [_NAME.fullmatch(path.name) for path in there]
    return [(int(m[1]), m[2] or "") for m in names if m]


def unfinished(folder: Path) -> list[Path]:
    """The ``NNNN.partial`` in a folder, in the order of their numbers."""
    there = sorted(numbered(folder))
    return [folder / f"{number:04d}{suffix}" for number, suffix in there if suffix == PARTIAL]


def remove_tree(path: Path) -> None:
    """Remove a folder as far as that can be done; of a link, the link itself."""
    if is_link(path):
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)
