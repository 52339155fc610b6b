"""Decoding of small objects in large planes, in a crop of higher resolution.

Planes are scaled to SAM's input (256 pixels for LiteMedSAM), so that an object of 60 pixels in a
picture of 4,000 pixels is four pixels wide, and its mask is coarse. Here the embedding of the plane
is only used to locate the object. A square region around it is cropped, embedded (once: regions lie
on a grid, so that further clicks find them in the cache) and decoded. An object that fills most of
the plane would not gain resolution and is decoded on the whole plane: a region is never so large
that it is not clearly sharper.
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

# Minimum gain of resolution of a region over the plane. Arbitrary.
MIN_GAIN = 1.5
# Side of a region over the extent of its object: SAM was trained on objects with a margin.
# The value is arbitrary, as are those below.
ROOM = 2.0
# Sides of regions are SAM's input times powers of LADDER; corners lie on a grid of side / SNAP.
# Arbitrary.
LADDER, SNAP = 2**0.5, 8
# If the mask covers more than this share of a side of the region, the object continues beyond it.
MAX_EDGE_SHARE = 0.02


@dataclass(frozen=True)
class Region:
    """A part of a plane: ``plane[row : row + rows, col : col + cols]``."""

    row: int
    col: int
    rows: int
    cols: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the region."""
        return slice(self.row, self.row + self.rows), slice(self.col, self.col + self.cols)

    def holds(self, point: Point) -> bool:
        """Whether a point of the plane lies in it."""
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
    """Decode one object at the required resolution; see `napari_scsam.models.decode_region`."""
    side = max(embedding.view.shape)
    if prompts.is_empty or max(embedding.shape) < MIN_GAIN * side:
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
        # The object continues beyond the region: try a larger one while it is sharper.
        region = choose_region(extent, embedding.shape, side, max(region.rows, region.cols))
    coarse = coarse or _decode_coarsely(backend, embedding, prompts, class_id)
    return _spread(coarse, embedding.shape)


def choose_region(
    extent: Box, shape: tuple[int, int], side: int, larger_than: int = 0
) -> Region | None:
    """Choose the region in which to decode an object.

    Parameters
    ----------
    extent : (row0, col0, row1, col1)
        Known extent of the object, in pixels of the plane.
    shape : (rows, cols)
        Shape of the plane.
    side : int
        Side of SAM's input, the minimum size of a region.
    larger_than : int
        Side of a region that was too small.

    Returns
    -------
    Region or None
        None if no region is clearly sharper than the whole plane.
    """
    r0, c0, r1, c1 = extent
    wanted = max(ROOM * (max(r1 - r0, c1 - c0) + 1), larger_than * 1.1, side)
    # A little less, so that rounding does not move an exact power to the next one.
    steps = math.ceil(math.log(wanted / side, LADDER) - 0.01)
    size = round(side * LADDER**steps)
    if max(shape) < MIN_GAIN * size:
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
    """Return the smallest box around boxes and points, of which there is at least one."""
    r0, c0, r1, c1 = zip(*boxes, *((*p, *p) for p in points), strict=True)
    return (min(r0), min(c0), max(r1), max(c1))


def _extent_of_prompts(prompts: Prompts) -> Box | None:
    """Return the extent of the object given by a box or mask prompt; None without them."""
    extents = [] if prompts.box is None else [prompts.box]
    if prompts.mask is not None:
        extents += _bounds(prompts.mask > 0)
    return _around(extents, _inside(prompts)) if extents else None


def _extent_of_parts(mask: Mask, shape: tuple[int, int], prompts: Prompts) -> Box | None:
    """Return the extent, on the plane, of the components of a coarse mask with inside clicks.

    Without such a component (a small object vanishes at SAM's resolution) it is the extent of the
    clicks; without clicks, None.
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
    """Return a list with the bounding box of a mask; empty for an empty mask."""
    return [bounding_box(mask)] if mask.any() else []


def _decode_coarsely(
    backend: SamBackend, embedding: Embedding, prompts: Prompts, class_id: int | None
) -> Decoded:
    """Decode on the grid of the resized picture, which is the actual resolution."""
    rows, cols = embedding.view.shape
    scale = np.divide((rows, cols), embedding.shape)
    box, mask = prompts.box, prompts.mask
    if mask is not None:
        logits = np.where(mask, SURE, -SURE) if mask.dtype == bool else mask
        mask = resize(np.asarray(logits, np.float32), (rows, cols))
    local_prompts = Prompts(
        points=[tuple((np.array(p) + 0.5) * scale - 0.5) for p in prompts.points],
        labels=prompts.labels,
        box=None if box is None else tuple((np.array(box) + 0.5) * np.tile(scale, 2) - 0.5),
        mask=mask,
    )
    return backend.decode(replace(embedding, shape=(rows, cols)), local_prompts, class_id=class_id)


def _decode_in(
    backend: SamBackend,
    cache: EmbeddingCache,
    image: NDArray[Any],
    region: Region,
    prompts: Prompts,
    class_id: int | None,
) -> Decoded | None:
    """Decode on the region's own grid; None for an empty result."""
    pixels = image[region.slices]
    if pixels.min() == pixels.max():
        return None
    corner = np.array([region.row, region.col], float)
    kept = [i for i, p in enumerate(prompts.points) if region.holds(p)]
    box, mask = prompts.box, prompts.mask
    local_prompts = Prompts(
        points=[tuple(np.array(prompts.points[i]) - corner) for i in kept],
        labels=[prompts.labels[i] for i in kept],
        box=None if box is None else tuple(np.array(box) - np.tile(corner, 2)),
        mask=None if mask is None else mask[region.slices],
    )
    found = backend.decode(cache.get_or_embed(backend, pixels), local_prompts, class_id=class_id)
    return found if found.mask.any() else None


def _is_cut(mask: Mask, region: Region, shape: tuple[int, int]) -> bool:
    """Whether a mask touches a side of its region that is not a side of the plane."""
    sides = (
        (mask[0], region.row > 0),
        (mask[-1], region.row + region.rows < shape[0]),
        (mask[:, 0], region.col > 0),
        (mask[:, -1], region.col + region.cols < shape[1]),
    )
    return any(open_side and edge.mean() > MAX_EDGE_SHARE for edge, open_side in sides)


def _pasted(found: Decoded, region: Region, shape: tuple[int, int]) -> Decoded:
    """Paste the result of a region into the plane; everything else is outside."""
    logits = np.full(shape, -SURE, np.float32)
    logits[region.slices] = found.logits
    return replace(found, mask=logits > 0, logits=logits)


def _spread(coarse: Decoded, shape: tuple[int, int]) -> Decoded:
    """Resample a coarse result to the plane's own grid."""
    low = torch.from_numpy(coarse.logits)[None, None]
    logits = bilinear(low, shape)[0, 0].numpy()
    return replace(coarse, mask=logits > 0, logits=logits)
