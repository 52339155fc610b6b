"""Checks of a TIFF's tags against the size of the file, before anything is decoded."""

from __future__ import annotations

import lzma
import struct
import zlib
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO
from xml.etree import ElementTree

from tifffile import COMPRESSION

from napari_scsam.core.errors import InputError
from napari_scsam.io.bounds import MAX_DEFLATE_RATIO, damaged, refuse_too_large
from napari_scsam.io.tiff_codecs import JPEGS, PICTURES, has_imagecodecs, picture_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Largest number of pages (arbitrary; stacks from scanners have a few thousand).
MAX_PAGES = 50_000
# Largest ratio of decompressed to compressed bytes. The longest string of LZW has 3,838 bytes for a
# code of 12 bits, rounded up here; PackBits encodes 128 bytes in two (TIFF 6.0, sections 9 and 13).
_MAX_RATIO = {
    COMPRESSION.NONE: 1,
    COMPRESSION.LZW: 4096,
    COMPRESSION.PACKBITS: 64,
    COMPRESSION.ADOBE_DEFLATE: MAX_DEFLATE_RATIO,
    COMPRESSION.DEFLATE: MAX_DEFLATE_RATIO,
    # For these, about 7,000 and 32,768 were seen (a repeated block of 128 KiB takes four bytes).
    COMPRESSION.LZMA: 16_384,
    COMPRESSION.ZSTD: 65_536,
    # As for JPEG files (`raster.py`).
    **dict.fromkeys(JPEGS, 2048),
}
_DEFLATED = (COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE)
# Compressions whose decoders in Python's own library have no limit.
_UNLIMITED = (*_DEFLATED, COMPRESSION.LZMA)
# Bytes by which a strip may exceed its size when decompressed (arbitrary).
_TOLERATED_EXCESS = 64 * 2**20


def refuse_circle(path: Path) -> None:
    """Follow the linked list of pages once, without reading them.

    Raises
    ------
    InputError
        If the list is circular, or there are more than `MAX_PAGES` pages.
    """
    seen: set[int] = set()
    with path.open("rb") as file:
        for offset in _page_offsets(file):
            if offset in seen:
                raise damaged(path, "its list of pages goes round in a circle")
            seen.add(offset)
            if len(seen) > MAX_PAGES:
                raise InputError(f"{path} has more than {MAX_PAGES} pages, so it is no volume.")


def _page_offsets(file: BinaryIO) -> Iterator[int]:
    """The position of each page's list of tags, up to the end of the file."""
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = head[2:4] in (b"+\0", b"\0+")
    count, entry, link = ("Q", 20, "Q") if big else ("H", 12, "I")
    try:
        (offset,) = struct.unpack_from(order + link, head, 8 if big else 4)
        while offset:
            yield offset
            file.seek(offset)
            (tags,) = struct.unpack(order + count, file.read(struct.calcsize(count)))
            file.seek(offset + struct.calcsize(count) + tags * entry)
            (offset,) = struct.unpack(order + link, file.read(struct.calcsize(link)))
    except (struct.error, OSError, OverflowError):
        return  # truncated, which is found again when the pages are read


def refuse_incomplete(file: Any, path: Path) -> None:
    """Refuse a file that ends before the pixels of one of its pages."""
    size = path.stat().st_size
    for page in file.pages:
        ends = (o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False))
        if max(ends, default=0) > size:
            raise damaged(path, "it ends before its last pixel")


def refuse_foreign(file: Any, path: Path) -> None:
    """Refuse OME metadata that names other files, or more planes than this one has.

    Raises
    ------
    InputError
        It names the other file, or the number of planes.
    """
    if not file.is_ome:
        return
    root = ElementTree.fromstring(file.ome_metadata)
    others = _named_files(root, path.name)
    if others:
        raise InputError(
            f"{path} is one of a series of files (its metadata names {others[0]!r}), which is not "
            "read. Save the series as one file first."
        )
    pages, samples = len(file.pages), max(1, int(file.pages[0].samplesperpixel))
    for count in _claimed_planes(root):
        if count > pages * samples:
            raise damaged(path, f"its metadata names {count} planes, and it has {pages} pages")


