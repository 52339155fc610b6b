"""A closer look: a small object of a large plane is decoded in a window of its own.

SAM sees a plane scaled to its input (256 pixels for LiteMedSAM), so that an object of 60 pixels
in a picture of 4,000 is four pixels wide to it, and comes back as a blob. Here the plane's own
embedding only says where the object is and how large; a square region round it is cut out,
embedded by itself (once: regions lie on a grid, so that further clicks find it in the cache) and
asked. An object that fills most of the plane gains nothing by that and is decoded on the plane,
as sharp as SAM's input is: a region is never larger than what makes it clearly sharper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage

from napari_scsam.core.log_odds import SURE
from napari_scsam.core.prompts import Box, Point, Prompts, bounding_box
from napari_scsam.models.preprocess import bilinear, resize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_scsam.core.arrays import Mask
    from napari_scsam.models.protocols import (
        Decoded,
        Embedding,
        EmbeddingCache,
        SamBackend,
    )

# A region is looked into where it is so many times sharper than the plane.
LEAST_GAIN = 1.5
# Side of a region over the extent of its object: SAM was taught with some room around.
ROOM = 2.0
# Sides of regions are SAM's input times powers of this; corners lie on a grid of side / SNAP.
LADDER = 2**0.5
SNAP = 8
# An object with more than this share of a region's side on it is thought to go on beyond.
MOST_AT_EDGE = 0.02


@dataclass(frozen=True)
class Region:
    """A part of a plane: ``plane[row : row + rows, col : col + cols]``."""

    row: int
    col: int
    rows: int
    cols: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the part."""
        return slice(self.row, self.row + self.rows), slice(self.col, self.col + self.cols)

    def holds(self, point: Point) -> bool:
        """Whether a place of the plane lies in it."""
        r, c = point[0] - self.row, point[1] - self.col
        return -0.5 <= r <= self.rows - 0.5 and -0.5 <= c <= self.cols - 0.5


def decode_region(
    backend: SamBackend,
    cache: EmbeddingCache,
    image: NDArray[Any],
    embedding: Embedding,
    prompts: Prompts,
    class_id: int | None = None,
) -> Decoded:
    """Mask for one object at the sharpness it needs; see `napari_scsam.models.decode_region`."""
    side = max(embedding.view.shape)
    if prompts.is_empty or max(embedding.shape) < LEAST_GAIN * side:
        return backend.decode(embedding, prompts, class_id=class_id)
    prompts.check_inside(embedding.shape)
    coarse = None
    extent = _extent_of_prompts(prompts)
    if extent is None:
        coarse = _decode_coarsely(backend, embedding, prompts, class_id)
        extent = _extent_of_parts(coarse.mask, embedding.shape, prompts)
    region = None if extent is None else choose_region(extent, embedding.shape, side)
    while region is not None and extent is not None:
        closer = _decode_in(backend, cache, image, region, prompts, class_id)
        if closer is None:
            break
        if not _is_cut(closer.mask, region, embedding.shape):
            return _pasted(closer, region, embedding.shape)
        # The object goes on beyond the region: a larger one, until none is sharper.
        region = choose_region(extent, embedding.shape, side, max(region.rows, region.cols))
    coarse = coarse or _decode_coarsely(backend, embedding, prompts, class_id)
    return _spread(coarse, embedding.shape)


def choose_region(
    extent: Box, shape: tuple[int, int], side: int, larger_than: int = 0
) -> Region | None:
    """Where to look for an object.

    Parameters
    ----------
    extent : (row0, col0, row1, col1)
        Of the object as far as it is known, in pixels of the plane.
    shape : (rows, cols)
        Of the plane.
    side : int
        Side of SAM's input, which no region is smaller than.
    larger_than : int
        Side of a region that was too small.

    Returns
    -------
    Region or None
        None where no region is clearly sharper than the plane as a whole.
    """
    r0, c0, r1, c1 = extent
    wanted = max(ROOM * (max(r1 - r0, c1 - c0) + 1), larger_than * 1.1, side)
    # Less a little, so that what is on a rung stays there in spite of rounding.
    steps = math.ceil(math.log(wanted / side, LADDER) - 0.01)
    size = round(side * LADDER**steps)
    if max(shape) < LEAST_GAIN * size:
        return None
    rows, cols = (min(size, length) for length in shape)
    grid = size / SNAP
    row, col = (
        round(min(max(round(((low + high) / 2 - size / 2) / grid) * grid, 0), length - part))
        for low, high, length, part in ((r0, r1, shape[0], rows), (c0, c1, shape[1], cols))
    )
    return Region(row, col, rows, cols)


def _inside(prompts: Prompts) -> list[Point]:
    return [p for p, label in zip(prompts.points, prompts.labels, strict=True) if label == 1]


