"""Outlines of a label plane: the pixel edges at which its classes end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_scsam.core.arrays import LabelArray


@dataclass(frozen=True, eq=False)
class Contours:
    """Straight segments along pixel edges.

    An edge between two classes is a segment of each of them.

    Attributes
    ----------
    pieces : ndarray of shape (n, 2, 2), float
        Start and end, (row, col) in pixels.
    inward : ndarray of shape (n, 2), float
        Direction (row, col) from the edge into the class, of length 1.
    class_ids : ndarray of shape (n,), uint8
    """

    pieces: NDArray[np.float64]
    inward: NDArray[np.float64]
    class_ids: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.class_ids)


def contours_of(label: LabelArray, dash: int = 0, coarse: int = 1) -> Contours:
    """The outlines of all classes of a plane.

    Parameters
    ----------
    label : ndarray of shape (rows, cols), uint8
    dash : int
        Pixels of a dash, and of the gap after it; 0 for solid outlines.
    coarse : int
        Squares of so many pixels a side are outlined as one pixel, of the greatest class in them.
        For a picture whose pixels are smaller than those of the screen.

    Returns
    -------
    Contours
    """
    rows, cols = (np.flatnonzero(label.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return Contours(np.empty((0, 2, 2)), np.empty((0, 2)), np.empty(0, np.uint8))
    # Only within the bounding box: most of a plane is empty.
    first = np.array([rows[0], cols[0]])
    part = _squares(label[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1], coarse)
    part, dash = np.pad(part, 1), min(dash, max(1, dash // coarse))
    across = _edges(part, dash, int(first.sum()) // coarse)
    along = _edges(part.T, dash, int(first.sum()) // coarse)
    pieces = np.concatenate([across[0], along[0][:, :, ::-1]])
    inward = np.concatenate([across[1], along[1][:, ::-1]])
    # The padding has moved each pixel by one, and an edge is half a pixel before it.
    pieces = (pieces - 1) * coarse + first - 0.5
    return Contours(pieces, inward, np.concatenate([across[2], along[2]]))


def _squares(part: LabelArray, side: int) -> LabelArray:
    """The greatest value of each square of `side` x `side` pixels."""
    if side == 1:
        return part
    part = np.pad(part, [(0, -length % side) for length in part.shape])
    found: LabelArray = part[::side, ::side].copy()
    for row, col in np.ndindex(side, side):
        np.maximum(found, part[row::side, col::side], out=found)
    return found


_Edges = tuple["NDArray[np.float64]", "NDArray[np.float64]", "NDArray[np.uint8]"]


def _edges(part: LabelArray, dash: int, offset: int) -> _Edges:
    """Segments between the rows of `part`: pieces, directions inward, class ids."""
    differ = np.nonzero(part[1:] != part[:-1])
    found = []
    for side, inward in ((1, 1.0), (0, -1.0)):
        rows, cols = differ
        ids = part[rows + side, cols]
        kept = ids > 0
        if dash:
            kept &= (rows + side + cols + offset) // dash % 2 == 0
        rows, cols, ids = rows[kept], cols[kept], ids[kept]
        start, end = _runs(rows, cols, ids)
        ends = np.stack([cols[start], cols[end] + 1], axis=1)
        edges = np.broadcast_to((rows[start] + 1)[:, None], ends.shape)
        direction = np.broadcast_to((inward, 0.0), (len(start), 2))
        found.append((np.stack([edges, ends], axis=2).astype(float), direction, ids[start]))
    above, below = found
    return (
        np.concatenate([above[0], below[0]]),
        np.concatenate([above[1], below[1]]),
        np.concatenate([above[2], below[2]]),
    )


def _runs(
    rows: NDArray[np.intp], cols: NDArray[np.intp], ids: NDArray[np.uint8]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First and last index of each run of neighbours in a row with the same class."""
    breaks = (np.diff(rows) != 0) | (np.diff(cols) != 1) | (ids[1:] != ids[:-1])
    ends = np.flatnonzero(np.append(breaks, True)) if len(rows) else np.empty(0, np.intp)
    return np.append(0, ends[:-1] + 1)[: len(ends)], ends
