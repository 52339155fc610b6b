"""What a person's brush, eraser or polygon made of a label plane: the pixels, and no more."""

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

# The value of a patch's pixels that the hand left alone.
UNTOUCHED = NOT_ANNOTATED


@dataclass(frozen=True, eq=False)
class Patch:
    """Part of a label plane as a person drew it.

    Attributes
    ----------
    row, col : int
        Where its first pixel lies on the plane.
    values : ndarray of shape (height, width), uint8
        Class ids, 0 where it was erased, and 255 where nothing was drawn.
    """

    row: int
    col: int
    values: LabelArray

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the plane that it lies on."""
        height, width = self.values.shape
        return (slice(self.row, self.row + height), slice(self.col, self.col + width))

    @property
    def drawn(self) -> Mask:
        """Where something was drawn, (height, width)."""
        mask: Mask = self.values != UNTOUCHED
        return mask

    def onto(self, label: LabelArray) -> None:
        """Draw it on `label`, (rows, cols), in place."""
        np.copyto(label[self.place], self.values, where=self.drawn)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the journal: its place, its shape and its packed pixels."""
        packed = zlib.compress(np.ascontiguousarray(self.values).tobytes())
        return {
            "row": self.row,
            "col": self.col,
            "shape": list(self.values.shape),
            "zlib": base64.b64encode(packed).decode("ascii"),
        }

    @staticmethod
    def from_json(value: dict[str, Any]) -> Patch:
        """Read what `to_json` gave; KeyError, TypeError or ValueError where it is damaged."""
        height, width = (int(n) for n in value["shape"])
        try:
            raw = zlib.decompress(base64.b64decode(value["zlib"]))
        except zlib.error as error:
            raise ValueError("The packed pixels are damaged.") from error
        values = np.frombuffer(raw, np.uint8).reshape(height, width)
        return Patch(int(value["row"]), int(value["col"]), values)


def taken_back(view: LabelArray, before: LabelArray) -> tuple[LabelArray, LabelArray] | None:
    """Put a plane back to what it was before a stroke.

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
    """The patch that holds `values` where `where` is true, both (rows, cols); None for nothing."""
    if not where.any():
        return None
    r0, c0, r1, c1 = bounding_box(where)
    part = (slice(r0, r1 + 1), slice(c0, c1 + 1))
    return Patch(r0, c0, np.where(where[part], values[part], UNTOUCHED).astype(np.uint8))
