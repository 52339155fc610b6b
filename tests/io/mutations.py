"""Scans of every format, changed at random; and a process that reads them and is watched."""

from __future__ import annotations

import gzip
import struct
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import tifffile
from PIL import Image
from test_io_files import write_every_format

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# What goes wrong is a value at the edge of its type more often than any other.
VALUES = [
    *(struct.pack("<H", v) for v in (0, 1, 2**15, 2**16 - 1)),
    *(struct.pack("<I", v) for v in (0, 1, 8, 10**9, 2**31 - 1, 2**31, 2**32 - 1)),
    *(struct.pack(">I", v) for v in (1, 10**9, 2**31 - 1)),
    *(struct.pack("<f", v) for v in (0.0, -1.0, 1e-30, 1e30, np.nan, np.inf, -np.inf)),
    *(struct.pack("<Q", v) for v in (2**40, 2**63 - 1, 2**64 - 1)),
]


def write_seeds(folder: Path) -> list[Path]:
    """Good files of every format, and of the kinds within them."""
    folder.mkdir()
    write_every_format(folder)
    rng = np.random.default_rng(1)
    stack = rng.integers(0, 255, (5, 16, 24)).astype(np.uint8)
    colour = Image.fromarray(rng.integers(0, 255, (16, 24, 3)).astype(np.uint8))
    colour.convert("CMYK").save(folder / "ink.jpg")
    colour.save(folder / "progressive.jpg", progressive=True)
    colour.convert("P").save(folder / "palette.png", transparency=b"\x00\x80")
    colour.convert("P").save(folder / "palette.bmp")
    for name, packing in (("lzw", "tiff_lzw"), ("packbits", "packbits"), ("jpeg", "jpeg")):
        colour.save(folder / f"{name}.tif", compression=packing)
    tifffile.imwrite(folder / "tiles.tif", stack, tile=(16, 16), compression="zlib", predictor=True)
    tifffile.imwrite(folder / "big.tif", stack, bigtiff=True, byteorder=">")
    sizes = {"axes": "ZYX", "PhysicalSizeX": 65, "PhysicalSizeXUnit": "nm"}
    tifffile.imwrite(folder / "nm.ome.tif", stack, ome=True, metadata=sizes)
    turned = nib.Nifti1Header(endianness=">")
    nib.save(nib.Nifti1Image(stack.T, np.diag([1, 2, 3, 1]), turned), folder / "turned.nii")
    scaled = nib.Nifti1Image(stack.T.astype(np.int16), np.diag([1, 2, 3, 1]))
    scaled.header.set_slope_inter(0.5, -3)
    nib.save(scaled, folder / "scaled.nii.gz")
    return sorted(folder.iterdir())


def mutate(seeds: list[Path], folder: Path, count: int, first_seed: int) -> Iterator[Path]:
    """Write `count` changed files, the same ones for the same seeds."""
    folder.mkdir()
    for number in range(first_seed, first_seed + count):
        rng = np.random.default_rng(number)
        seed = seeds[number % len(seeds)]
        path = folder / f"{number:05d} {seed.name}"
        path.write_bytes(_changed(seed.read_bytes(), rng))
        yield path


def _changed(content: bytes, rng: np.random.Generator) -> bytes:
    packed = content[:2] == b"\x1f\x8b"
    # What is packed is changed before, mostly: after, it is no gzip any more.
    within = packed and rng.random() < 0.8
    changed = bytearray(gzip.decompress(content) if within else content)
    for _ in range(rng.integers(1, 5)):
        change = CHANGES[rng.integers(len(CHANGES))]
        changed = change(changed, rng)
    return gzip.compress(bytes(changed), 1) if within else bytes(changed)


def _place(content: bytearray, rng: np.random.Generator) -> int:
    """Somewhere, in the header more often than not."""
    end = max(1, len(content))
    return int(rng.integers(min(end, 400)) if rng.random() < 0.7 else rng.integers(end))


def _flip(content: bytearray, rng: np.random.Generator) -> bytearray:
    if content:
        content[_place(content, rng)] ^= 1 << int(rng.integers(8))
    return content


def _overwrite(content: bytearray, rng: np.random.Generator) -> bytearray:
    value = VALUES[rng.integers(len(VALUES))]
    place = _place(content, rng) // 2 * 2
    content[place : place + len(value)] = value
    return content


def _digits(content: bytearray, rng: np.random.Generator) -> bytearray:
    """Another number in a text, such as OME's or ImageJ's."""
    places = [i for i, byte in enumerate(content[:4000]) if 48 <= byte < 58]
    if places:
        content[places[rng.integers(len(places))]] = 48 + int(rng.integers(10))
    return content


def _cut(content: bytearray, rng: np.random.Generator) -> bytearray:
    return content[: int(rng.integers(len(content) + 1))]


def _repeat(content: bytearray, rng: np.random.Generator) -> bytearray:
    start, length = _place(content, rng), int(rng.integers(1, 200))
    return content[:start] + content[start : start + length] * 3 + content[start + length :]


CHANGES: list[Callable[[bytearray, np.random.Generator], bytearray]] = [
    _flip, _flip, _overwrite, _overwrite, _overwrite, _digits, _cut, _repeat
]  # fmt: skip

# Reads each file named on its standard input as an image and as a mask, and tells of each what
# came of it, what else it opened, how much it grew and how long it took. A file that takes more
# than 5 s of the processor ends it, and so does more than 2 GiB.
WATCHED = """
import json, resource, signal, sys, time
from pathlib import Path
from napari_scsam.core.errors import InputError
from napari_scsam.io import read_label_volume, read_volume

class TooLong(BaseException):
    pass

def too_long(*_):
    raise TooLong

opened = []
def tell(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        name = str(arguments[0])
        if not name.endswith((".py", ".pyc", ".so")) and not name.startswith(("/proc", "/sys")):
            opened.append(name)

signal.signal(signal.SIGPROF, too_long)
for seed in sys.argv[1:]:
    read_volume(seed)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2 * 2**30,) * 2)
sys.addaudithook(tell)
for path in sys.stdin.read().splitlines():
    opened.clear()
    said = []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.setitimer(signal.ITIMER_PROF, 5)
    try:
        for read in (read_volume, read_label_volume):
            try:
                read(path)
            except InputError as error:
                said.append(str(error))
        fault = ""
    except BaseException as error:
        fault = repr(error)
    signal.setitimer(signal.ITIMER_PROF, 0)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    foreign = [name for name in opened if name != path]
    print(json.dumps({"path": path, "said": said, "fault": fault, "grown": grown,
                      "foreign": foreign}), flush=True)
"""
