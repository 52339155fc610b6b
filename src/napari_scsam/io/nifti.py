"""NIfTI-1 and NIfTI-2 single files. Axes are reversed, never reoriented."""

from __future__ import annotations

import gzip
import os
import zlib
from io import BytesIO
from math import prod
from typing import TYPE_CHECKING, BinaryIO

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy

from napari_scsam.core.errors import InputError, ProjectError
from napari_scsam.core.volume import Volume
from napari_scsam.io.atomic import atomic_write
from napari_scsam.io.bounds import MAX_DEFLATE_RATIO, damaged, refuse_too_large
from napari_scsam.io.nifti_header import HEADER_BYTES, MM_PER_UNIT, Layout, parse

if TYPE_CHECKING:
    from pathlib import Path

    from napari_scsam.core.arrays import Affine, LabelArray, Pixels
    from napari_scsam.io.grid import Grid

_GZIP = b"\x1f\x8b"
# NIfTI-1 stores sides as signed 16-bit numbers.
_NIFTI1_MAX_SIDE = 32767
# Bytes that are read at a time (arbitrary).
_CHUNK = 2**20
# Bytes that may follow the last value in a compressed file (arbitrary; there should be none).
_MAX_TRAILING_BYTES = 16 * _CHUNK


def sniff(head: bytes) -> bool:
    """Whether a file that begins with `head` (at least 352 bytes) is a NIfTI, or gzip."""
    return (
        head[:2] == _GZIP
        or head[344:348] in (b"n+1\0", b"ni1\0")
        or head[4:7]
        in (
            b"n+2",
            b"ni2",
        )
    )