def _around(boxes: list[Box], points: list[Point]) -> Box:
    """The smallest box that holds boxes and points, of which there is at least one."""
    r0, c0, r1, c1 = zip(*boxes, *((*p, *p) for p in points), strict=True)
    return (min(r0), min(c0), max(r1), max(c1))


def _extent_of_prompts(prompts: Prompts) -> Box | None:
    """What a box, or the mask of an earlier answer, says of the object's extent."""
    told = [] if prompts.box is None else [prompts.box]
    if prompts.mask is not None:
        told += _bounds(prompts.mask > 0)
    return _around(told, _inside(prompts)) if told else None


def _extent_of_parts(mask: Mask, shape: tuple[int, int], prompts: Prompts) -> Box | None:
    """Extent, on the plane, of the parts of a coarse mask that inside clicks lie on.

    Without such a part (a small object vanishes at SAM's resolution) the clicks are all that
    is known; without a click, nothing is.
    """
    inside = _inside(prompts)
    if not inside:
        return None
    parts, _ = ndimage.label(mask)
    scale = np.divide(mask.shape, shape)
    limit = np.array(mask.shape) - 1
    places = [tuple(np.clip((np.array(p) + 0.5) * scale, 0, limit).astype(int)) for p in inside]
    hit = {int(parts[place]) for place in places} - {0}
    r_scale, c_scale = scale
    found = [
        (r0 / r_scale, c0 / c_scale, (r1 + 1) / r_scale - 1, (c1 + 1) / c_scale - 1)
        for r0, c0, r1, c1 in _bounds(np.isin(parts, list(hit)))
    ]
    return _around(found, inside)


def _bounds(mask: Mask) -> list[Box]:
    """Bounding box of a mask, as a list of one; of none when it is empty."""
    return [bounding_box(mask)] if mask.any() else []


def _decode_coarsely(
    backend: SamBackend, embedding: Embedding, prompts: Prompts, class_id: int | None
) -> Decoded:
    """Answer on the grid of the picture that the encoder saw, which is all that it can tell."""
    rows, cols = embedding.view.shape
    scale = np.divide((rows, cols), embedding.shape)
    box, mask = prompts.box, prompts.mask
    if mask is not None:
        logits = np.where(mask, SURE, -SURE) if mask.dtype == bool else mask
        mask = resize(np.asarray(logits, np.float32), (rows, cols))
    asked = Prompts(
        points=[tuple((np.array(p) + 0.5) * scale - 0.5) for p in prompts.points],
        labels=prompts.labels,
        box=None if box is None else tuple((np.array(box) + 0.5) * np.tile(scale, 2) - 0.5),
        mask=mask,
    )
    return backend.decode(replace(embedding, shape=(rows, cols)), asked, class_id=class_id)


def _decode_in(
    backend: SamBackend,
    cache: EmbeddingCache,
    image: NDArray[Any],
    region: Region,
    prompts: Prompts,
    class_id: int | None,
) -> Decoded | None:
    """Answer on the region's own grid; None where nothing is found in it."""
    pixels = image[region.slices]
    if pixels.min() == pixels.max():
        return None
    corner = np.array([region.row, region.col], float)
    kept = [i for i, p in enumerate(prompts.points) if region.holds(p)]
    box, mask = prompts.box, prompts.mask
    asked = Prompts(
        points=[tuple(np.array(prompts.points[i]) - corner) for i in kept],
        labels=[prompts.labels[i] for i in kept],
        box=None if box is None else tuple(np.array(box) - np.tile(corner, 2)),
        mask=None if mask is None else mask[region.slices],
    )
    found = backend.decode(cache.get_or_embed(backend, pixels), asked, class_id=class_id)
    return found if found.mask.any() else None


def _is_cut(mask: Mask, region: Region, shape: tuple[int, int]) -> bool:
    """Whether a mask runs into a side of its region that is not the plane's own."""
    sides = (
        (mask[0], region.row > 0),
        (mask[-1], region.row + region.rows < shape[0]),
        (mask[:, 0], region.col > 0),
        (mask[:, -1], region.col + region.cols < shape[1]),
    )
    return any(open_side and edge.mean() > MOST_AT_EDGE for edge, open_side in sides)


def _pasted(found: Decoded, region: Region, shape: tuple[int, int]) -> Decoded:
    """A region's answer on the plane; all else is outside."""
    logits = np.full(shape, -SURE, np.float32)
    logits[region.slices] = found.logits
    return replace(found, mask=logits > 0, logits=logits)


def _spread(coarse: Decoded, shape: tuple[int, int]) -> Decoded:
    """A coarse answer on the plane's own grid."""
    low = torch.from_numpy(coarse.logits)[None, None]
    logits = bilinear(low, shape)[0, 0].numpy()
    return replace(coarse, mask=logits > 0, logits=logits)