def _named_files(root: ElementTree.Element, own: str) -> list[str]:
    """Names of other files in OME metadata; a renamed file is recognised by its UUID."""
    named = [
        str(element.get("MetadataFile"))
        for element in root.iter()
        if element.tag.endswith("BinaryOnly")
    ]
    for element in root.iter():
        if element.tag.endswith("UUID") and element.get("FileName") is not None:
            name, uuid = str(element.get("FileName")), root.get("UUID")
            own_uuid = uuid is not None and element.text == uuid
            same_name = uuid is None and name.lower() == own.lower()
            if not (own_uuid or same_name):
                named.append(name)
    return named


def _claimed_planes(root: ElementTree.Element) -> Iterator[int]:
    """The numbers of planes in the metadata, from each element that has one."""
    for element in root.iter():
        kind = element.tag.rpartition("}")[2]
        if kind == "Pixels":
            sizes = [int(element.get(f"Size{axis}", 1)) for axis in "ZCT"]
            if min(sizes) < 1:
                raise ValueError(sizes)
            yield prod(sizes)
        elif kind == "TiffData":
            yield from (int(element.get(key, 0)) for key in ("PlaneCount", "NumPlanes", "IFD"))
        elif kind.startswith("Along") and element.get("Start") is not None:
            first, last = float(element.get("Start", 0)), float(element.get("End", 0))
            yield int((last - first) / (float(element.get("Step", 1)) or 1))


def refuse_oversize(series: Any, path: Path) -> None:
    """Refuse more pixels than the file can contain or this machine's memory can hold."""
    page = series.keyframe
    pixels = prod(series.shape)
    needed = pixels * max(1, page.bitspersample) // 8
    most = _MAX_RATIO.get(page.compression)
    if most is not None and needed > path.stat().st_size * most:
        raise damaged(path, f"it is too short for the {series.shape} pixels that it claims")
    # The array, one decoded copy of it, and the colours of a palette.
    size = max(1, series.dtype.itemsize)
    refuse_too_large(path, pixels * (2 * size + (3 if page.colormap is not None else 0)))


def refuse_bombs(series: Any, path: Path) -> None:
    """Refuse strips and tiles that decompress to far more than their pixels.

    A strip that is an image file with its own header is as large as its header states. Python's
    own zlib and lzma, which tifffile uses if imagecodecs is not installed, decompress without a
    limit; imagecodecs has one.
    """
    page = series.keyframe
    expected = prod(page.chunks) * max(1, page.bitspersample) // 8 + page.chunks[0]
    code = page.compression
    if code not in PICTURES and (code not in _UNLIMITED or has_imagecodecs()):
        return
    most, length = expected + _TOLERATED_EXCESS, path.stat().st_size
    with path.open("rb") as file:
        for place, size in _segments(series):
            file.seek(place)
            packed = file.read(min(size, length))
            found = picture_size(packed, code) if code in PICTURES else _size(packed, code, most)
            if found > most:
                raise damaged(path, f"a part of it unpacks to more than its {expected} bytes")


def _size(packed: bytes, code: int, most: int) -> int:
    """Decompressed bytes of a strip, at most `most` + 1; 0 if it is too short to exceed `most`."""
    if len(packed) * _MAX_RATIO[code] <= most:
        return 0
    if code == COMPRESSION.LZMA:
        return len(lzma.LZMADecompressor().decompress(packed, most + 1))
    return len(zlib.decompressobj().decompress(packed, most + 1))


def _segments(series: Any) -> Iterator[tuple[int, int]]:
    """Position and size in the file of each strip or tile of a series."""
    for page in series.pages:
        yield from zip(page.dataoffsets, page.databytecounts, strict=False)
