"""PNG, JPEG and BMP with Pillow; 16-bit colour with imagecodecs."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from napari_scsam.core.errors import InputError, ProjectError
from napari_scsam.core.volume import Volume
from napari_scsam.io.atomic import make_folder, write_bytes
from napari_scsam.io.bounds import DAMAGE, MAX_DEFLATE_RATIO, damaged, refuse_too_large

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image
    from PIL.ImageFile import ImageFile

    from napari_scsam.core.arrays import LabelArray, Pixels
    from napari_scsam.io.grid import Grid

# Opened by format, because `Image.open` refuses large images as attacks and writes warnings.
_KINDS: dict[bytes, type[ImageFile]] = {
    b"\x89PNG\r\n\x1a\n": PngImageFile,
    b"\xff\xd8\xff": JpegImageFile,
    b"BM": BmpImageFile,
}
_MAGIC = tuple(_KINDS)
# Colour types of PNG (W3C, PNG specification 11.2.2), and their values per pixel.
_GREY, _PALETTE = 0, 3
_CHANNELS = {_GREY: 1, 2: 3, _PALETTE: 1, 4: 2, 6: 4}  # as above
# Largest ratio of pixels in bytes to bytes of the file. A block of 64 values of a JPEG takes two
# bits at least (a Huffman code each for its first value and its end), or one in a progressive JPEG,
# and 4:2:0 has six blocks for 256 pixels of three values: 1,024, doubled here. A run of a BMP has
# 255 values in two bytes.
_MAX_RATIO = {"JPEG": 2048, "BMP": 128}
# Largest number of scans of a progressive JPEG (arbitrary; about 10 are usual, and each is a pass
# over all pixels).
_MAX_SCANS = 200
# Bytes of a pixel in Pillow by mode (its documentation, "Modes"); 4 for all other modes.
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "LA": 4}
# Copies of the pixels while reading: Pillow's own, a converted one, and the array.
_COPIES = 3


@dataclass(frozen=True)
class _PngHeader:
    """Size, bits per value and colour type, from the first chunk of a PNG."""

    width: int
    height: int
    depth: int
    colour: int

    @classmethod
    def of(cls, head: bytes) -> _PngHeader | None:
        if not head.startswith(b"\x89PNG") or head[12:16] != b"IHDR":
            return None
        width, height = int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
        return cls(width, height, head[24], head[25])

    @property
    def size(self) -> int:
        """Bytes of the uncompressed image."""
        bits = self.width * self.depth * _CHANNELS.get(self.colour, 1)
        return self.height * (1 + (bits + 7) // 8)


def sniff(head: bytes) -> bool:
    """Whether a file that begins with `head` is a PNG, JPEG or BMP."""
    return head.startswith(_MAGIC)


def read(path: Path, *, indices: bool = False) -> Volume:
    """Read one image, with pixels as stored (the orientation tag of a camera is ignored).

    Parameters
    ----------
    path : Path
        The file.
    indices : bool
        Return the indices of an image with a palette instead of its colours, as for masks.

    Returns
    -------
    Volume
        (rows, cols) or (rows, cols, 3); alpha is dropped, CMYK becomes RGB, black and
        white becomes 0 and 1. The spacing is unknown.

    Raises
    ------
    InputError
        If the file is damaged, or too large for this machine's memory.
    """
    with path.open("rb") as stream:
        head = stream.read(32)
    kind = next(kind for magic, kind in _KINDS.items() if head.startswith(magic))
    png = _PngHeader.of(head)
    try:
        with kind(path) as picture:
            _refuse_oversize(picture, png, path)
            deep = png is not None and png.depth == 16 and _CHANNELS.get(png.colour, 1) > 1
            data = _deep_pixels(path) if deep else _pixels(picture, png, indices=indices)
    except InputError:
        raise
    except DAMAGE as exc:
        raise damaged(path, "the picture in it ends early or is broken") from exc
    if data.ndim == 3:
        data = data[..., :3] if data.shape[-1] >= 3 else data[..., 0]
    return Volume(data, rgb=data.ndim == 3)


def _refuse_oversize(picture: ImageFile, png: _PngHeader | None, path: Path) -> None:
    """Before decoding, refuse a size that the file can't contain or that memory can't hold."""
    width, height = picture.size
    needed = width * height * _BYTES.get(picture.mode, 4)
    ratio = _MAX_RATIO.get(picture.format or "", MAX_DEFLATE_RATIO)
    if (needed if png is None else png.size) > path.stat().st_size * ratio:
        raise damaged(path, f"it is too short for the {width} x {height} pixels that it claims")
    refuse_too_large(path, needed * _COPIES)
    scans = path.read_bytes().count(b"\xff\xda") if picture.info.get("progressive") else 1
    if scans > _MAX_SCANS:
        raise InputError(f"{path} is a JPEG of {scans} scans, more than any program writes.")


def _pixels(picture: ImageFile, png: _PngHeader | None, *, indices: bool) -> Pixels:
    image: Image.Image = picture
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV") or (image.mode == "P" and not indices):
        image.load()
        image.info.pop("transparency", None)  # avoids a warning; alpha is dropped anyway
        image = image.convert("RGB")
    data: Pixels = np.asarray(image)
    if data.dtype == np.bool_:
        return data.astype(np.uint8)
    if png is not None and png.depth == 16:
        return data.astype(np.uint16)
    if png is not None and png.colour == _GREY and png.depth in (2, 4):
        # Pillow scales them to 0..255.
        data = data // (255 // (2**png.depth - 1))
    return data


def _deep_pixels(path: Path) -> Pixels:
    try:
        import imagecodecs
    except ImportError as exc:
        raise InputError(
            f"{path} has 16 bits for each colour, which takes one more package. Install it with: "
            "pip install imagecodecs, or save the file with 8 bits."
        ) from exc
    data: Pixels = imagecodecs.png_decode(path.read_bytes())
    return data


def write(path: Path, label: LabelArray, like: Grid) -> list[Path]:
    """Write a label map as PNG: one file, or for a volume a folder with one file per slice.

    Raises
    ------
    ProjectError
        If the disk is full or an image differs when read back.
    """
    paths = files_of(path, label.shape)
    make_folder(paths[0].parent)
    planes = label[None] if label.ndim == 2 else label
    for target, plane in zip(paths, planes, strict=True):
        _write_picture(target, plane)
    return paths


def files_of(path: Path, shape: tuple[int, ...]) -> list[Path]:
    """The files that `write` makes of a label map of this shape."""
    if len(shape) == 2:
        return [path]
    folder = path.with_suffix("") if path.suffix.lower() == ".png" else path
    return [folder / f"{index:04d}.png" for index in range(shape[0])]


def _write_picture(path: Path, plane: LabelArray) -> None:
    content: bytes = iio.imwrite("<bytes>", plane, extension=".png")
    with PngImageFile(BytesIO(content)) as again:
        same = np.array_equal(np.asarray(again), plane)
    if not same:
        raise ProjectError(f"{path} was not written: the PNG did not read back as the label map.")
    write_bytes(path, content)
