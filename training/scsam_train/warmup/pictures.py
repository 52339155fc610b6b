"""Scenes from real pictures with a free licence, cut and changed at random, and their regions."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage import data
from skimage.color import gray2rgb, rgb2gray
from skimage.segmentation import felzenszwalb, find_boundaries, slic
from skimage.transform import resize
from skimage.util import img_as_float32

from scsam_train.warmup.phantoms import MAX_TARGETS, Scene, usable
from scsam_train.warmup.shapes import smooth_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_scsam.core.arrays import FloatArray, Mask

# scikit-image's packaged pictures that are CC0 or in the public domain by their docstrings.
PHOTOGRAPHS = (
    "astronaut",
    "brick",
    "camera",
    "cat",
    "cell",
    "clock",
    "coffee",
    "grass",
    "gravel",
    "hubble_deep_field",
    "microaneurysms",
    "retina",
    "rocket",
)
# Never used for training: they validate the warm-up, with every sixth slice of the brain.
HELD_OUT_PHOTOGRAPHS = ("coins", "immunohistochemistry")
# Maximum side of a picture in px: the input of LiteMedSAM.
MAX_SIDE = 256
# Range of slices as shares of the brain's length. Arbitrary.
BRAIN_RANGE = (0.2, 0.8)
# One in so many of these slices is for validation (docs/explanation/warm-up.md). Arbitrary.
HELD_OUT_EVERY = 6
# Regions below this grey value, 0..1, are the empty outside of a scan. Arbitrary.
DARK = 0.04


def photograph_scene(rng: np.random.Generator, *, held_out: bool) -> Scene:
    """Cut a photograph at random, with regions of a random segmentation as objects."""
    names = HELD_OUT_PHOTOGRAPHS if held_out else PHOTOGRAPHS
    picture = _photograph(names[int(rng.integers(len(names)))])
    cut = _cut(picture, rng)
    if cut.ndim == 3 and rng.random() < 0.4:
        cut = rgb2gray(cut).astype(np.float32)
    return Scene(_change(cut, rng), _regions(cut, rng), "photograph")


def brain_scene(rng: np.random.Generator, *, held_out: bool) -> Scene:
    """Draw a slice of the MNI152 template, with tissues and random regions as objects."""
    head, grey, white = _brain()
    axis = int(rng.integers(3))
    low, high = (int(share * head.shape[axis]) for share in BRAIN_RANGE)
    planes = [k for k in range(low, high) if (k % HELD_OUT_EVERY == 0) == held_out]
    at = planes[int(rng.integers(len(planes)))]
    layers = np.stack([np.take(volume, at, axis) for volume in (head, grey, white)], axis=-1)
    cut = _cut(np.ascontiguousarray(np.rot90(layers)), rng)
    image, tissues = cut[..., 0], _tissues(cut, rng)
    masks = [*tissues, *_regions(image, rng)]
    order = rng.permutation(len(masks))
    return Scene(_change(image, rng), [masks[i] for i in order][:MAX_TARGETS], "brain")


@cache
def textures() -> list[FloatArray]:
    """Return grey textures with mean 0 and standard deviation 1, for phantoms."""
    greys = [_grey(_photograph(name)) for name in ("brick", "grass", "gravel")]
    return [((grey - grey.mean()) / grey.std()).astype(np.float32) for grey in greys]


def backdrop(rng: np.random.Generator) -> FloatArray:
    """Return a random grey cut of a photograph, randomly blurred, as background of phantoms."""
    picture = _grey(_photograph(PHOTOGRAPHS[int(rng.integers(len(PHOTOGRAPHS)))]))
    blurred = ndimage.gaussian_filter(_cut(picture, rng), rng.uniform(0, 4))
    return np.asarray(blurred, dtype=np.float32)


@cache
def _photograph(name: str) -> FloatArray:
    picture = img_as_float32(getattr(data, name)())
    side = max(picture.shape[:2])
    if side > 3 * MAX_SIDE:
        factor = 3 * MAX_SIDE / side
        target = tuple(int(n * factor) for n in picture.shape[:2])
        picture = resize(picture, target, anti_aliasing=True).astype(np.float32)
    return np.asarray(picture, dtype=np.float32)


@cache
def _brain() -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return T1 in 0..1 and the fractions of grey and white matter, each (x, y, z) at 1 mm."""
    from nilearn.datasets import (
        load_mni152_gm_template,
        load_mni152_template,
        load_mni152_wm_template,
    )

    loaders = (load_mni152_template, load_mni152_gm_template, load_mni152_wm_template)
    head, grey, white = (
        np.asarray(loader(resolution=1).get_fdata(), dtype=np.float32) for loader in loaders
    )
    return head / head.max(), grey, white


def _grey(picture: FloatArray) -> FloatArray:
    grey = rgb2gray(picture) if picture.ndim == 3 else picture
    return np.asarray(grey, dtype=np.float32)


