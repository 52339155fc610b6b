"""Where a picture shows the body: neither the air around it nor a constant border."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from napari_scsam.core.arrays import FloatArray, Mask

# Darker than this share of the display range (0.5 to 99.5 % of the pixels), and connected to the
# picture's edge: air. On 100 polyps, 187 slices of hearts and 33 of atria (all of them labelled) no
# structure's centre and at most 0.1 % of a structure's pixels were such; at .1, 1.6 % of one.
AIR = 0.05
# Pixels of the median filter, against noise in the air. Arbitrary.
NOISE_PX = 3
# Pixels closer than this to a varying one, in px of a plane with a longest side of
# REFERENCE_SIDE, are not in a constant border. Arbitrary.
FLAT_RADIUS = 3.0
# Longest side of LiteMedSAM's input, in pixels.
REFERENCE_SIDE = 256


def body(view: FloatArray) -> Mask:
    """Return the pixels that are neither air around the body nor in a constant border.

    Both are connected to the edge of the picture. A dark structure inside the body is not, nor is
    a saturated one.

    Parameters
    ----------
    view : ndarray of shape (rows, cols), float32
        Intensities, in any range.

    Returns
    -------
    ndarray of shape (rows, cols), bool
    """
    return ~(_border(view) | _air(view))


def _border(view: FloatArray) -> Mask:
    size = 2 * max(1, round(FLAT_RADIUS * max(view.shape) / REFERENCE_SIDE)) + 1
    return _at_edge(ndimage.maximum_filter(view, size) == ndimage.minimum_filter(view, size))


def _air(view: FloatArray) -> Mask:
    low, high = np.percentile(view, (0.5, 99.5))
    return _at_edge(ndimage.median_filter(view, NOISE_PX) <= low + AIR * (high - low))


def _at_edge(mask: Mask) -> Mask:
    """Return the components of a mask that touch the edge of the picture."""
    regions, _ = ndimage.label(mask)
    edges = (regions[0], regions[-1], regions[:, 0], regions[:, -1])
    touching = np.unique(np.concatenate(edges))
    return np.isin(regions, touching[touching > 0])
