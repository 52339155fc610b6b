"""TIFF images and stacks, with the spacing of ImageJ, OME or the resolution tags."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_scsam.core.errors import InputError, ProjectError
from napari_scsam.core.volume import Volume
from napari_scsam.io.atomic import atomic_write
from napari_scsam.io.bounds import DAMAGE, damaged
from napari_scsam.io.tiff_bounds import (
    refuse_bombs,
    refuse_circle,
    refuse_foreign,
    refuse_incomplete,
    refuse_oversize,
)
from napari_scsam.io.tiff_codecs import decoded, refuse_codec
from napari_scsam.io.tiff_colour import coloured, refuse_colour

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from napari_scsam.core.arrays import LabelArray, Pixels
    from napari_scsam.io.grid import Grid

# Units of OME (PhysicalSizeXUnit), ImageJ and the TIFF tag ResolutionUnit.
_MM_PER_UNIT = {
    "km": 1e6,
    "m": 1000.0,
    "dm": 100.0,
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
    "Å": 1e-7,
    "å": 1e-7,  # as it is compared
    "pm": 1e-9,
    "inch": 25.4,
    "in": 25.4,
}
_RESOLUTION_UNITS = {2: "inch", 3: "cm"}
# Resolutions that paper scanners and drawing programs write by default. They are no true spacing.
_DEFAULT_DPI = (72, 75, 96, 100, 150, 200, 300, 400, 600, 1200)
# Messages that tifffile logs for a truncated list of pages, of which it then returns fewer.
_TRUNCATED = ("invalid page offset", "invalid offset to page", "corrupted tag list")
# Readers of tifffile that would open other files are disabled.
_SINGLE_FILE = {"is_mmstack": False, "is_ndtiff": False, "_multifile": False}


def sniff(head: bytes) -> bool:
    """Whether a file that begins with `head` is a TIFF or BigTIFF."""
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read(path: Path, *, indices: bool = False) -> Volume:
    """Read a TIFF: one image, or a stack of slices of one size.

    Axes keep the file's order, (slice, row, col); axes of length 1 are dropped. Alpha is
    dropped, and CMYK becomes RGB. A palette becomes colours, or stays indices if `indices` is
    set. No other file is opened. The spacing in mm comes from the metadata of OME or ImageJ, or
    from the resolution tags; it is unknown unless all axes have one. A resolution of 72, 96 or
    300 dots per inch and similar counts as unknown, because programs write it by default.

    Raises
    ------
    InputError
        If the file is damaged, has time points, channels or images of several sizes, is one
        of a series of files, has a colour space that is not supported or a compression that
        needs another package, or is larger than its bytes or this machine's memory allow.
    """
    try:
        refuse_circle(path)
        with _quiet_log() as log, tifffile.TiffFile(path, **_SINGLE_FILE) as file:
            refuse_incomplete(file, path)
            refuse_foreign(file, path)
            series = _only_series(file, path)
            if any(sign in message for message in log for sign in _TRUNCATED):
                raise _truncated(path)
            refuse_colour(series, path)
            refuse_codec(series, path)
            refuse_oversize(series, path)
            refuse_bombs(series, path)
            data, axes = coloured(series, decoded(series, path), indices=indices)
            data, axes = _squeezed(data, axes)
            _refuse_axes(data, axes, path)
            rgb = axes.endswith("S")
            spacing = _spacing(file, data.ndim - int(rgb))
    except InputError:
        raise
    except DAMAGE as exc:
        raise damaged(path, "the TIFF in it ends early or is broken") from exc
    return Volume.from_array(data, spacing, rgb=rgb)


def write(path: Path, label: LabelArray, like: Grid) -> list[Path]:
    """Write a label map as an ImageJ TIFF, with its spacing in mm if it is known.

    A TIFF has no orientation and no origin.

    Raises
    ------
    ProjectError
        If the disk is full, or values or spacing differ when read back.
    """
    metadata: dict[str, Any] = {"axes": "ZYX"[-label.ndim :]}
    resolution = None
    if like.spacing_known:
        unit = _unit_for(like.spacing)
        steps = [step / _MM_PER_UNIT[unit] for step in like.spacing]
        metadata["unit"] = unit
        resolution = (1 / steps[-1], 1 / steps[-2])
        if label.ndim == 3:
            metadata["spacing"] = steps[0]
    with atomic_write(path) as temporary:
        tifffile.imwrite(temporary, label, imagej=True, resolution=resolution, metadata=metadata)
        again = _read_back(temporary, label.ndim)
        same = again[0].dtype == np.uint8 and np.array_equal(again[0].reshape(label.shape), label)
        if like.spacing_known:
            same = (
                same
                and again[1] is not None
                and np.allclose(again[1], like.spacing, rtol=1e-5, atol=0)
            )
        if not same:
            raise ProjectError(
                f"{path} was not written: values or spacing did not read back as they were."
            )
    return [path]


def _unit_for(spacing: tuple[float, ...]) -> str:
    """mm, unless the spacing is too small or too large for the 32-bit fractions of a TIFF."""
    if min(spacing) < 1e-3:
        return "nm"
    return "m" if max(spacing) > 1e6 else "mm"


def _read_back(path: Path, ndim: int) -> tuple[Pixels, tuple[float, ...] | None]:
    with tifffile.TiffFile(path) as file:
        return file.asarray(), _spacing(file, ndim)


@contextmanager
def _quiet_log() -> Iterator[list[str]]:
    """Collect the log messages of tifffile in this thread, so that they are not printed."""
    messages: list[str] = []
    handler = logging.Handler()
    thread = threading.get_ident()

    def keep(record: logging.LogRecord) -> None:
        if record.thread == thread:
            messages.append(record.getMessage())

    handler.emit = keep  # type: ignore[method-assign]
    loggers = [logging.getLogger(name) for name in ("tifffile", "imagecodecs")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield messages
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


def _truncated(path: Path) -> InputError:
    return damaged(path, "it ends before its last pixel")


def _only_series(file: Any, path: Path) -> Any:
    series = file.series
    if not series:
        raise damaged(path, "there is no picture in it")
    if len(series) != 1:
        shapes = ", ".join(str(s.shape) for s in series[:4])
        raise InputError(
            f"{path} holds {len(series)} pictures of different kinds ({shapes}). "
            "Save each as its own file."
        )
    if any(page is None for page in series[0].pages):
        raise damaged(path, "its metadata names more planes than it holds")
    return series[0]


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
        if over > 0 and under > 0 and not (unit == "inch" and over / under in _DEFAULT_DPI):
            found[axis] = under / over * _MM_PER_UNIT[unit]
    if "spacing" in imagej:
        found["Z"] = abs(float(imagej["spacing"])) * _MM_PER_UNIT[unit]
    return found
