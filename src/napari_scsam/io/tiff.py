"""TIFF images and stacks, with the spacing that ImageJ, OME or the resolution tags name."""

from __future__ import annotations

import logging
import struct
import threading
import zlib
from contextlib import contextmanager
from math import isfinite, prod
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_scsam.core.errors import InputError, ProjectError
from napari_scsam.core.volume import Volume
from napari_scsam.io.atomic import atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from napari_scsam.core.arrays import LabelArray, Pixels
    from napari_scsam.io.grid import Grid

_MM_PER_UNIT = {
    "m": 1000.0,
    "cm": 10.0,
    "mm": 1.0,
    "millimeter": 1.0,
    "um": 1e-3,
    "µm": 1e-3,  # the micro sign
    "μm": 1e-3,  # the Greek letter
    "\\u00b5m": 1e-3,  # as ImageJ writes the micro sign
    "micron": 1e-3,
    "micrometer": 1e-3,
    "nm": 1e-6,
    "inch": 25.4,
    "in": 25.4,
}
_RESOLUTION_UNITS = {2: "inch", 3: "cm"}
# What scanners of paper and drawing programs write when they know no size.
_SCREEN_DPI = (72, 75, 96, 100, 150, 200, 300, 400, 600, 1200)
# What tifffile raises on files that are cut off or scrambled.
_DAMAGE = (
    tifffile.TiffFileError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    OSError,
    RuntimeError,
    AssertionError,
    SyntaxError,  # broken OME-XML
    struct.error,
    zlib.error,
)
# A cut chain of pages is only logged; the pages after the cut would be missing silently.
_CUT_CHAIN = "invalid page offset"


def sniff(head: bytes) -> bool:
    """Whether a file that begins with `head` is a TIFF or BigTIFF."""
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read(path: Path) -> Volume:
    """Read a TIFF: one picture, or a stack of slices of one size.

    Axes keep the file's order, (slice, row, col); axes of length 1 are dropped. Alpha
    is dropped and a palette becomes its colours. The spacing is in mm, from OME
    metadata, ImageJ's, or the resolution tags; it is unknown unless all axes have one.
    A resolution of 72, 96, 300 and the like dots per inch counts as unknown: it is
    what programs write that know no size.

    Raises
    ------
    InputError
        If the file is damaged, has time points, channels or pictures of several
        sizes, or is compressed in a way that needs another package.
    """
    try:
        with _quiet_log() as log, tifffile.TiffFile(path) as file:
            _refuse_incomplete(file, path)
            series = _only_series(file, path)
            if any(_CUT_CHAIN in message for message in log):
                raise _cut_off(path)
            data, axes = _coloured(series, series.asarray())
            data, axes = _squeezed(data, axes)
            _refuse_axes(data, axes, path)
            rgb = axes.endswith("S")
            spacing = _spacing(file, data.ndim - int(rgb))
    except InputError:
        raise
    except _DAMAGE as exc:
        if "imagecodecs" in str(exc):
            raise InputError(
                f"{path} is compressed in a way that needs one more package. Install it with: "
                "pip install imagecodecs, or save the file uncompressed."
            ) from exc
        raise InputError(
            f"{path} is damaged: the TIFF in it ends early or is broken. Copy or export it again."
        ) from exc
    return Volume.from_array(data, spacing, rgb=rgb)


def write(path: Path, label: LabelArray, like: Grid) -> list[Path]:
    """Write a label map as ImageJ's TIFF, with spacing in mm where it is known.

    Orientation and origin have no place in a TIFF.

    Raises
    ------
    ProjectError
        If the disk is full, or values or spacing do not come back as they were.
    """
    metadata: dict[str, Any] = {"axes": "ZYX"[-label.ndim :]}
    resolution = None
    if like.spacing_known:
        metadata["unit"] = "mm"
        resolution = (1 / like.spacing[-1], 1 / like.spacing[-2])
        if label.ndim == 3:
            metadata["spacing"] = like.spacing[0]
    with atomic_write(path) as temporary:
        tifffile.imwrite(temporary, label, imagej=True, resolution=resolution, metadata=metadata)
        again = _read_back(temporary, label.ndim)
        same = again[0].dtype == np.uint8 and np.array_equal(again[0].reshape(label.shape), label)
        if like.spacing_known:
            same = same and again[1] is not None and np.allclose(again[1], like.spacing, rtol=1e-5)
        if not same:
            raise ProjectError(
                f"{path} was not written: values or spacing did not read back as they were."
            )
    return [path]


def _read_back(path: Path, ndim: int) -> tuple[Pixels, tuple[float, ...] | None]:
    with tifffile.TiffFile(path) as file:
        return file.asarray(), _spacing(file, ndim)


