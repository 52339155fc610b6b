"""Clicks for a SAM without point prompts: a box around the clicked region, and cutting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from skimage.measure import label
from skimage.segmentation import flood, watershed

from napari_scsam.core.errors import InputError
from napari_scsam.core.prompts import Box, Prompts, bounding_box, pixels_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_scsam.core.arrays import FloatArray, IndexArray, Mask

# Grey value tolerances for region growing, of a picture in 0..1. Arbitrary.
_TOLERANCES = np.linspace(0.02, 0.4, 20)
# A value outside the reach of every tolerance.
_FENCE = 2.0
# Standard deviation of the Gaussian before region growing, in pixels. Arbitrary.
_SMOOTHING = 1.0
# Smaller regions are noise around a click. Arbitrary.
_MIN_AREA = 12
# Larger shares of the picture are background. Arbitrary.
_MAX_SHARE = 0.5
# A click within this distance of a region, in pixels, counts as on its edge. Arbitrary.
_NEAR = 2
# Longest side of the picture for region growing; larger ones are subsampled. Arbitrary.
_GROWING_SIDE = 256
# LiteMedSAM was trained with boxes jittered by 0-5 px at 256 px, so a small margin does no harm.
_MARGIN = 1.0


def box_from_prompts(view: FloatArray, shape: tuple[int, int], prompts: Prompts) -> Box:
    """Return a box around the region that the clicks or the mask of `prompts` indicate.

    Used are the components of a mask with an inside click (all of them without inside clicks),
    except those with outside clicks only. Without a mask under the clicks, a region is grown
    around them in the picture.

    Parameters
    ----------
    view : ndarray of shape (h, w), float32
        Picture in 0..1, `Embedding.view`.
    shape : tuple of int
        (rows, cols) of the plane.
    prompts : Prompts
        Have an inside point or a mask; the box is ignored.

    Returns
    -------
    tuple of float
        (row0, col0, row1, col1) in the plane's pixels.

    Raises
    ------
    InputError
        If there is neither an inside click nor a remaining part of the mask.
    """
    inside, outside = _clicks(prompts, shape)
    if prompts.mask is not None:
        region = _components_clicked(_as_bool(prompts.mask), view, inside, outside)
        if region is not None:
            return _bounding_box(region, inside)
    if not len(inside):
        raise InputError("Click inside the object: clicks outside alone don't show where it is.")
    step = -(-max(view.shape) // _GROWING_SIDE)
    small = view[::step, ::step]
    grown = grow_region(
        small, _moved(inside, shape, small.shape), _moved(outside, shape, small.shape)
    )
    return _bounding_box(_on_grid(grown, shape), inside)


def grow_region(view: FloatArray, inside: IndexArray, outside: IndexArray) -> Mask:
    """Grow the region around the inside clicks with the sharpest outline.

    Candidates are the regions connected to a click with grey values within a tolerance of the
    click's, for 20 tolerances. The one with the highest mean gradient on its outline is taken
    (maximum average contrast, Hojjatoleslami and Kittler, IEEE Trans. Image Process. 7, 1998).
    A further click inside the region changes nothing; one elsewhere extends it by the same rule.
    If the region contains an outside click, it is grown again within the watershed of the
    gradient between the clicks.

    Parameters
    ----------
    view : ndarray of shape (h, w), float32
    inside, outside : ndarray of shape (N, 2), int
        (row, col) of clicks in the picture, in chronological order.

    Returns
    -------
    ndarray of shape (h, w), bool
        Contains every inside click and no outside click.
    """
    smooth = ndimage.gaussian_filter(view, _SMOOTHING)
    gradient = _gradient(view)
    region = _grown(smooth, gradient, inside)
    if region[tuple(outside.T)].any():
        fence = _basin(gradient, inside, outside)
        region = _grown(np.where(fence, smooth, _FENCE), gradient, inside) & fence
    return region


def _grown(grey: FloatArray, gradient: FloatArray, inside: IndexArray) -> Mask:
    region = np.zeros(grey.shape, dtype=bool)
    for seed in inside:
        if ndimage.binary_dilation(region, iterations=_NEAR)[tuple(seed)]:
            region[tuple(seed)] = True
        else:
            region = _with_seed(region, grey, gradient, seed)
    return region


def _with_seed(region: Mask, grey: FloatArray, gradient: FloatArray, seed: IndexArray) -> Mask:
    """Extend `region` by the region around one click that makes the sharpest outline with it."""
    best = region.copy()
    best[tuple(seed)] = True
    sharpest = _sharpness(best, gradient) if region.any() else -1.0
    limit, area = _MAX_SHARE * grey.size, 0
    for tolerance in _TOLERANCES:
        grown = flood(grey, tuple(seed), tolerance=tolerance)
        before, area = area, int(np.count_nonzero(grown))
        if area < _MIN_AREA or area == before:
            continue
        if area > limit:
            break
        union = region | _filled(grown)
        sharpness = _sharpness(union, gradient)
        if sharpness > sharpest:
            best, sharpest = union, sharpness
    return best


def _filled(region: Mask) -> Mask:
    """Fill holes as `scipy.ndimage.binary_fill_holes` does, but faster."""
    window = _window(region)
    numbered, _ = ndimage.label(np.pad(~region[window], 1, constant_values=True))
    filled = region.copy()
    filled[window] = numbered[1:-1, 1:-1] != numbered[0, 0]
    return filled


def _sharpness(region: Mask, gradient: FloatArray) -> float:
    """Return the mean gradient on the outline: pixels with a neighbour, or the frame, across it."""
    window = _window(region)
    padded = np.pad(region[window], 1)
    middle = padded[1:-1, 1:-1]
    beside = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    grown = np.logical_or.reduce((middle, *beside))
    shrunk = np.logical_and.reduce((middle, *beside))
    return float(gradient[window][grown & ~shrunk].mean())


def _window(region: Mask) -> tuple[slice, slice]:
    """Return the bounding slices of a region that is not empty, with a margin of one pixel."""
    r0, c0, r1, c1 = bounding_box(region)
    return slice(max(0, r0 - 1), r1 + 2), slice(max(0, c0 - 1), c1 + 2)


def carve(mask: Mask, view: FloatArray, prompts: Prompts) -> Mask:
    """Remove from a decoded mask what the outside clicks of `prompts` exclude.

    A component with outside clicks is divided along image edges between them and its inside
    clicks (or its innermost pixel, if there are no inside clicks at all). A component with outside
    clicks only is dropped if there are inside clicks elsewhere.

    Parameters
    ----------
    mask : ndarray of shape (rows, cols), bool
    view : ndarray of shape (h, w), float32
    prompts : Prompts

    Returns
    -------
    ndarray of shape (rows, cols), bool
        Part of `mask`; contains no outside click.
    """
    return _carved(mask, view, *_clicks(prompts, mask.shape))


def _carved(mask: Mask, view: FloatArray, inside: IndexArray, outside: IndexArray) -> Mask:
    if not len(outside) or not mask.any():
        return mask
    components = label(mask, connectivity=2)
    gradient = _on_grid(_gradient(view), mask.shape)
    kept = mask.copy()
    for number in set(components[tuple(outside.T)]) - {0}:
        component = components == number
        seeds = inside[component[tuple(inside.T)]] if len(inside) else inside
        if not len(inside):
            seeds = _innermost(component, outside)
        kept[component] = False
        if len(seeds):
            kept |= component & _basin(gradient, seeds, outside, within=component)
    return kept


def _components_clicked(
    mask: Mask, view: FloatArray, inside: IndexArray, outside: IndexArray
) -> Mask | None:
    """Return the mask's components that the clicks indicate; None if there are none."""
    carved = _carved(mask, view, inside, outside)
    components = label(carved, connectivity=2)
    if len(inside):
        numbers = set(components[tuple(inside.T)]) - {0}
        carved = np.isin(components, list(numbers))
    return carved if carved.any() else None


