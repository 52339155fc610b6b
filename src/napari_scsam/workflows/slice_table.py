"""What was measured on slices, kept in the project's cache so that no slice is measured twice."""

from __future__ import annotations

import zipfile
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.core.errors import ProjectError
from napari_scsam.io.atomic import atomic_write
from napari_scsam.io.bounds import DAMAGE
from napari_scsam.io.real_files import is_plain_file, make_real_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_scsam.core.arrays import FloatArray
    from napari_scsam.workflows.slice_signals import Stamp

_Rows = dict[tuple[str, int], tuple["Stamp", "FloatArray"]]

# Files are merged into one when there are so many. Arbitrary.
MOST_FILES = 64


class SliceTable:
    """One vector for each slice that was measured, by image and slice number.

    The folder has ``.npz`` files without pickled objects, each with the rows that were added
    together. One that is damaged is ignored: its slices are measured again.

    Parameters
    ----------
    root : Path or None
        A folder of the cache; None: nothing is kept on the disk.
    name : str
        Names what was measured, and with which models; a folder in `root`.
    unit : int
        The length of its vectors is a multiple of it.
    """

    def __init__(self, root: Path | None, name: str, unit: int = 1) -> None:
        self._unit = unit
        self._rows: _Rows = {}
        self._folder = None if root is None else make_real_folder(root, name)
        if self._folder is not None:
            for path in _files(self._folder):
                self._rows |= _read(path, self._unit)

    def merge(self) -> None:
        """Merge the files into one if there are many; only for who holds the ranking's lock."""
        files = [] if self._folder is None else _files(self._folder)
        if self._folder is None or len(files) <= MOST_FILES:
            return
        with suppress(ProjectError, OSError):  # it can stay as it is
            _write(self._folder / f"{_next_number(self._folder):06d}.npz", self._rows)
            for path in files:
                path.unlink()

    def row(self, image: str, plane: int) -> FloatArray | None:
        """What was measured on a slice; None if nothing was."""
        found = self._rows.get((image, plane))
        return None if found is None else found[1]

    def has(self, image: str, planes: Sequence[int], stamp: Stamp) -> bool:
        """Whether all of the slices were measured on the file as it is now."""
        found = [self._rows.get((image, plane)) for plane in planes]
        return all(row is not None and row[0] == stamp for row in found)

    def add(self, rows: Sequence[tuple[str, int, Stamp, FloatArray]]) -> None:
        """Add rows (image, slice number, stamp, vector), and keep them on the disk.

        Raises
        ------
        ProjectError
            If the disk is full or can't be written; the rows are then only in memory.
        """
        new = {(image, plane): (stamp, vector) for image, plane, stamp, vector in rows}
        self._rows |= new
        if new and self._folder is not None:
            _write(self._folder / f"{_next_number(self._folder):06d}.npz", new)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.npz") if is_plain_file(path))


def _next_number(folder: Path) -> int:
    numbers = [int(path.stem) for path in folder.glob("*.npz") if path.stem.isdecimal()]
    return 1 + max(numbers, default=0)


def _write(path: Path, rows: _Rows) -> None:
    with atomic_write(path) as temporary:
        np.savez(
            temporary,
            image=np.array([image for image, _ in rows]),
            plane=np.array([plane for _, plane in rows], np.int64),
            stamp=np.array([stamp for stamp, _ in rows.values()], np.int64),
            values=np.stack([vector for _, vector in rows.values()]).astype(np.float32),
        )


def _refuse_packed(path: Path) -> None:
    """Raise ValueError if a file unpacks to more than its bytes, as none that was written here."""
    with zipfile.ZipFile(path) as archive:
        if sum(item.file_size for item in archive.infolist()) > path.stat().st_size:
            raise ValueError(path)


def _read(path: Path, unit: int) -> _Rows:
    """The rows of a file; none if it is damaged or of something else."""
    try:
        _refuse_packed(path)
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            images, planes = arrays["image"].tolist(), arrays["plane"].tolist()
            stamps, values = arrays["stamp"].tolist(), arrays["values"].astype(np.float32)
        if values.ndim != 2 or values.shape[1] % unit:
            return {}
        keys = zip(images, planes, strict=True)
        rows = zip(((t, n) for t, n in stamps), values, strict=True)
        return {
            (str(image), int(plane)): row for (image, plane), row in zip(keys, rows, strict=True)
        }
    except (zipfile.BadZipFile, MemoryError, *DAMAGE):
        return {}