@contextmanager
def _quiet_log() -> Iterator[list[str]]:
    """Collect what tifffile logs in this thread, which nobody needs on the terminal."""
    messages: list[str] = []
    handler = logging.Handler()
    thread = threading.get_ident()

    def keep(record: logging.LogRecord) -> None:
        if record.thread == thread:
            messages.append(record.getMessage())

    handler.emit = keep  # type: ignore[method-assign]
    logger = logging.getLogger("tifffile")
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)


def _cut_off(path: Path) -> InputError:
    return InputError(f"{path} is damaged: it ends before its last pixel. Copy or export it again.")


def _refuse_incomplete(file: Any, path: Path) -> None:
    size = path.stat().st_size
    for page in file.pages:
        ends = (o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False))
        if max(ends, default=0) > size:
            raise _cut_off(path)


def _only_series(file: Any, path: Path) -> Any:
    series = file.series
    if len(series) != 1:
        shapes = ", ".join(str(s.shape) for s in series[:4])
        raise InputError(
            f"{path} holds {len(series)} pictures of different kinds ({shapes}). "
            "Save each as its own file."
        )
    page = series[0].keyframe
    needed = prod(series[0].shape) * page.bitspersample // 8
    if page.compression == tifffile.COMPRESSION.NONE and needed > path.stat().st_size:
        raise _cut_off(path)
    return series[0]


def _coloured(series: Any, data: Pixels) -> tuple[Pixels, str]:
    """Pixels with their axes; a palette's indices become colours."""
    page, axes = series.keyframe, str(series.axes)
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None:
        return np.moveaxis((page.colormap >> 8).astype(np.uint8)[:, data], 0, -1), f"{axes}S"
    if "S" in axes:
        data = np.moveaxis(data, axes.index("S"), -1)
        axes = axes.replace("S", "") + "S"
        # Grey with alpha, or colour with alpha.
        data = data[..., :3] if data.shape[-1] > 3 else data
        data = data[..., :1] if data.shape[-1] == 2 else data
    return data, axes


def _squeezed(data: Pixels, axes: str) -> tuple[Pixels, str]:
    kept = [i for i, axis in enumerate(axes) if data.shape[i] > 1 or axis in "YX"]
    return data.reshape([data.shape[i] for i in kept]), "".join(axes[i] for i in kept)


def _refuse_axes(data: Pixels, axes: str, path: Path) -> None:
    if "T" in axes:
        raise InputError(
            f"{path} has {data.shape[axes.index('T')]} time points. "
            "Split a time series into one file per time point."
        )
    if "C" in axes:
        raise InputError(
            f"{path} has {data.shape[axes.index('C')]} channels. Save the one to outline as its "
            "own file."
        )
    spatial = axes.removesuffix("S")
    if len(spatial) not in (2, 3) or not spatial.endswith("YX"):
        raise InputError(
            f"{path} has shape {data.shape} (axes {axes}): an image has rows and columns, and "
            "at most one axis of slices."
        )


def _spacing(file: Any, ndim: int) -> tuple[float, ...] | None:
    """Spacing of the last `ndim` axes in mm; None unless all are known."""
    found = _ome_spacing(file) if file.is_ome else _tag_spacing(file)
    spacing = tuple(found.get(axis) for axis in "ZYX"[-ndim:])
    known = tuple(v for v in spacing if v is not None and isfinite(v) and v > 0)
    return known if len(known) == ndim else None


def _ome_spacing(file: Any) -> dict[str, float]:
    image = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
    pixels: Mapping[str, Any] = (image[0] if isinstance(image, list) else image)["Pixels"]
    found = {}
    for axis in "XYZ":
        factor = _MM_PER_UNIT.get(str(pixels.get(f"PhysicalSize{axis}Unit", "µm")))
        size = pixels.get(f"PhysicalSize{axis}")
        if factor is not None and size is not None:
            found[axis] = float(size) * factor
    return found


def _tag_spacing(file: Any) -> dict[str, float]:
    tags = file.pages[0].tags
    imagej = file.imagej_metadata or {}
    tag_unit = _RESOLUTION_UNITS.get(int(tags.valueof("ResolutionUnit", 1)), "")
    unit = str(imagej.get("unit", tag_unit)).lower()
    if unit not in _MM_PER_UNIT:
        return {}
    found = {}
    for axis in "XY":
        over, under = tags.valueof(f"{axis}Resolution", (0, 1))
        if over > 0 and under > 0 and not (unit == "inch" and over / under in _SCREEN_DPI):
            found[axis] = under / over * _MM_PER_UNIT[unit]
    if "spacing" in imagej:
        found["Z"] = abs(float(imagej["spacing"])) * _MM_PER_UNIT[unit]
    return found
