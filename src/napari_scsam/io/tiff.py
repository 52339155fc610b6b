"""TIFF images and stacks, with the spacing that ImageJ, OME or the resolution tags name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

from napari_scsam.core.errors import ProjectError
from napari_scsam.core.volume import LabelArray, Volume
from napari_scsam.io.atomic import atomic_write
from napari_scsam.io.grid import Grid


def sniff(head: bytes) -> bool:
    """Whether a file that begins with `head` is a TIFF or BigTIFF."""
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read(path: Path) -> Volume:
    with tifffile.TiffFile(path) as file:
        data = file.series[0].asarray()
    return Volume(data, rgb=data.ndim >= 3 and data.shape[-1] == 3)


def write(path: Path, label: LabelArray, like: Grid) -> list[Path]:
    with atomic_write(path) as temporary:
        tifffile.imwrite(temporary, label, imagej=True)
        if not np.array_equal(read(temporary).data, label):
            raise ProjectError(f"{path} was not written.")
    return [path]
