"""The committed label maps: one write-once file per commit."""

from __future__ import annotations

import hashlib
import re
import threading
from pathlib import Path

from napari_scsam.core.errors import ProjectError
from napari_scsam.core.volume import LabelArray
from napari_scsam.io import Grid, nifti
from napari_scsam.io.atomic import make_folder, write_bytes

_NAME = re.compile(r"(\d{6,})\.nii\.gz")


class LabelStore:
    """Label files under one folder; the last one read or written stays in memory.

    Parameters
    ----------
    folder : Path
        The project's ``labels`` folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._last: tuple[Path, LabelArray] | None = None

    def path(self, image: str, version: int) -> Path:
        """File of one version of an image's label."""
        return self._folder / image / f"{version:06d}.nii.gz"

    def next_version(self, image: str, last: int) -> int:
        """A version above `last` whose file does not exist, not even as a crash's orphan."""
        folder = self._folder / image
        names = [_NAME.fullmatch(p.name) for p in folder.iterdir()] if folder.is_dir() else []
        return 1 + max([last, *(int(m[1]) for m in names if m)])

    def write(self, image: str, version: int, label: LabelArray, grid: Grid) -> str:
        """Write one version; it is on the disk when the file's SHA-256 is returned.

        Raises
        ------
        ProjectError
            If it can't be written; nothing is left of it then.
        """
        path = self.path(image, version)
        content = nifti.encode_label(label, grid)
        make_folder(path.parent)
        write_bytes(path, content)
        self._remember(path, label)
        return hashlib.sha256(content).hexdigest()

    def read(self, image: str, version: int, sha256: str) -> LabelArray:
        """Read one version and check its hash.

        Returns
        -------
        ndarray of shape (rows, cols) or (slices, rows, cols), uint8
            The caller's own copy.

        Raises
        ------
        ProjectError
            If the file is missing or not what was committed.
        """
        path = self.path(image, version)
        with self._lock:
            if self._last is not None and self._last[0] == path:
                return self._last[1].copy()
        try:
            content = path.read_bytes()
        except OSError as exc:
            raise ProjectError(
                f"The committed label {path} can't be read ({exc.strerror or exc}): "
                "restore it from your backup, or undo to an earlier version."
            ) from exc
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ProjectError(
                f"The committed label {path} is not what was saved (its hash differs): "
                "restore it from your backup, or undo to an earlier version."
            )
        label = nifti.decode_label(content, path)
        self._remember(path, label)
        return label

    def _remember(self, path: Path, label: LabelArray) -> None:
        with self._lock:
            self._last = (path, label.copy())
