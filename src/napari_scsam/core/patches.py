"""Pixels that a brush, eraser or polygon changed in a label plane."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.core.labels import NOT_ANNOTATED
from napari_scsam.core.prompts import bounding_box

if TYPE_CHECKING:
    from napari_scsam.core.arrays import LabelArray, Mask

# Value of the pixels of a patch that were not drawn on: no class has it.
UNTOUCHED = NOT_ANNOTATED


@dataclass(frozen=True, eq=False)
class Patch:
    """Part of a label plane as a person drew it.

    Attributes
    ----------
    row, col : int
        Position of its first pixel in the plane.
    values : ndarray of shape (height, width), uint8
        Class ids; 0 for erased pixels, 255 for those that were not drawn on.
    """

    row: int
    col: int
    values: LabelArray

    @property
    def place(self) -> tuple[slice, slice]:
        """Slices of the plane's rows and columns that it covers."""
        height, width = self.values.shape
        return (slice(self.row, self.row + height), slice(self.col, self.col + width))

    @property
    def drawn(self) -> Mask:
        """Whether each pixel was drawn on, shape (height, width), bool."""
        mask: Mask = self.values != UNTOUCHED
        return mask

    def onto(self, label: LabelArray) -> None:
        """Draw it on `label`, (rows, cols), in place."""
        np.copyto(label[self.place], self.values, where=self.drawn)

    def to_json(self) -> dict[str, Any]:
        """Return position, shape and compressed pixels as plain values, for the journal."""
        packed = zlib.compress(np.ascontiguousarray(self.values).tobytes())
        return {
            "row": self.row,
            "col": self.col,
            "shape": list(self.values.shape),
            "zlib": base64.b64encode(packed).decode("ascii"),
        }

    @staticmethod
    def from_json(value: dict[str, Any], within: tuple[int, int] | None = None) -> Patch:
        """Parse the result of `to_json`.

        Raises
        ------
        KeyError, TypeError or ValueError
            If it is damaged, or not in a plane of shape `within`.
        """
        height, width = (int(n) for n in value["shape"])
        row, col = int(value["row"]), int(value["col"])
        rows, cols = within or (row + height, col + width)
        if not (0 <= row <= row + height <= rows and 0 <= col <= col + width <= cols):
            raise ValueError(
                f"A patch of {height} x {width} at ({row}, {col}) is not in its plane."
            )
        raw = unpacked(value["zlib"], height * width)
        return Patch(row, col, np.frombuffer(raw, np.uint8).reshape(height, width))


def unpacked(text: str, size: int) -> bytes:
    """Return the bytes that zlib and base64 packed into a text, up to one more than `size`.

    Raises
    ------
    ValueError
        If they are damaged.
    """
    try:
        return zlib.decompressobj().decompress(base64.b64decode(text), max(1, size + 1))
    except zlib.error as error:
        raise ValueError("The packed pixels are damaged.") from error


def taken_back(view: LabelArray, before: LabelArray) -> tuple[LabelArray, LabelArray] | None:
    """Restore a plane to its state before a stroke.

    Parameters
    ----------
    view : ndarray of shape (rows, cols), uint8
        The plane as drawn on; changed in place.
    before : ndarray of shape (rows, cols), uint8

    Returns
    -------
    before, after : ndarray of shape (rows, cols), uint8
        The plane without and with the stroke; None if they are the same.
    """
    if np.array_equal(view, before):
        return None
    after = view.copy()
    view[...] = before
    return before, after


def patch_of(where: Mask, values: LabelArray) -> Patch | None:
    """Return the patch with `values` at the pixels `where`, both (rows, cols); None without any."""
    if not where.any():
        return None
    r0, c0, r1, c1 = bounding_box(where)
    part = (slice(r0, r1 + 1), slice(c0, c1 + 1))
    return Patch(r0, c0, np.where(where[part], values[part], UNTOUCHED).astype(np.uint8))
