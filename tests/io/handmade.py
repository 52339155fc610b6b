"""Files put together by hand, byte by byte: what no library writes, and honest ones beside it."""

from __future__ import annotations

import struct
import zlib

import numpy as np

COLOUR_TYPES = {1: 0, 3: 2, 2: 4, 4: 6}


def png(values: np.ndarray, bits: int = 8, *, size: tuple[int, int] | None = None) -> bytes:
    """A PNG of (rows, cols) or (rows, cols, channels); `size` is what it claims to be."""
    planes = values if values.ndim == 3 else values[..., None]
    rows, cols, channels = planes.shape
    if bits == 16:
        lines = [row.astype(">u2").tobytes() for row in planes]
    else:
        few = np.unpackbits(planes.reshape(rows, -1, 1).astype(np.uint8), axis=-1)[..., -bits:]
        lines = [np.packbits(row.ravel()).tobytes() for row in few]
    content = zlib.compress(b"".join(b"\0" + line for line in lines))
    return png_of(content, size or (rows, cols), bits, COLOUR_TYPES[channels])


def png_of(packed: bytes, size: tuple[int, int], bits: int = 8, colour: int = 0) -> bytes:
    """A PNG whose lines are packed already."""
    header = struct.pack(">IIBBBBB", size[1], size[0], bits, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def tiff_directory(next_page: int, tags: dict[int, tuple[int, int, int]]) -> bytes:
    """One page's tags (number: type, count, value) and where the next page is."""
    entries = b"".join(struct.pack("<HHII", tag, *entry) for tag, entry in sorted(tags.items()))
    return struct.pack("<H", len(tags)) + entries + struct.pack("<I", next_page)


def tiff_in_a_circle(pages: int, back_to: int) -> bytes:
    """Pages of 2 x 2 pixels, the last of which names page `back_to` as the next."""
    length = len(tiff_directory(0, _tags(0)))
    content = b"II*\0" + struct.pack("<I", 8)
    end = 8 + pages * length
    for page in range(pages):
        following = 8 + (back_to if page == pages - 1 else page + 1) * length
        content += tiff_directory(following, _tags(end))
    return content + bytes([1, 2, 3, 4])


def _tags(pixels_at: int) -> dict[int, tuple[int, int, int]]:
    short, long = 3, 4
    return {
        256: (short, 1, 2),
        257: (short, 1, 2),
        258: (short, 1, 8),
        259: (short, 1, 1),
        262: (short, 1, 1),
        273: (long, 1, pixels_at),
        277: (short, 1, 1),
        278: (short, 1, 2),
        279: (long, 1, 4),
    }
