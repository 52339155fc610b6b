"""Files that claim more than they hold or hold more than they should: one line, and soon."""

from __future__ import annotations

import gzip
import json
import lzma
import struct
import subprocess
import sys
import tracemalloc
import zlib
from io import BytesIO
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest
import tifffile
from handmade import png, png_of, tiff_directory, tiff_in_a_circle
from PIL import Image

from napari_scsam.core.errors import InputError
from napari_scsam.io import bounds, read_volume
from napari_scsam.io.real_files import read_real

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="a process's memory is measured in Linux's way"
)

STACK = np.random.default_rng(0).integers(0, 255, (5, 20, 30)).astype(np.uint8)
GIB = 2**30
# A process of its own, so that its memory is that of reading alone. What it takes to start is
# taken off by reading an ordinary file first. Seconds are the processor's: others may work, too.
READ_AND_MEASURE = """
import json, resource, sys, time
from pathlib import Path
if sys.argv[1] == "plain":
    sys.modules["imagecodecs"] = None
from napari_scsam.core.errors import InputError
from napari_scsam.io import read_volume
read_volume(sys.argv[2])
# What is not refused in time fails here, and takes nothing from other programs.
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2 * 2**30,) * 2)
for path in sys.argv[3:]:
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        said = f"read {read_volume(path).shape}"
    except InputError as error:
        said = str(error)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps([said, (after - before) * 1024, time.process_time() - start]))
"""
Answer = tuple[str, float, float]


