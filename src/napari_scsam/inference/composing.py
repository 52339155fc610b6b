"""Combines SAM's masks of several objects into one label plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_scsam.core.labels import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_scsam.core.arrays import LabelArray, Logits, Mask
    from napari_scsam.core.prompts import ObjectKey
    from napari_scsam.models import Decoded

# A region that is more than this share of an object decides whether there is such an object.
MOST_OF_IT = 0.5


def compose(
    decoded: Mapping[ObjectKey, Decoded], shape: tuple[int, int], left: LabelArray | None = None
) -> LabelArray:
    """Combine the masks of several objects into one label plane.

    If classes overlap, each connected region goes to one of them as a whole, so that they never
    interleave. If most of an object lies in the region, its class gets it, since the object would
    vanish otherwise: it lies within another structure. Otherwise the class with the higher mean
    log-odds gets it.

    Parameters
    ----------
    decoded : mapping of (class id, object number) to Decoded
    shape : (rows, cols)
    left : ndarray of shape (rows, cols), uint8, optional
        Label plane to keep where there is no object.

    Returns
    -------
    ndarray of shape (rows, cols), uint8
        0 for background.
    """
    odds: dict[int, Logits] = {}
    for (class_id, _), answer in decoded.items():
        odds[class_id] = np.maximum(odds.get(class_id, -np.inf), answer.logits)
    inside = {class_id: values > 0 for class_id, values in sorted(odds.items())}
    size = {class_id: int(mask.sum()) for class_id, mask in inside.items()}
    label = np.full(shape, BACKGROUND, np.uint8) if left is None else left.astype(np.uint8)
    for class_id, mask in inside.items():
        label[mask] = class_id
    for place, region in _contested(list(inside.values())):
        parts = {class_id: region & mask[place] for class_id, mask in inside.items()}
        claims = {c: _claim(part, odds[c][place], size[c]) for c, part in parts.items()}
        for class_id in sorted(claims, key=claims.__getitem__):
            label[place][parts[class_id]] = class_id
    return label


def _contested(masks: list[Mask]) -> list[tuple[tuple[slice, ...], Mask]]:
    """Return the connected regions that lie in several masks: their slices and pixels."""
    if len(masks) < 2:
        return []
    regions, _ = ndimage.label(np.sum(masks, axis=0) > 1)
    places = enumerate(ndimage.find_objects(regions), start=1)
    return [(place, regions[place] == number) for number, place in places]


def _claim(part: Mask, odds: Logits, size: int) -> tuple[float, float]:
    """Return the priority of a class of `size` pixels for its part of a region, for sorting.

    First the part's share of the class, if it is most of it; then the mean log-odds.
    """
    if not part.any():
        return (0.0, -np.inf)
    share = float(part.sum() / size)
    return (share if share > MOST_OF_IT else 0.0, float(odds[part].mean()))
