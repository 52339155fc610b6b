"""Conversion between a plane and SAM's input: the only place that handles both frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from skimage.color import rgb2gray
from skimage.transform import resize_local_mean
from torch import Tensor
from torch.nn import functional

from napari_scsam.core.errors import InputError
from napari_scsam.core.log_odds import SURE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_scsam.core.arrays import FloatArray
    from napari_scsam.core.prompts import Box, Point
    from napari_scsam.core.volume import Around
    from napari_scsam.models.zoo import Normalisation

# Part of every embedding key and adapter record: raise it when `prepare` changes.
PREPROCESS_VERSION = 1

# Grey values are clipped to them, as in MedSAM (Ma et al., Nature Communications 2024).
PERCENTILES = (0.5, 99.5)
# A plane has rows and columns; SAM can't be given a line. Arbitrary.
MIN_SIDE = 2

# Statistics of SAM's training pictures, 0..255.
SAM_MEAN = np.array([123.675, 116.28, 103.53], dtype=np.float32)
SAM_STD = np.array([58.395, 57.12, 57.375], dtype=np.float32)


@dataclass(frozen=True)
class Frame:
    """Position of a plane in SAM's square input: scaled to fit, at the top left.

    Attributes
    ----------
    shape : tuple of int
        (rows, cols) of the plane.
    size : int
        Side of the square, in pixels.
    """

    shape: tuple[int, int]
    size: int

    @property
    def resized(self) -> tuple[int, int]:
        """(h, w) of the scaled plane; the rest of the square is padding."""
        scale = self.size / max(self.shape)
        rows, cols = (max(1, int(side * scale + 0.5)) for side in self.shape)
        return rows, cols

    def to_xy(self, points: Sequence[Point]) -> FloatArray:
        """Convert (row, col) in plane pixels to SAM's (x, y).

        In both frames pixel centres are whole numbers, so a centre maps by
        ``(p + 0.5) * scale - 0.5``; SAM's prompt encoder adds 0.5 itself.

        Parameters
        ----------
        points : sequence of (row, col)
            N of them.

        Returns
        -------
        ndarray of shape (N, 2), float32
            (x, y) in pixels of the square.
        """
        rc = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        moved = (rc + 0.5) * self._scale() - 0.5
        return moved[:, ::-1].astype(np.float32)

    def box_to_xyxy(self, box: Box) -> FloatArray:
        """Clip a box in plane pixels to the plane and convert it to (x0, y0, x1, y1), float32."""
        limit = np.array([*self.shape, *self.shape], dtype=np.float64) - 1
        r0, c0, r1, c1 = np.clip(np.asarray(box, dtype=np.float64), 0, limit)
        return self.to_xy([(r0, c0), (r1, c1)]).reshape(4)

    def mask_to_input(self, mask: NDArray[Any], side: int) -> Tensor:
        """Convert a mask on the plane's grid to SAM's mask prompt.

        Parameters
        ----------
        mask : ndarray of shape (rows, cols), bool or float32 logits
            Logits are clipped to +-8; a bool mask becomes +-8.
        side : int
            Side of the prompt encoder's mask input; divides `size`.

        Returns
        -------
        Tensor of shape (1, 1, side, side), float32
            Logits; padding counts as outside.
        """
        array = np.asarray(mask)
        logits = np.where(array, SURE, -SURE) if array.dtype == bool else array
        if not np.isfinite(logits).all():
            raise InputError("A mask prompt is bool or finite logits; this one has NaN or Inf.")
        limited = np.clip(logits, -SURE, SURE).astype(np.float32)
        h, w = self.resized
        resized = torch.from_numpy(resize(limited, (h, w)))[None, None]
        padded = functional.pad(resized, (0, self.size - w, 0, self.size - h), value=-SURE)
        return functional.avg_pool2d(padded, self.size // side)

    def logits_to_plane(self, low: Tensor) -> Tensor:
        """Resample SAM's low-resolution logits to the plane's grid.

        Parameters
        ----------
        low : Tensor of shape (N, C, side, side)
            Logits of the whole square, including padding.

        Returns
        -------
        Tensor of shape (N, C, rows, cols)
            Bilinear, after removing the padding.
        """
        if low.shape[-1] != self.size:
            low = bilinear(low, (self.size, self.size))
        return bilinear(self.without_padding(low), self.shape)

    def without_padding(self, square: Tensor) -> Tensor:
        """Return the part (..., h, w) of a tensor (..., size, size) that shows the plane."""
        h, w = self.resized
        return square[..., :h, :w]

    def _scale(self) -> NDArray[np.float64]:
        # Rounding makes the scales of both axes differ slightly on non-square planes.
        return np.divide(self.resized, self.shape)


@dataclass(frozen=True, eq=False)
class Prepared:
    """Input of an image encoder for one plane.

    Attributes
    ----------
    pixels : Tensor of shape (3, size, size), float32
        Normalised for the encoder, zero in the padding.
    frame : Frame
        Position of the plane in it.
    view : ndarray of shape (h, w), float32
        Resized grey picture in 0..1, without padding.
    """

    pixels: Tensor
    frame: Frame
    view: FloatArray


def check_plane(image: NDArray[Any]) -> NDArray[Any]:
    """Validate a plane and return it as an array.

    Raises
    ------
    InputError
        If it is not (rows, cols) or (rows, cols, 3), not numeric, a side is below 2 pixels, a
        value is not finite, or all values are equal.
    """
    array = np.asarray(image)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise InputError(f"A plane is (rows, cols) or (rows, cols, 3), got shape {array.shape}.")
    if array.dtype.kind not in "biuf":
        raise InputError(f"A plane holds real numbers, got dtype {array.dtype}.")
    if min(array.shape[:2]) < MIN_SIDE:
        raise InputError(
            f"The image is {array.shape[0]} x {array.shape[1]} pixels: too thin to segment, "
            f"each side needs at least {MIN_SIDE}."
        )
    if not np.isfinite(array).all():
        raise InputError("The image holds NaN or infinite values; replace them first.")
    if array.min() == array.max():
        raise InputError(f"All pixels of the image are {array.flat[0]}: there is nothing to see.")
    return array


def normalise(image: NDArray[Any]) -> FloatArray:
    """Scale a plane robustly to 0..1, the first step for every model.

    The 0.5th and 99.5th percentile of all values, over all colours, become 0 and 1; values
    beyond are clipped. If both are equal (a few bright pixels on uniform grey), the extremes
    are used.

    Parameters
    ----------
    image : ndarray of shape (rows, cols) or (rows, cols, 3), any real dtype

    Returns
    -------
    ndarray of the same shape, float32
        0..1.

    Raises
    ------
    InputError
        As for `check_plane`.
    """
    checked = check_plane(image)
    values = checked.astype(np.float64)
    # The same percentiles from a type that is quicker to sort. Differences of signed ones overflow.
    low, high = np.percentile(checked if checked.dtype.kind == "u" else values, PERCENTILES)
    if low == high:
        low, high = values.min(), values.max()
    values -= low
    values /= high - low
    unit: FloatArray = np.clip(values, 0, 1, out=values).astype(np.float32)
    return unit


def with_neighbours(image: NDArray[Any], around: Around | None) -> NDArray[Any]:
    """Stack a grey plane with its neighbours as channels, for a U-Net with context.

    Parameters
    ----------
    image : ndarray of shape (rows, cols) or (rows, cols, 3)
    around : pair of ndarrays of the shape of `image`, or None

    Returns
    -------
    ndarray of shape (rows, cols, 3)
        Before, `image`, after; `normalise` scales them together, as it does colours. `image`
        itself if there are no neighbours or it is in colour.
    """
    if around is None or image.ndim == 3:
        return image
    return np.stack([around[0], image, around[1]], axis=2)


def prepare(image: NDArray[Any], size: int, normalisation: Normalisation) -> Prepared:
    """Convert a plane to the input of an image encoder.

    Normalise, scale the longest side to `size` (local mean for downscaling, bilinear for
    upscaling), then as in the encoder's training: ``unit`` is min-max to 0..1 again, ``sam`` is
    0..255 minus SAM's mean, divided by its standard deviation. Pad with zeros at the bottom and
    right. Grey becomes three equal channels.

    Parameters
    ----------
    image : ndarray of shape (rows, cols) or (rows, cols, 3), any real dtype
    size : int
        Side of the square.
    normalisation : {'unit', 'sam'}

    Raises
    ------
    InputError
        As for `check_plane`.
    """
    unit = normalise(image)
    frame = Frame((unit.shape[0], unit.shape[1]), size)
    small = resize(unit, frame.resized)
    low, high = float(small.min()), float(small.max())
    if high > low:
        small = (small - low) / (high - low)
    colour = small if small.ndim == 3 else np.repeat(small[..., None], 3, axis=2)
    if normalisation == "sam":
        colour = (colour * 255 - SAM_MEAN) / SAM_STD
    h, w = frame.resized
    pixels = torch.zeros((3, size, size), dtype=torch.float32)
    pixels[:, :h, :w] = torch.from_numpy(np.ascontiguousarray(colour.transpose(2, 0, 1)))
    view = small if small.ndim == 2 else rgb2gray(small)
    return Prepared(pixels, frame, np.ascontiguousarray(view, dtype=np.float32))


def resize(image: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """Resample a picture (rows, cols[, 3]): local mean for downscaling, else bilinear."""
    if image.shape[:2] == shape:
        return image
    channel = -1 if image.ndim == 3 else None
    resized = resize_local_mean(image, shape, grid_mode=True, channel_axis=channel)
    return np.ascontiguousarray(resized, dtype=np.float32)


def bilinear(tensor: Tensor, shape: tuple[int, int]) -> Tensor:
    """Resample a tensor (N, C, rows, cols) bilinearly, without aligning corners."""
    if tuple(tensor.shape[-2:]) == shape:
        return tensor
    return functional.interpolate(tensor, shape, mode="bilinear", align_corners=False)