def _clicks(prompts: Prompts, shape: tuple[int, ...]) -> tuple[IndexArray, IndexArray]:
    """Return the pixels of the inside and the outside clicks."""
    pixels = pixels_of(prompts.points, shape)
    labels = np.asarray(prompts.labels, dtype=bool)
    return pixels[labels], pixels[~labels]


def _moved(pixels: IndexArray, shape: tuple[int, int], target: tuple[int, ...]) -> IndexArray:
    """Convert positions to a grid of another size."""
    moved = np.floor((pixels + 0.5) * np.divide(target, shape)).astype(np.intp)
    limited: IndexArray = np.clip(moved, 0, np.array(target) - 1)
    return limited


def _as_bool(mask: NDArray[Any]) -> Mask:
    return mask if mask.dtype == bool else np.asarray(mask > 0)


def _gradient(view: FloatArray) -> FloatArray:
    magnitude: FloatArray = ndimage.gaussian_gradient_magnitude(view, _SMOOTHING)
    return magnitude


def _on_grid(picture: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Resample a picture to another size, nearest neighbour."""
    rows, cols = (
        np.minimum(((np.arange(n) + 0.5) * size / n).astype(np.intp), size - 1)
        for n, size in zip(shape, picture.shape, strict=True)
    )
    return picture[np.ix_(rows, cols)]


def _basin(
    gradient: FloatArray, inside: IndexArray, outside: IndexArray, within: Mask | None = None
) -> Mask:
    """Return the watershed basin of the inside clicks on the gradient."""
    if not len(outside):
        return np.ones(gradient.shape, dtype=bool)
    markers = np.zeros(gradient.shape, dtype=np.int32)
    markers[tuple(outside.T)] = 2
    markers[tuple(inside.T)] = 1
    basins = watershed(gradient, markers, mask=within)
    return np.asarray(basins == 1)


def _innermost(component: Mask, outside: IndexArray) -> IndexArray:
    free = np.pad(component, 1)
    free[tuple(outside.T + 1)] = False
    depth = ndimage.distance_transform_edt(free)[1:-1, 1:-1]
    return np.array([np.unravel_index(int(depth.argmax()), depth.shape)])


def _bounding_box(region: Mask, inside: IndexArray) -> Box:
    """Return a box around a region and the inside clicks, with a margin, clipped to the plane."""
    where = np.concatenate([np.argwhere(region), inside])
    limit = np.array(region.shape) - 1
    r0, c0 = np.clip(where.min(axis=0) - _MARGIN, 0, limit)
    r1, c1 = np.clip(where.max(axis=0) + _MARGIN, 0, limit)
    return (float(r0), float(c0), float(r1), float(c1))
