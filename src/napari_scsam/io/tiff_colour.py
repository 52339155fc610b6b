"""Colour spaces of TIFF, and their conversion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from tifffile import EXTRASAMPLE, PHOTOMETRIC

from napari_scsam.core.errors import InputError
from napari_scsam.io.tiff_codecs import JPEGS

if TYPE_CHECKING:
    from pathlib import Path

    from napari_scsam.core.arrays import Pixels

# Number of colour samples of a pixel, for the colour spaces that are supported (TIFF 6.0).
_COLOURS = {
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.MASK: 1,
    PHOTOMETRIC.SEPARATED: 4,
    PHOTOMETRIC.YCBCR: 3,
}
_ALPHA = (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA)
# Value of the tag InkSet (TIFF 6.0, section 16).
_CMYK = 1


def refuse_colour(series: Any, path: Path) -> None:
    """Refuse values that are no real numbers, and unsupported colours.

    Raises
    ------
    InputError
        If values are complex, the colour space is not supported, or there are channels
        besides the colours and alpha.
    """
    page = series.keyframe
    if series.dtype is None or series.dtype.kind not in "buif":
        raise InputError(f"{path} holds values of type {series.dtype}; an image has real numbers.")
    space = page.photometric
    unread = space not in _COLOURS or (
        space == PHOTOMETRIC.YCBCR and page.compression not in JPEGS  # only these are converted
    )
    unread |= space == PHOTOMETRIC.SEPARATED and page.tags.valueof("InkSet", _CMYK) != _CMYK
    if unread:
        name = getattr(space, "name", space)
        raise InputError(
            f"{path} is in the colour space {name}, which is not read. Save it in grey or RGB."
        )
    if not _is_known(page):
        raise InputError(
            f"{path} has {page.samplesperpixel} channels. Save the one to outline as its own file."
        )


def _is_known(page: Any) -> bool:
    """Whether the samples of a pixel are its colours, with or without alpha."""
    colours, samples = _COLOURS[page.photometric], page.samplesperpixel
    if page.photometric == PHOTOMETRIC.MINISBLACK and samples == 3:
        return True  # as some programs write RGB
    spare = samples - colours
    extra = tuple(page.extrasamples or ())
    return spare == 0 or (spare == 1 and len(extra) == 1 and extra[0] in _ALPHA)


def coloured(series: Any, data: Pixels, *, indices: bool) -> tuple[Pixels, str]:
    """Convert pixels to grey or RGB, with colours last; white-is-zero is not inverted.

    Parameters
    ----------
    series : tifffile.TiffPageSeries
        The series of the pixels, checked by `refuse_colour`.
    data : ndarray
        Its pixels.
    indices : bool
        Return the indices of a palette instead of its colours.
    """
    page, axes = series.keyframe, str(series.axes)
    if "S" in axes:
        data = np.moveaxis(data, axes.index("S"), -1)
        axes = axes.replace("S", "") + "S"
        if _COLOURS[page.photometric] == 1 and data.shape[-1] == 2:
            data = data[..., :1]  # grey with alpha
    if page.photometric == PHOTOMETRIC.PALETTE and page.colormap is not None and not indices:
        table = (page.colormap >> 8).astype(np.uint8)
        data = data[..., 0] if axes.endswith("S") else data
        return np.moveaxis(table[:, data], 0, -1), f"{axes.removesuffix('S')}S"
    if page.photometric == PHOTOMETRIC.SEPARATED and axes.endswith("S"):
        return _rgb_of_cmyk(data), axes
    return (data[..., :3] if axes.endswith("S") else data), axes


def _rgb_of_cmyk(data: Pixels) -> Pixels:
    """Convert CMYK to RGB: (1 - C) (1 - K), and so on for M and Y."""
    if data.dtype.kind != "u":
        raise TypeError(data.dtype)
    most = float(np.iinfo(data.dtype).max)
    light = 1 - data[..., :4] / np.float32(most)
    return np.rint(light[..., :3] * light[..., 3:] * most).astype(data.dtype)
