"""Copies of image files without the texts in their headers: names, dates, devices, comments."""

from __future__ import annotations

import gzip
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_scsam.core.errors import InputError
from napari_scsam.io import nifti, read_volume, tiff
from napari_scsam.io.atomic import write_bytes
from napari_scsam.io.bounds import damaged

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_scsam.core.volume import Volume

# Position and length of the texts in a NIfTI header (nifti1.h, nifti2.h): data_type, db_name,
# descrip, aux_file, intent_name, and for NIfTI-2 descrip, aux_file, intent_name.
_NIFTI1_TEXTS = ((4, 10), (14, 18), (148, 80), (228, 24), (328, 16))
# As above.
_NIFTI2_TEXTS = ((240, 80), (320, 24), (508, 16))
# Chunks of a PNG that are needed to show its pixels (W3C, PNG specification, 11); the others hold
# texts, dates and EXIF.
_PNG_KEPT = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"sRGB", b"cHRM", b"sBIT")
# Segments of a JPEG that hold its pixels and how to show them: all but APP1 to APP13, APP15 and
# COM. APP0 is JFIF, APP14 has the colour space.
_JPEG_DROPPED = frozenset({*range(0xE1, 0xEE), 0xEF, 0xFE})
_JPEG_SCAN = 0xDA  # SOS: pixels follow


def copy_without_texts(source: Path, folder: Path, name: str) -> Path:
    """Copy an image file without the texts in its header, with the same pixels and geometry.

    Parameters
    ----------
    source : Path
        NIfTI, TIFF, PNG, JPEG or BMP.
    folder : Path
    name : str
        Of the copy, without suffix.

    Returns
    -------
    Path
        The copy, with the usual suffix of its format.

    Raises
    ------
    InputError
        If the file can't be read, or its copy would be another image.
    ProjectError
        If the disk can't be written.
    """
    volume = read_volume(source)
    with source.open("rb") as stream:
        head = stream.read(352)
    target = folder / f"{name}{_suffix(head)}"
    if nifti.sniff(head):
        write_bytes(target, _nifti(source))
    elif tiff.sniff(head):
        _write_tiff(target, volume)
    else:
        write_bytes(target, _picture(source))
    _refuse_another(volume, target, source)
    return target


def _suffix(head: bytes) -> str:
    suffixes = {b"\x1f\x8b": ".nii.gz", b"\x89P": ".png", b"\xff\xd8": ".jpg", b"BM": ".bmp"}
    return suffixes.get(head[:2], ".tif" if tiff.sniff(head) else ".nii")


def _refuse_another(volume: Volume, target: Path, source: Path) -> None:
    again = read_volume(target)
    same = again.rgb == volume.rgb and np.array_equal(again.data, volume.data)
    if not same or not np.allclose(again.affine, volume.affine, rtol=1e-5):
        target.unlink(missing_ok=True)
        raise InputError(f"{source} can't be copied without its texts: the copy would differ.")


def _nifti(path: Path) -> bytes:
    """The file without texts, without extensions, and packed again if it was."""
    content = path.read_bytes()
    packed = content[:2] == b"\x1f\x8b"
    content = gzip.decompress(content) if packed else content
    second = content[4:7] == b"n+2"
    order = "<" if struct.unpack_from("<i", content)[0] in (348, 540) else ">"
    size, place, kind = (544, 168, "q") if second else (352, 108, "f")
    offset = max(size, int(struct.unpack_from(order + kind, content, place)[0]))
    header = bytearray(content[:size])
    for start, length in _NIFTI2_TEXTS if second else _NIFTI1_TEXTS:
        header[start : start + length] = bytes(length)
    header[size - 4 : size] = bytes(4)  # no extensions follow
    struct.pack_into(order + kind, header, place, size)
    clean = bytes(header) + content[offset:]
    return gzip.compress(clean, compresslevel=1, mtime=0) if packed else clean


def _picture(path: Path) -> bytes:
    content = path.read_bytes()
    if content.startswith(b"\x89PNG"):
        return content[:8] + b"".join(_png_chunks(content, path))
    if content.startswith(b"\xff\xd8"):
        return b"\xff\xd8" + b"".join(_jpeg_segments(content, path))
    return content  # a BMP has no texts


def _png_chunks(content: bytes, path: Path) -> Iterator[bytes]:
    at = 8
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        kind, end = content[at + 4 : at + 8], at + 12 + length
        if kind in _PNG_KEPT:
            yield content[at:end]
        if kind == b"IEND":
            return
        at = end
    raise damaged(path, "the picture in it ends early")


def _jpeg_segments(content: bytes, path: Path) -> Iterator[bytes]:
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        end = at + 2 + int(struct.unpack_from(">H", content, at + 2)[0])
        if marker == _JPEG_SCAN:
            yield content[at : content.index(b"\xff\xd9", at) + 2]
            return
        if marker not in _JPEG_DROPPED:
            yield content[at:end]
        at = end
    raise damaged(path, "the picture in it ends early")


def _write_tiff(path: Path, volume: Volume) -> None:
    """Write pixels and spacing as an OME-TIFF, whose only texts are those of its format."""
    axes = "ZYX"[-volume.ndim :]
    metadata: dict[str, Any] = {"axes": axes + ("S" if volume.rgb else "")}
    if volume.spacing_known:
        for axis, step in zip(axes, volume.spacing, strict=True):
            metadata |= {f"PhysicalSize{axis}": step, f"PhysicalSize{axis}Unit": "mm"}
    photometric = "rgb" if volume.rgb else "minisblack"
    tifffile.imwrite(
        path,
        np.ascontiguousarray(volume.data),
        ome=True,
        photometric=photometric,
        metadata=metadata,
        compression="zlib",
        software="",
    )