def read(path: Path, *, indices: bool = False) -> Volume:
    """Read a NIfTI file.

    Axes are reversed to (slice, row, col); a trailing fourth axis of length 1 is
    dropped. (cols, rows, 1) stays a volume of one slice, so that an export has the same
    shape. Values are scaled only if the header has a scale. Metres and microns are converted
    to millimetres. The spacing is unknown if the affine is the identity, because software
    without a spacing writes the identity. `indices` has no effect, since a NIfTI has no
    palette.

    Raises
    ------
    InputError
        If the file is damaged, a time series, of a data type that is no image, or larger than
        its bytes or this machine's memory allow.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        layout, data = _read_from(file, size, path)
    shape = layout.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    data = data.reshape(shape)
    rgb = data.dtype.fields is not None
    if rgb:
        data = np.stack([data[name] for name in "RGB"], axis=-1)
    axes = tuple(reversed(range(len(shape)))) + ((len(shape),) if rgb else ())
    return Volume(data.transpose(axes), layout.affine, rgb, layout.spacing_known, layout.facts)


def encode_label(label: LabelArray, grid: Grid) -> bytes:
    """Encode a uint8 label map on `grid` as the bytes of a ``.nii.gz``.

    The affine, units and qform/sform codes are those of the grid. The result is deterministic.

    Parameters
    ----------
    label : ndarray of shape (rows, cols) or (slices, rows, cols), uint8
        0 background, 1..K classes, 255 not annotated.
    grid : Grid
        The grid of `label`: the image's Volume or its record in a project.
    """
    kind = nib.Nifti1Image if max(label.shape) <= _NIFTI1_MAX_SIDE else nib.Nifti2Image
    facts = grid.header
    unit = str(facts.get("unit", "mm" if grid.spacing_known else "unknown"))
    affine = _to_mm(grid.affine, 1 / MM_PER_UNIT[unit])
    image = kind(np.ascontiguousarray(label).transpose(), affine)
    image.header.set_xyzt_units(xyz=unit)
    sform_code, qform_code = int(facts.get("sform_code", 1)), int(facts.get("qform_code", 1))
    image.set_sform(affine if sform_code else None, code=sform_code)
    # Without a separate qform, the affine was read from the qform, or the qform repeats it.
    image.set_qform(np.array(facts.get("qform", affine), float), code=qform_code)
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)


def write(path: Path, label: LabelArray, like: Grid) -> list[Path]:
    """Write a label map as ``.nii`` or ``.nii.gz``; see `write_labels`.

    Raises
    ------
    ProjectError
        If the disk is full, or values or affine differ when read back.
    """
    content = encode_label(label, like)
    if not path.name.lower().endswith(".gz"):
        content = gzip.decompress(content)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
        again = read(temporary)
        # The header's numbers are float32, so the affine differs by rounding (1e-4 is arbitrary).
        tolerance = 1e-4 * min(like.spacing)
        same_place = np.allclose(again.affine, like.affine, rtol=1e-5, atol=tolerance)
        if not (same_place and np.array_equal(again.data, label) and again.data.dtype == np.uint8):
            raise ProjectError(
                f"{path} was not written: values or affine did not read back as they were."
            )
    return [path]


def decode_label(content: bytes, path: Path) -> LabelArray:
    """Decode a label map from the bytes of `encode_label`.

    Returns
    -------
    ndarray of shape (rows, cols) or (slices, rows, cols), uint8
    """
    _, data = _read_from(BytesIO(content), len(content), path)
    label: LabelArray = np.ascontiguousarray(data.transpose(), dtype=np.uint8)
    return label


def _read_from(file: BinaryIO, size: int, path: Path) -> tuple[Layout, Pixels]:
    """Read header and values of a file of `size` bytes; axes are as stored, columns first."""
    if file.read(2) != _GZIP:
        return _read_plain(file, size, path)
    file.seek(0)
    try:
        with gzip.GzipFile(fileobj=file) as unpacked:
            found = _read_plain(unpacked, size * MAX_DEFLATE_RATIO, path)
            _read_to_the_end(unpacked, path)
            return found
    except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
        raise damaged(path, "its compressed content ends early or is broken") from exc


def _read_plain(file: BinaryIO | gzip.GzipFile, most: int, path: Path) -> tuple[Layout, Pixels]:
    """Read the header and the values of a stream of at most `most` bytes."""
    file.seek(0)
    head = file.read(HEADER_BYTES)
    if not sniff(head) or head[:2] == _GZIP:
        raise InputError(f"{path} is a gzip file, but there is no NIfTI image in it.")
    layout = parse(head, path)
    _refuse_kind(layout, path)
    if layout.end > most:
        raise damaged(path, f"it holds at most {most} of the {layout.end} bytes it claims")
    scaled = layout.scale != (1.0, 0.0)
    refuse_too_large(path, layout.end + scaled * 8 * prod(layout.shape))
    proxy = ArrayProxy(file, (layout.shape, layout.dtype, layout.offset, *layout.scale), mmap=False)
    try:
        # A scale that overflows gives infinities, which are refused later.
        with np.errstate(over="ignore", invalid="ignore"):
            data: Pixels = np.asanyarray(proxy)
    except (gzip.BadGzipFile, EOFError):
        raise
    except (OSError, ValueError) as exc:
        raise damaged(path, f"it ends before the last of its {layout.end} bytes") from exc
    wide = data.dtype == np.float64 and layout.dtype.itemsize <= 2
    if wide or data.dtype.itemsize > 8:
        # Scaled small integers fit float32, at half the memory. 128 bits are not supported.
        data = data.astype(np.float32 if wide else np.float64)
    return layout, data.astype(data.dtype.newbyteorder("="), copy=False)


def _read_to_the_end(unpacked: gzip.GzipFile, path: Path) -> None:
    """Read to the end, so that gzip compares the checksum there."""
    for _ in range(_MAX_TRAILING_BYTES // _CHUNK):
        if not unpacked.read(_CHUNK):
            return
    raise damaged(path, f"more than {_MAX_TRAILING_BYTES} bytes follow its last value")


def _refuse_kind(layout: Layout, path: Path) -> None:
    fields = layout.dtype.fields
    if layout.dtype.kind not in "iuf" and not (fields and set("RGB") <= set(fields)):
        raise InputError(f"{path} holds values of type {layout.dtype}; an image has real numbers.")
    axes = len([n for n in layout.shape[3:] if n > 1]) + min(len(layout.shape), 3)
    if axes not in (2, 3):
        raise InputError(
            f"{path} has shape {layout.shape}: an image has 2 or 3 axes. "
            "Split a time series into one file per time point."
        )


def _to_mm(affine: Affine, factor: float) -> Affine:
    scaled = np.array(affine, dtype=np.float64)
    scaled[:3] *= factor
    return scaled
