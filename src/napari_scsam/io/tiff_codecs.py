"""Compressions of TIFF: which are read, and the sizes of images that are embedded as strips."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING, Any

import tifffile
from PIL.Image import DecompressionBombError
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from napari_scsam.core.errors import InputError
from napari_scsam.io.bounds import DAMAGE

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.ImageFile import ImageFile

    from napari_scsam.core.arrays import Pixels

# JPEG compressions (TIFF 6.0 and its Technical Note 2; 33007 and 34892 are of other vendors).
JPEGS = (6, 7, 33007, 34892)
# JPEG XL (of Adobe DNG 1.7, and the code before).
_JPEG_XL = (50002, 52546)
# For compressions that embed a whole image file, the reader of its header.
_READERS: dict[int, type[ImageFile]] = {
    **dict.fromkeys(JPEGS, JpegImageFile),
    **dict.fromkeys((33003, 33004, 33005, 34712), Jpeg2KImageFile),
    **dict.fromkeys((50001, 34927), WebPImageFile),
    34933: PngImageFile,
}
# Compressions whose strips are images with their own size.
PICTURES = frozenset({*_READERS, *_JPEG_XL})
# LERC and JPEG XR: their strips, too, unpack to what they claim, and no installed package tells
# their size beforehand.
_UNBOUNDED = (34887, 34934, 22610)
# Ratios of width to height in the header of a JPEG XL (ISO/IEC 18181-1, SizeHeader).
_RATIOS = {1: 1.0, 2: 12 / 10, 3: 4 / 3, 4: 3 / 2, 5: 16 / 9, 6: 5 / 4, 7: 2.0}


def has_imagecodecs() -> bool:
    """Whether the package with the decoders of most compressions is installed."""
    return find_spec("imagecodecs") is not None


def refuse_codec(series: Any, path: Path) -> None:
    """Refuse a compression that is not read, or that needs a package.

    Raises
    ------
    InputError
        It names the compression, and the package if there is one.
    """
    code, name = series.keyframe.compression, _name(series)
    try:
        tifffile.TIFF.DECOMPRESSORS[code]
    except KeyError as exc:
        if "imagecodecs" in str(exc):
            raise _needs_package(path, name) from exc
        raise _not_read(path, name) from exc
    if code in _UNBOUNDED:
        raise _not_read(path, name)


def decoded(series: Any, path: Path) -> Pixels:
    """The pixels; InputError if imagecodecs is installed without their decoder."""
    try:
        data: Pixels = series.asarray()
    except (ImportError, *DAMAGE) as exc:
        if isinstance(exc, ImportError) or "imagecodecs" in str(exc):
            raise _needs_package(path, _name(series)) from exc
        raise
    return data


def _name(series: Any) -> str:
    code = series.keyframe.compression
    return str(getattr(code, "name", code))


def _needs_package(path: Path, name: str) -> InputError:
    wanted = "'imagecodecs[all]'" if has_imagecodecs() else "imagecodecs"
    return InputError(
        f"{path} is compressed as {name}, which needs one more package. Install it with: "
        f"pip install {wanted}, or save the file uncompressed."
    )


def picture_size(packed: bytes, code: int) -> int:
    """Bytes of an embedded image by its own header, with three channels; 0 if it is damaged."""
    try:
        if code in _JPEG_XL:
            width, height = _jpeg_xl_size(packed)
        else:
            with _READERS[code](BytesIO(packed)) as picture:
                width, height = picture.size
    except DecompressionBombError:  # Pillow's own limit, some 180 million pixels
        return sys.maxsize
    except DAMAGE:
        return 0  # its decoder gives a better error
    return int(width * height * 3)


def _jpeg_xl_size(packed: bytes) -> tuple[int, int]:
    """Width and height from the SizeHeader of a JPEG XL codestream, in a container or not."""
    start = max(0, packed.find(b"jxlc") + 4 if b"jxlc" in packed else packed.find(b"jxlp") + 8)
    if packed.startswith(b"\xff\x0a"):
        start = 0
    if packed[start : start + 2] != b"\xff\x0a":
        raise ValueError("no JPEG XL")
    bits = _Bits(packed[start + 2 : start + 16])
    small = bits.take(1)
    height = _side(bits, small)
    ratio = bits.take(3)
    return (int(height * _RATIOS[ratio]) if ratio else _side(bits, small), height)


def _side(bits: _Bits, small: int) -> int:
    if small:
        return 8 * (bits.take(5) + 1)
    return 1 + bits.take((9, 13, 18, 30)[bits.take(2)])


class _Bits:
    """Numbers of some bits each, the least significant first.

    Parameters
    ----------
    content : bytes
    """

    def __init__(self, content: bytes) -> None:
        self._left = int.from_bytes(content, "little")

    def take(self, count: int) -> int:
        """The next `count` bits as a number."""
        value = self._left & ((1 << count) - 1)
        self._left >>= count
        return value


def _not_read(path: Path, name: str) -> InputError:
    return InputError(f"{path} is compressed as {name}, which is not read. Save it uncompressed.")
