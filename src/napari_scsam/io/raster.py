"""PNG, JPEG and BMP pictures through imageio."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
from PIL import Image

from napari_scsam.core.errors import InputError, ProjectError
from napari_scsam.core.volume import Volume
from napari_scsam.io.atomic import make_folder, write_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from napari_scsam.core.arrays import LabelArray, Pixels
    from napari_scsam.io.grid import Grid

_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM")


def sniff(head: bytes) -> bool:
    """Whether a file that begins with `head` is a PNG, JPEG or BMP."""
    return head.startswith(_MAGIC)


def read(path: Path, *, indices: bool = False) -> Volume:
    """Read one picture, its pixels as they are stored (a camera's rotation tag is ignored).

    Parameters
    ----------
    path : Path
        The file.
    indices : bool
        Give the indices of a picture with a palette, as masks mean them, and not
        its colours.

    Returns
    -------
    Volume
        (rows, cols) or (rows, cols, 3); alpha is dropped, black and white becomes
        0 and 1, spacing is unknown.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    try:
        with iio.imopen(path, "r", plugin="pillow") as file:
            mode = str(file.metadata()["mode"])
            keep = mode == "P" and indices
            data: Pixels = np.asarray(file.read(index=0, mode="P" if keep else None))
    except Image.DecompressionBombError as exc:
        raise InputError(f"{path} claims to be too large to be a picture: {exc}.") from exc
    except (OSError, SyntaxError, ValueError, EOFError) as exc:
        raise InputError(
            f"{path} is damaged: the picture in it ends early or is broken. "
            "Copy or export it again."
        ) from exc
    if data.dtype == np.bool_:
        data = data.astype(np.uint8)
    if data.ndim == 3:
        data = data[..., :3] if data.shape[-1] >= 3 else data[..., 0]
    return Volume(data, rgb=data.ndim == 3)


def write(path: Path, label: LabelArray, like: Grid) -> list[Path]:
    """Write a label map as PNG: one file, or for a volume a folder of one per slice.

    Raises
    ------
    ProjectError
        If the disk is full or a picture does not come back as it was.
    """
    if label.ndim == 2:
        _write_picture(path, label)
        return [path]
    folder = path.with_suffix("") if path.suffix.lower() == ".png" else path
    make_folder(folder)
    paths = [folder / f"{index:04d}.png" for index in range(len(label))]
    for target, plane in zip(paths, label, strict=True):
        _write_picture(target, plane)
    return paths


def _write_picture(path: Path, plane: LabelArray) -> None:
    content: bytes = iio.imwrite("<bytes>", plane, extension=".png")
    if not np.array_equal(iio.imread(BytesIO(content), plugin="pillow"), plane):
        raise ProjectError(f"{path} was not written: the PNG did not read back as the label map.")
    write_bytes(path, content)
