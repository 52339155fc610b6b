"""NIfTI-1 and NIfTI-2 single files: axes reversed, never reoriented."""

from __future__ import annotations

import gzip
import zlib
from io import BytesIO
from math import prod
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.imageglobals import LoggingOutputSuppressor
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from napari_scsam.core.errors import InputError, ProjectError
from napari_scsam.core.volume import Volume
from napari_scsam.io.atomic import atomic_write

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_scsam.core.arrays import Affine, LabelArray, Pixels
    from napari_scsam.io.grid import Grid

_GZIP = b"\x1f\x8b"
_MM_PER_UNIT = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
# NIfTI-1 keeps sides in 16 bits with a sign.
_NIFTI1_MAX_SIDE = 32767


def sniff(head: bytes) -> bool:
    """Whether a file that begins with `head` (at least 352 bytes) is a NIfTI, or gzip."""
    return head[:2] == _GZIP or head[344:348] in (b"n+1\0", b"ni1\0") or head[4:7] == b"n+2"


def read(path: Path) -> Volume:
    """Read a NIfTI file.

    Axes are reversed to (slice, row, col); a trailing fourth axis of length 1 is
    dropped; (cols, rows, 1) stays a volume of one slice, so that its export is the
    same file again. Values are scaled only where the header says so. Lengths in
    metres or microns become millimetres. The spacing counts as unknown when the
    affine is the identity, which is what software writes that had none.

    Raises
    ------
    InputError
        If the file is damaged, a time series, or of a type that is no image.
    """
    image = _from_bytes(path.read_bytes(), path)
    shape = image.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (2, 3):
        raise InputError(
            f"{path} has shape {image.shape}: an image has 2 or 3 axes. "
            "Split a time series into one file per time point."
        )
    data = _pixels(image, path).reshape(shape)
    rgb = data.dtype.fields is not None
    if rgb:
        data = np.stack([data[name] for name in "RGB"], axis=-1)
    axes = tuple(reversed(range(len(shape)))) + ((len(shape),) if rgb else ())
    unit = _unit(image)
    affine = _to_mm(image.affine, _MM_PER_UNIT[unit])
    known = not np.array_equal(np.abs(affine), np.eye(4))
    return Volume(data.transpose(axes), affine, rgb, known, _header_facts(image, unit))


def encode_label(label: LabelArray, grid: Grid) -> bytes:
    """Bytes of a ``.nii.gz`` with a uint8 label map on `grid`.

    The affine, units and qform/sform codes are those of the grid; the same input
    gives the same bytes.

    Parameters
    ----------
    label : ndarray of shape (rows, cols) or (slices, rows, cols), uint8
        0 background, 1..K classes, 255 not annotated.
    grid : Grid
        What `label` lies on: the image's Volume or its record in a project.
    """
    kind = nib.Nifti1Image if max(label.shape) <= _NIFTI1_MAX_SIDE else nib.Nifti2Image
    facts = grid.header
    unit = str(facts.get("unit", "mm" if grid.spacing_known else "unknown"))
    affine = _to_mm(grid.affine, 1 / _MM_PER_UNIT[unit])
    image = kind(np.ascontiguousarray(label).transpose(), affine)
    image.header.set_xyzt_units(xyz=unit)
    sform_code, qform_code = int(facts.get("sform_code", 1)), int(facts.get("qform_code", 1))
    image.set_sform(affine if sform_code else None, code=sform_code)
    # Without an own qform, the affine was read from it, or it repeats the affine.
    image.set_qform(np.array(facts.get("qform", affine), float), code=qform_code)
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)


def write(path: Path, label: LabelArray, like: Grid) -> list[Path]:
    """Write a label map as ``.nii`` or ``.nii.gz``; see `write_labels`.

    Raises
    ------
    ProjectError
        If the disk is full, or values or affine do not come back as they were.
    """
    content = encode_label(label, like)
    if not path.name.lower().endswith(".gz"):
        content = gzip.decompress(content)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
        again = read(temporary)
        # The header's numbers have 32 bits.
        tolerance = 1e-4 * min(like.spacing)
        same_place = np.allclose(again.affine, like.affine, rtol=1e-5, atol=tolerance)
        if not (same_place and np.array_equal(again.data, label) and again.data.dtype == np.uint8):
            raise ProjectError(
                f"{path} was not written: values or affine did not read back as they were."
            )
    return [path]


def decode_label(content: bytes, path: Path) -> LabelArray:
    """Label map from the bytes that `encode_label` made.

    Returns
    -------
    ndarray of shape (rows, cols) or (slices, rows, cols), uint8
    """
    image = _from_bytes(content, path)
    label: LabelArray = np.ascontiguousarray(np.asarray(image.dataobj).transpose(), dtype=np.uint8)
    return label


def _from_bytes(content: bytes, path: Path) -> Any:
    if content[:2] == _GZIP:
        try:
            content = gzip.decompress(content)
        except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
            raise _damaged(path, "its compressed content ends early or is broken") from exc
        if not sniff(content[:352]):
            raise InputError(f"{path} is a gzip file, but there is no NIfTI image in it.")
    if content[344:348] == b"ni1\0":
        raise InputError(
            f"{path} is the header of a two-file NIfTI (.hdr and .img). "
            "Convert it to a single .nii.gz first."
        )
    kind = nib.Nifti2Image if content[4:7] == b"n+2" else nib.Nifti1Image
    try:
        # What nibabel mends in a header is no news for a person.
        with LoggingOutputSuppressor():
            image = kind.from_stream(BytesIO(content))
    except (WrapStructError, HeaderDataError, ImageFileError) as exc:
        raise _damaged(path, "its header can't be read") from exc
    needed = image.dataobj.offset + prod(image.shape) * image.get_data_dtype().itemsize
    if len(content) < needed or min(image.shape, default=0) < 1:
        raise _damaged(path, f"it holds {len(content)} bytes of at least {needed}")
    return image


def _damaged(path: Path, why: str) -> InputError:
    return InputError(f"{path} is damaged: {why}. Copy or export it again.")


def _pixels(image: Any, path: Path) -> Pixels:
    stored = image.get_data_dtype()
    colour = stored.fields is not None and set("RGB") <= set(stored.fields)
    if stored.kind not in "iuf" and not colour:
        raise InputError(f"{path} holds values of type {stored}; an image has real numbers.")
    # A scale that overflows gives infinities, which are refused with their number.
    with np.errstate(over="ignore", invalid="ignore"):
        data: Pixels = np.asanyarray(image.dataobj)
        if data.dtype == np.float64 and stored.itemsize <= 2:
            # Scaled small integers: float32 holds them, at half the memory.
            data = data.astype(np.float32)
    return data.astype(data.dtype.newbyteorder("="), copy=False)


def _unit(image: Any) -> str:
    try:
        unit = str(image.header.get_xyzt_units()[0])
    except KeyError:  # a code that the standard does not have
        return "unknown"
    return unit if unit in _MM_PER_UNIT else "unknown"


def _to_mm(affine: Affine, factor: float) -> Affine:
    scaled = np.array(affine, dtype=np.float64)
    scaled[:3] *= factor
    return scaled


def _header_facts(image: Any, unit: str) -> Mapping[str, Any]:
    facts: dict[str, Any] = {
        "unit": unit,
        "sform_code": int(image.header["sform_code"]),
        "qform_code": int(image.header["qform_code"]),
    }
    if facts["sform_code"] and facts["qform_code"]:
        facts["qform"] = image.get_qform().tolist()
    return facts