def _cut(picture: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return a random rectangle, rotated by 90 degrees, mirrored, at most `MAX_SIDE` long."""
    share = rng.uniform(0.35, 1.0) * rng.uniform(0.8, 1.0, 2)
    size = [max(64, int(n * s)) for n, s in zip(picture.shape[:2], share, strict=True)]
    size = [min(n, m) for n, m in zip(size, picture.shape[:2], strict=True)]
    row, col = (int(rng.integers(m - n + 1)) for n, m in zip(size, picture.shape[:2], strict=True))
    cut = np.rot90(picture[row : row + size[0], col : col + size[1]], int(rng.integers(4)))
    cut = cut[:, ::-1] if rng.random() < 0.5 else cut
    factor = rng.integers(160, MAX_SIDE + 1) / max(cut.shape[:2])
    target = tuple(round(n * factor) for n in cut.shape[:2])
    return np.asarray(resize(cut, target, anti_aliasing=factor < 1), dtype=np.float32)


def _change(image: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Change the contrast, sometimes invert it, and add bias, blur and noise."""
    span = max(float(np.ptp(image)), 1e-6)
    changed = ((image - image.min()) / span) ** np.exp(rng.uniform(-0.7, 0.7))
    if image.ndim == 2 and rng.random() < 0.35:
        lit = image > image.min() + 0.02 * span  # the background outside the body stays black
        changed = np.where(lit, 1 - changed, changed)
    bias = 1 + rng.uniform(0, 0.25) * smooth_noise(
        (image.shape[0], image.shape[1]), rng.uniform(0.4, 1), rng
    )
    changed = changed * (bias if image.ndim == 2 else bias[..., None])
    if rng.random() < 0.3:
        sigma = rng.uniform(0.3, 1.5)
        changed = ndimage.gaussian_filter(changed, (sigma, sigma, 0)[: image.ndim])
    changed = changed + rng.exponential(0.02) * rng.standard_normal(image.shape, np.float32)
    return np.asarray(np.clip(changed, 0, 1), dtype=np.float32)


def _tissues(cut: FloatArray, rng: np.random.Generator) -> list[Mask]:
    """Return white matter, grey matter, fluid inside the brain, and the whole brain."""
    head, grey, white = (cut[..., i] for i in range(3))
    brain = ndimage.binary_fill_holes(head > 0.05)
    deep = ndimage.binary_erosion(brain, iterations=8)
    fluid = ndimage.binary_opening(deep & (grey + white < 0.4))
    largest = [_largest_part(mask) for mask in (white > 0.5, fluid)]
    parts = [*largest, grey > 0.5, brain]
    return [mask for mask in parts if usable(mask) and rng.random() < 0.6]


def _largest_part(mask: Mask) -> Mask:
    parts, count = ndimage.label(mask)
    if not count:
        return mask
    return np.asarray(parts == 1 + int(np.bincount(parts.ravel())[1:].argmax()))


def _regions(image: FloatArray, rng: np.random.Generator) -> list[Mask]:
    """Return regions of a random segmentation, preferring those with sharp outlines.

    Superpixels as objects: ScribblePrompt (Wong et al., ECCV 2024), section 4.
    """
    labels = _segmentation(image, rng)
    grey = _grey(image)
    gradient = ndimage.gaussian_gradient_magnitude(grey, 1.0)
    scored: list[tuple[float, Mask]] = []
    for label in rng.permutation(np.unique(labels))[:40]:
        mask = _merged(labels, int(label), image, rng)
        if usable(mask) and float(grey[mask].mean()) > DARK:
            outline = find_boundaries(mask)
            scored.append((float(gradient[outline].mean()), mask))
    scored.sort(key=lambda pair: -pair[0])
    best = [mask for _, mask in scored[: 2 * MAX_TARGETS]]
    return [best[i] for i in rng.permutation(len(best))][:MAX_TARGETS]


def _segmentation(image: FloatArray, rng: np.random.Generator) -> NDArray[np.intp]:
    colour = gray2rgb(image) if image.ndim == 2 else image
    if rng.random() < 0.6:
        scale = float(np.exp(rng.uniform(np.log(40), np.log(900))))
        labels = felzenszwalb(colour, scale=scale, sigma=rng.uniform(0.5, 2), min_size=40)
    else:
        count = int(np.exp(rng.uniform(np.log(8), np.log(120))))
        labels = slic(colour, n_segments=count, compactness=rng.uniform(0.5, 8), start_label=0)
    return np.asarray(labels, dtype=np.intp)


def _merged(
    labels: NDArray[np.intp], label: int, image: FloatArray, rng: np.random.Generator
) -> Mask:
    """Return one region, sometimes merged with its most similar neighbours, holes filled."""
    mask = labels == label
    for _ in range(int(rng.integers(1, 4)) if rng.random() < 0.3 else 0):
        around = np.unique(labels[ndimage.binary_dilation(mask, iterations=2) & ~mask])
        if not len(around):
            break
        own = image[mask].mean(0)
        apart = [float(np.abs(image[labels == n].mean(0) - own).sum()) for n in around]
        mask = mask | (labels == around[int(np.argmin(apart))])
    filled: Mask = ndimage.binary_fill_holes(mask)
    return filled if rng.random() < 0.7 else mask
