"""Generated pictures of a wet surface lit from the camera, with bumps as objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from scsam_train.warmup.shapes import (
    Plane,
    bent_plane,
    random_pose,
    smooth_noise,
    star,
    superellipse,
    tube,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_scsam.core.arrays import FloatArray, Mask

# Maximum number of bumps on a surface. Arbitrary.
MAX_BUMPS = 3
# Half axes of a bump as shares of the shorter side, and its height as a share of its own depth.
# Arbitrary.
BUMP_SIZES, HEIGHTS = (0.12, 0.75), (0.25, 1.3)


def lit_relief(
    shape: tuple[int, int], rng: np.random.Generator
) -> tuple[NDArray[np.float32], list[Mask]]:
    """Render a picture whose objects differ from their surroundings mainly in shape.

    A height field of folds and domes is lit from the camera with Lambert's cosine law, distance
    fall-off and Phong highlights (Phong, Comm. ACM 18, 1975), similar to endoscopy and
    dermatoscopy. The colours are random.

    Parameters
    ----------
    shape : (rows, cols)
    rng : numpy.random.Generator

    Returns
    -------
    image : ndarray of shape (rows, cols, 3), float32
        0..1.
    masks : list of ndarray of shape (rows, cols), bool
        The domes, each without the parts that others cover.
    """
    plane = bent_plane(shape, rng)
    height, masks = _heights(plane, rng)
    diffuse, glare = _light(height, rng)
    picture = _skin(plane, masks, rng) * diffuse[..., None] + glare[..., None]
    picture *= (1 - _hole(plane, rng))[..., None]
    picture = ndimage.gaussian_filter(picture, (*[rng.choice((0.4, 0.8, 1.4))] * 2, 0))
    picture += rng.exponential(0.012) * rng.standard_normal(picture.shape, np.float32)
    if rng.random() < 0.25:
        picture = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2)
    return np.clip(picture, 0, 1).astype(np.float32), masks


def _heights(plane: Plane, rng: np.random.Generator) -> tuple[FloatArray, list[Mask]]:
    """Return heights in pixels, and the masks of the domes; later ones lie on earlier ones."""
    side = min(plane.shape)
    height = rng.uniform(0, 0.1) * side * smooth_noise(plane.shape, rng.uniform(0.3, 0.8), rng)
    if rng.random() < 0.5:  # folds: the crests of a noise
        crest = np.exp(-((smooth_noise(plane.shape, rng.uniform(0.25, 0.6), rng) * 4) ** 2))
        height += rng.uniform(0.02, 0.08) * side * crest
    height += rng.uniform(0, 0.006) * side * smooth_noise(plane.shape, rng.uniform(0.02, 0.08), rng)
    masks: list[Mask] = []
    for _ in range(int(rng.integers(1, MAX_BUMPS + 1))):
        outline = star if rng.random() < 0.7 else superellipse
        mask = outline(plane, random_pose(rng, *BUMP_SIZES), rng)
        if not mask.any():
            continue
        height = height + _dome(mask, rng)
        masks = [np.asarray(other & ~mask) for other in masks]
        masks.append(mask)
    return np.asarray(height, np.float32), [mask for mask in masks if mask.any()]


def _dome(mask: Mask, rng: np.random.Generator) -> FloatArray:
    """Return the height of a dome on `mask`, with a steep or a gentle edge."""
    depth = ndimage.distance_transform_edt(mask)
    # Smoothed, since the distance transform has creases in the middle of the mask.
    depth = ndimage.gaussian_filter(depth, 0.12 * float(depth.max())) * mask
    top = float(depth.max())
    profile = (depth / top) ** rng.uniform(0.4, 1.0)
    bumpy = 1 + rng.uniform(0, 0.15) * smooth_noise(mask.shape, rng.uniform(0.05, 0.2), rng)
    dome = ndimage.gaussian_filter(profile * bumpy * mask, rng.uniform(0.5, 3))
    return np.asarray(rng.uniform(*HEIGHTS) * top * dome, np.float32)


def _light(height: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Return diffuse light and highlights of a lamp beside the camera."""
    rows, cols = height.shape
    side = min(rows, cols)
    slope_y, slope_x = np.gradient(ndimage.gaussian_filter(height, 1.0))
    lamp = np.array([rows, cols]) * rng.uniform(0.3, 0.7, 2)
    distance = side * rng.uniform(0.6, 1.5)
    to_y, to_x = lamp[0] - np.arange(rows)[:, None], lamp[1] - np.arange(cols)[None, :]
    to_z = np.maximum(distance - height, 0.1 * side)
    length = np.sqrt(to_y**2 + to_x**2 + to_z**2)
    normal = np.sqrt(slope_y**2 + slope_x**2 + 1)
    cosine = np.clip((-slope_y * to_y - slope_x * to_x + to_z) / (length * normal), 0, 1)
    fall_off = np.minimum((distance / length) ** rng.uniform(0.5, 2), 1.5)
    ambient = rng.uniform(0.05, 0.35)
    diffuse = (ambient + (1 - ambient) * cosine) * fall_off
    # The lamp is at the camera: the highlight's cosine is that of twice the angle.
    mirrored = np.clip(2 * cosine**2 - 1, 0, 1)
    glare = rng.uniform(0, 0.9) * mirrored ** rng.uniform(20, 150) * (rng.random() < 0.7)
    return diffuse.astype(np.float32), np.asarray(glare, np.float32)


def _skin(plane: Plane, masks: list[Mask], rng: np.random.Generator) -> FloatArray:
    """Return the surface colour: a tint, blotches, vessels, and a small shift on each dome."""
    tint = np.sort(rng.uniform(0.2, 1.0, 3))[::-1] if rng.random() < 0.7 else rng.uniform(0.2, 1, 3)
    skin = np.ones((*plane.shape, 3), np.float32) * tint.astype(np.float32)
    blotches = smooth_noise(plane.shape, rng.uniform(0.1, 0.5), rng)
    skin += rng.uniform(0, 0.06) * blotches[..., None] * rng.uniform(-1, 1, 3)
    skin += rng.uniform(0, 0.05) * smooth_noise(plane.shape, 0.02, rng)[..., None]
    for _ in range(int(rng.integers(0, 5))):
        vessel = ndimage.gaussian_filter(
            tube(plane, random_pose(rng, 0.2, 0.9), rng).astype(np.float32), 1.5
        )
        skin *= 1 - (vessel * rng.uniform(0.05, 0.25))[..., None] * np.array(
            [0.4, 1, 1], np.float32
        )
    for mask in masks:
        soft = ndimage.gaussian_filter(mask.astype(np.float32), rng.uniform(0.5, 3))
        skin += soft[..., None] * rng.normal(0, rng.uniform(0.01, 0.1), 3)
    return np.clip(skin, 0.02, 1).astype(np.float32)


def _hole(plane: Plane, rng: np.random.Generator) -> FloatArray:
    """Return the darkness of a lumen that the light does not reach, with a soft edge."""
    if rng.random() < 0.6:
        return np.zeros(plane.shape, np.float32)
    mask = star(plane, random_pose(rng, 0.1, 0.5), rng)
    soft = ndimage.gaussian_filter(mask.astype(np.float32), rng.uniform(4, 15))
    return np.asarray(rng.uniform(0.5, 1) * soft, np.float32)