def read_and_measure(paths: list[Path], *, plain: bool = False) -> list[Answer]:
    """What came of each, by how many bytes the process grew, and how many seconds it took."""
    warm = paths[0].with_name("warm.tif")
    tifffile.imwrite(warm, STACK, ome=True, metadata={"axes": "ZYX"}, compression="zlib")
    command = [sys.executable, "-c", READ_AND_MEASURE, "plain" if plain else "all", warm, *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def packed_zeros(size: int) -> bytes:
    """zlib's packing of so many zeros; the same MiB again and again, without an end."""
    packer, piece = zlib.compressobj(), bytes(2**20)
    start = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + again * (size // 2**20)


def gzip_bomb(path: Path) -> None:
    """A small volume, and then 3 GiB of zeros in streams that follow it."""
    small = nib.Nifti1Image(STACK.T, np.diag([2, 2, 2, 1])).to_bytes()
    zeros = gzip.compress(bytes(2**24), 9)
    path.write_bytes(gzip.compress(small) + zeros * (3 * GIB // 2**24))


def gzip_lie(path: Path) -> None:
    """A header that claims 32,767 voxels a side."""
    content = bytearray(nib.Nifti1Image(STACK.T, np.diag([2, 2, 2, 1])).to_bytes())
    content[40:56] = struct.pack("<8h", 3, 32767, 32767, 32767, 1, 1, 1, 1)
    path.write_bytes(gzip.compress(content))


def png_lie(path: Path) -> None:
    path.write_bytes(png(STACK[0], size=(60_000, 60_000)))


def png_bomb(path: Path) -> None:
    """A small picture with 3 GiB of lines."""
    path.write_bytes(png_of(packed_zeros(3 * GIB), (20, 30)))


def tiff_of_one_page(path: Path, packed: bytes, size: tuple[int, int], compression: int) -> None:
    tags = {256: (4, 1, size[1]), 257: (4, 1, size[0]), 258: (3, 1, 8), 259: (3, 1, compression)}
    tags |= {262: (3, 1, 1), 273: (4, 1, 200), 277: (3, 1, 1), 278: (4, 1, size[0])}
    tags |= {279: (4, 1, len(packed))}
    content = b"II*\0" + struct.pack("<I", 8) + tiff_directory(0, tags)
    path.write_bytes(content.ljust(200, b"\0") + packed)


def tiff_bomb(path: Path) -> None:
    """A strip of 3 GiB for a page of 600 pixels."""
    tiff_of_one_page(path, packed_zeros(3 * GIB), (20, 30), 8)


def jpeg_bomb(path: Path) -> None:
    """A strip of 256 pixels that is a JPEG of 900 millions."""
    content = BytesIO()
    Image.new("L", (16, 16)).save(content, "jpeg")
    strip = bytearray(content.getvalue())
    place = strip.index(b"\xff\xc0") + 5
    strip[place : place + 4] = struct.pack(">HH", 30_000, 30_000)
    tiff_of_one_page(path, bytes(strip), (16, 16), 7)


def jpeg_lie(path: Path) -> None:
    """A picture of 256 pixels that claims 900 millions."""
    content = BytesIO()
    Image.new("L", (16, 16)).save(content, "jpeg")
    picture = bytearray(content.getvalue())
    place = picture.index(b"\xff\xc0") + 5
    picture[place : place + 4] = struct.pack(">HH", 30_000, 30_000)
    path.write_bytes(picture)


def bmp_lie(path: Path) -> None:
    """A run-length encoded picture that ends at once, and claims 900 millions of pixels."""
    side, table = 30_000, bytes(1024)
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, 2, 1, 1, 256, 0)
    place = 14 + len(header) + len(table)
    file = b"BM" + struct.pack("<IHHI", place + 2, 0, 0, place)
    path.write_bytes(file + header + table + b"\0\1")


def offset_lie(path: Path) -> None:
    """A small volume after 900 MB of nothing."""
    content = bytearray(nib.Nifti1Image(STACK.T, np.diag([2, 2, 2, 1])).to_bytes())
    content[108:112] = struct.pack("<f", 9e8)
    path.write_bytes(gzip.compress(bytes(content[:352]) + bytes(9 * 10**8) + content[352:], 1))


def jpeg_xl_bomb(path: Path) -> None:
    """A strip of 256 pixels that is a JPEG XL of 2**60 (a square of sides of 30 bits each)."""
    sides = 0 | 3 << 1 | (2**30 - 1) << 3 | 1 << 33
    tiff_of_one_page(path, b"\xff\x0a" + sides.to_bytes(8, "little"), (16, 16), 50002)


def webp_bomb(path: Path) -> None:
    """A strip of 256 pixels that is a WebP of 16,383 a side."""
    content = BytesIO()
    Image.new("RGB", (16, 16)).save(content, "webp")
    strip = bytearray(content.getvalue())
    place = strip.index(b"\x9d\x01\x2a") + 3
    strip[place : place + 4] = struct.pack("<HH", 16_383, 16_383)
    tiff_of_one_page(path, bytes(strip), (16, 16), 50001)


def lzma_bomb(path: Path) -> None:
    """A strip of 3 GiB, in streams one after the other, for a page of 600 pixels."""
    tiff_of_one_page(path, lzma.compress(bytes(2**28)), (20, 30), 34925)


def tiff_lie(path: Path) -> None:
    tiff_of_one_page(path, zlib.compress(bytes(600)), (60_000, 60_000), 8)


def zstd_lie(path: Path) -> None:
    tiff_of_one_page(path, bytes(600), (4_000_000_000, 4_000_000_000), 50000)


def circle_of(pages: int, back_to: int) -> Callable[[Path], None]:
    return lambda path: (path.write_bytes(tiff_in_a_circle(pages, back_to)), None)[1]


def endless_chain(path: Path) -> None:
    """A million pages without a tag, one after the other."""
    pages = 1_000_000
    links = np.zeros(pages, np.dtype([("count", "<u2"), ("next", "<u4")]))
    links["next"] = 8 + 6 * np.arange(1, pages + 1)
    links["next"][-1] = 0
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + links.tobytes())


def described(text: str) -> Callable[[Path], object]:
    return lambda path: tifffile.imwrite(path, STACK, description=text, metadata=None)


LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY a0 "ha">'
    + "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
    + "]><OME><Image><Pixels>&a11;</Pixels></Image></OME>"
)
IMAGEJ = "ImageJ=1.53\nimages={0}\nslices={0}\nhyperstack=true\n"

HOSTILE: dict[str, Callable[[Path], object]] = {
    "gzip bomb.nii.gz": gzip_bomb,
    "gzip lie.nii.gz": gzip_lie,
    "png lie.png": png_lie,
    "tiff lie.tif": tiff_lie,
    "zstd lie.tif": zstd_lie,
    "circle of one.tif": circle_of(1, 0),
    "circle of two.tif": circle_of(2, 0),
    "circle of 150.tif": circle_of(150, 20),
    "endless chain.tif": endless_chain,
    "shaped.tif": described('{"shape": [1000000000, 20, 30]}'),
    "laughs.ome.tif": described(LAUGHS),
    "jpeg bomb.tif": jpeg_bomb,
    "jpeg lie.jpg": jpeg_lie,
    "bmp lie.bmp": bmp_lie,
    "offset lie.nii.gz": offset_lie,
    "jpeg xl bomb.tif": jpeg_xl_bomb,
    "webp bomb.tif": webp_bomb,
    "png bomb.png": png_bomb,
    "tiff bomb.tif": tiff_bomb,
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Answer]]:
    """All of them read one after the other."""
    paths = [tmp_path_factory.getbasetemp() / name for name in HOSTILE]
    for path in paths:
        HOSTILE[path.name](path)
    found = read_and_measure(paths)
    return {path.name: (path, answer) for path, answer in zip(paths, found, strict=True)}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_honest_file_needs_is_refused_soon_and_in_little_memory(
    name: str, answers: dict[str, tuple[Path, Answer]]
) -> None:
    path, (said, grown, seconds) = answers[name]
    assert str(path) in said and "\n" not in said
    assert grown < GIB / 4
    assert seconds < 5


