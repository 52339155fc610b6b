"""Small pictures of slices, kept in the project's cache so that each image is read once."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from napari_scsam.core.errors import ScsamError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.project_layout import CACHE_FOLDER
from napari_scsam.io.real_files import make_real_folder, open_new, read_real

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_scsam.core.volume import Volume
    from napari_scsam.core.windows import Window
    from napari_scsam.project.store import Project

THUMBNAILS_FOLDER = "thumbnails"
# Longest side in pixels: two lines of text on a screen of twice the usual density. Arbitrary.
SIDE = 64
# The cache has at most so many files; then the oldest eighth is deleted. At 4 kB each it takes
# 50 MB. Arbitrary.
MOST_FILES = 12_500
DELETED_PART = 8  # arbitrary
# Pixels beyond which an image is not read for a thumbnail alone. Arbitrary.
MOST_PIXELS = 2**29
# Grey values outside these percentiles of a slice are cut off. Arbitrary.
PERCENTILES = (0.5, 99.5)


class Thumbnails:
    """Makes thumbnails; not for the window's thread.

    Nothing raises: what can't be read, or has no thumbnail for another reason, gives None. A disk
    that can't be written only means that thumbnails are made again in the next session.

    Parameters
    ----------
    project : Project
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._folder: Path | None = None
        self._count = 0

    def get(self, image_id: str, plane: int | None) -> NDArray[np.uint8] | None:
        """Return the thumbnail of a slice along axis 0, from the cache if it is there.

        Parameters
        ----------
        image_id : str
        plane : int or None
            None for the middle slice.

        Returns
        -------
        ndarray of shape (rows, cols, 3), uint8, or None
        """
        try:
            record = self._project.image(image_id)
            slices = record.shape[0] if len(record.shape) == 3 else 1
            index = slices // 2 if plane is None else plane
            path = self._place(f"{record.id}-{index}.png")
            known = None if path is None else _read(path)
            if known is not None or np.prod(record.shape, dtype=float) > MOST_PIXELS:
                return known
            made = _made(self._project.volume(record.id), index, self._project.window)
        except (ScsamError, OSError, ValueError, MemoryError):
            return None
        if path is not None:
            self._keep(path, made)
        return made

    def _place(self, name: str) -> Path | None:
        """The path of a thumbnail; None if the cache can't be used."""
        if self._folder is None:
            with suppress(ScsamError, OSError):
                self._folder = make_real_folder(
                    self._project.folder, CACHE_FOLDER, THUMBNAILS_FOLDER
                )
                self._count = sum(1 for _ in os.scandir(self._folder))
        return None if self._folder is None else self._folder / name

    def _keep(self, path: Path, pixels: NDArray[np.uint8]) -> None:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "png")
        # A file that is cut off by a crash can't be read, and is made again.
        with suppress(OSError), open_new(path) as file:
            file.write(stream.getvalue())
            self._count += 1
        if self._count > MOST_FILES:
            self._delete_oldest(path.parent)

    def _delete_oldest(self, folder: Path) -> None:
        with suppress(OSError):
            found = sorted(folder.glob("*.png"), key=lambda path: path.stat().st_mtime_ns)
            for path in found[: len(found) - MOST_FILES + MOST_FILES // DELETED_PART]:
                path.unlink(missing_ok=True)
        with suppress(OSError):
            self._count = sum(1 for _ in os.scandir(folder))


def _read(path: Path) -> NDArray[np.uint8] | None:
    """The pixels of a file; None if there is none, or it is no small PNG."""
    try:
        with Image.open(io.BytesIO(read_real(path)), formats=["PNG"]) as image:
            if max(image.size) > SIDE:
                return None
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError):  # Pillow raises the latter for broken chunks
        return None


def _made(volume: Volume, index: int, window: Window) -> NDArray[np.uint8]:
    step = max(1, min(volume.plane(Plane(0, index)).shape[:2]) // (4 * SIDE))
    image = Image.fromarray(slice_picture(volume, index, window, step))
    image.thumbnail((SIDE, SIDE))
    return np.asarray(image)


def slice_picture(volume: Volume, index: int, window: Window, step: int = 1) -> NDArray[np.uint8]:
    """Return every `step`-th pixel of a slice as it is seen with an intensity window.

    Returns
    -------
    ndarray of shape (rows, cols, 3), uint8
    """
    plane = volume.plane(Plane(0, index))
    pixels = np.nan_to_num(window.on(volume).apply(plane)[::step, ::step].astype(np.float32))
    low, high = np.percentile(pixels, PERCENTILES)
    unit = (pixels - low) / max(float(high - low), float(np.finfo(np.float32).tiny))
    return np.asarray(Image.fromarray((np.clip(unit, 0, 1) * 255).astype(np.uint8)).convert("RGB"))