def test_a_bomb_does_not_go_off_without_imagecodecs(tmp_path: Path) -> None:
    tiff_bomb(tmp_path / "b.tif")
    lzma_bomb(tmp_path / "c.tif")
    paths = [tmp_path / "b.tif", tmp_path / "c.tif"]
    answers = read_and_measure(paths, plain=True)
    for path, (said, grown, seconds) in zip(paths, answers, strict=True):
        assert f"{path} is damaged: a part of it unpacks to more" in said
        assert grown < GIB / 4
        assert seconds < 5


def test_a_count_of_pictures_that_is_not_needed_does_no_harm(tmp_path: Path) -> None:
    described(IMAGEJ.format(1_000_000_000))(tmp_path / "imagej.tif")
    ((said, grown, seconds),) = read_and_measure([tmp_path / "imagej.tif"])
    assert said == "read (5, 20, 30)"
    assert grown < GIB / 4
    assert seconds < 5


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.png", "a.tif"])
def test_what_an_honest_file_needs_is_held_against_this_machine(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_honest(tmp_path / name)
    read_volume(tmp_path / name)
    monkeypatch.setattr(bounds, "SHARE", 1e-9)
    with pytest.raises(InputError, match=r"GiB of memory .* machine's [\d.,]+ GiB") as caught:
        read_volume(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def write_honest(path: Path) -> None:
    if path.suffix == ".png":
        path.write_bytes(png(STACK[0]))
    elif path.suffix == ".tif":
        tifffile.imwrite(path, STACK)
    else:
        nib.save(nib.Nifti1Image(STACK.T, np.diag([2, 2, 2, 1])), path)


def test_a_true_picture_of_16384_pixels_a_side_opens(tmp_path: Path) -> None:
    side = 16_384
    lines = np.zeros((side, 1 + side), np.uint8)
    lines[1000, 2001] = 7
    (tmp_path / "large.png").write_bytes(png_of(zlib.compress(lines.data, 1), (side, side)))
    ((said, grown, _),) = read_and_measure([tmp_path / "large.png"])
    assert said == f"read ({side}, {side})"
    assert grown < 4 * side * side


def test_memory_that_runs_out_is_one_line(tmp_path: Path) -> None:
    volume = np.zeros((60, 2000, 2000), np.uint8)
    volume[3, 4, 5] = 1
    image = nib.Nifti1Image(volume.T, np.diag([2, 2, 2, 1]))
    nib.save(image, tmp_path / "scan.nii")
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(image.to_bytes(), 1))
    tifffile.imwrite(tmp_path / "scan.tif", volume)
    lines = zlib.compress(bytes(12_001 * 20_000), 1)
    (tmp_path / "scan.png").write_bytes(png_of(lines, (20_000, 12_000)))
    paths = sorted(tmp_path.iterdir())
    command = """
import resource, sys
import PIL.PngImagePlugin, nibabel, tifffile
from napari_scsam.io import read_volume
from napari_scsam.core.errors import InputError
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 150 * 2**20,) * 2)
for path in sys.argv[1:]:
    try:
        read_volume(path)
    except InputError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", command, *paths], capture_output=True, text=True)
    assert done.stderr == ""
    for path, line in zip(paths, done.stdout.splitlines(), strict=True):
        assert f"{path} does not fit into the memory that is left" in line


def test_a_small_file_of_a_project_takes_memory_of_its_size(tmp_path: Path) -> None:
    """As many bytes were reserved as the largest file may have, 1 GiB, at each of them."""
    path = tmp_path / "small.json"
    path.write_bytes(b"[1, 2]")
    tracemalloc.start()
    try:
        assert read_real(path) == b"[1, 2]"
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20
    with pytest.raises(OSError, match="larger than 5 bytes"):
        read_real(path, 5)
