"""Random appearance of a label map: grey values, texture, colour, and artefacts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from scsam_train.warmup.shapes import smooth_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_scsam.core.arrays import FloatArray, LabelArray

# Minimum contrasts between a structure and what lies below it. Arbitrary.
MIN_CONTRAST = (0.06, 0.1, 0.16, 0.25)
# Share of phantoms with colours instead of grey values. Arbitrary.
COLOURED = 0.35


def paint(
    labels: LabelArray, textures: list[FloatArray], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Give a label map a random appearance.

    Domain randomisation after SynthSeg (Billot et al., Medical Image Analysis 86, 2023,
    section 3.2): it covers many appearances instead of imitating one scanner.

    Parameters
    ----------
    labels : ndarray of shape (rows, cols), uint8
        0 background; higher labels lie on top of lower ones.
    textures : list of ndarray, float32
        Grey pictures with mean 0 and standard deviation 1, as sources of texture.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of shape (rows, cols) or (rows, cols, 3), float32
        0..1.
    """
    grey = _grey_values(labels, rng)
    grey += _texture(labels, textures, rng)
    grey = ndimage.gaussian_filter(grey, rng.choice((0.4, 0.7, 1.2, 2.0)))
    grey *= 1 + rng.uniform(0, 0.3) * smooth_noise(grey.shape, rng.uniform(0.4, 1.0), rng)
    if rng.random() < COLOURED:
        return _colour(grey, labels, rng)
    return np.clip(_noisy(_coarser(grey, rng), rng), 0, 1).astype(np.float32)


def _grey_values(labels: LabelArray, rng: np.random.Generator) -> FloatArray:
    """Draw a grey value per label that contrasts with its surroundings; some values recur."""
    least = float(rng.choice(MIN_CONTRAST))
    greys = np.zeros(256, np.float32)
    greys[0] = rng.uniform(0, 1)
    for label in np.unique(labels[labels > 0]):
        around = ndimage.binary_dilation(labels == label, iterations=3) & (labels < label)
        under = np.bincount(labels[around]).argmax() if around.any() else 0
        if label > 1 and rng.random() < 0.2:
            grey = greys[rng.integers(label)] + rng.normal(0, 0.02)
            if abs(grey - greys[under]) > least:
                greys[label] = grey
                continue
        step = rng.choice((-1, 1)) * (least + rng.exponential(0.2))
        grey = greys[under] + step
        greys[label] = grey if 0 <= grey <= 1 else np.clip(greys[under] - step, 0, 1)
    return greys[labels]


def _texture(
    labels: LabelArray, textures: list[FloatArray], rng: np.random.Generator
) -> FloatArray:
    """Return a texture with its own strength in each label."""
    strengths = np.zeros(256, np.float32)
    used = np.unique(labels)
    strengths[used] = rng.uniform(0, 0.08, len(used))
    fine = smooth_noise(labels.shape, float(np.exp(rng.uniform(-4.5, -2))), rng)
    texture = strengths[labels] * fine
    if textures and rng.random() < 0.4:
        strengths[used] = rng.uniform(0, 0.12, len(used))
        texture += strengths[labels] * _cut(
            textures[rng.integers(len(textures))], labels.shape, rng
        )
    return texture


def _cut(texture: FloatArray, shape: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Cut a piece from a texture, mirrored if it is too small."""
    turned = np.rot90(texture, int(rng.integers(4)))
    pad = [(0, max(0, n - m)) for n, m in zip(shape, turned.shape, strict=True)]
    padded = np.pad(turned, pad, mode="reflect")
    row, col = (int(rng.integers(m - n + 1)) for n, m in zip(shape, padded.shape, strict=True))
    return padded[row : row + shape[0], col : col + shape[1]]


def _coarser(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Sometimes lower the resolution, in one direction or both."""
    if rng.random() > 0.35:
        return grey
    factors = rng.uniform(1, 3, 2)
    if rng.random() < 0.5:
        factors[:] = factors[0]
    small = ndimage.zoom(grey, 1 / factors, order=1)
    back = np.divide(grey.shape, small.shape)
    return np.asarray(ndimage.zoom(small, back, order=1), dtype=np.float32)


def _noisy(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Add Gaussian, Rician or speckle noise."""
    kind, amount = rng.random(), rng.exponential(0.03)
    if kind < 0.4:
        return grey + amount * rng.standard_normal(grey.shape, np.float32)
    if kind < 0.7:
        real, imaginary = amount * rng.standard_normal((2, *grey.shape), np.float32)
        return np.asarray(np.hypot(grey + real, imaginary), dtype=np.float32)
    speckle = rng.standard_normal(grey.shape, np.float32)
    speckle = ndimage.gaussian_filter(speckle, rng.uniform(0.3, 2.5, 2))
    strength = rng.uniform(0.05, 0.4)
    return np.asarray(grey * (1 + strength * speckle / max(float(speckle.std()), 1e-6)), np.float32)


def _colour(grey: FloatArray, labels: LabelArray, rng: np.random.Generator) -> FloatArray:
    """Colour it like tissue under a lamp: a tint, small shifts by label, shading, highlights."""
    tint = rng.uniform(0.2, 1.0, 3)
    if rng.random() < 0.5:
        tint = np.sort(tint)[::-1]  # reddish, like blood
    shifts = np.zeros((256, 3), np.float32)
    shifts[: labels.max() + 1] = rng.normal(0, rng.uniform(0, 0.12), (labels.max() + 1, 3))
    picture = (0.25 + 0.75 * np.clip(grey, 0, 1))[..., None] * (tint + shifts[labels])
    picture *= _lamp(labels.shape, rng)[..., None]
    picture += _highlights(labels.shape, rng)[..., None]
    picture += rng.exponential(0.015) * rng.standard_normal(picture.shape, np.float32)
    return np.clip(picture, 0, 1).astype(np.float32)


def _lamp(shape: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    centre = rng.uniform(0.2, 0.8, 2)
    y, x = (np.linspace(0, 1, n) - c for n, c in zip(shape, centre, strict=True))
    distance = np.hypot(y[:, None], x[None, :])
    return np.asarray((1 - rng.uniform(0, 0.7) * distance**1.5).clip(0.05), np.float32)


def _highlights(shape: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Return small bright spots, as on a wet surface."""
    spots = np.zeros(shape, np.float32)
    for _ in range(int(rng.poisson(4)) if rng.random() < 0.6 else 0):
        row, col = (int(rng.integers(n)) for n in shape)
        size = int(rng.integers(1, 5))
        spots[row : row + size, col : col + int(rng.integers(1, 8))] = rng.uniform(0.3, 1)
    return np.asarray(ndimage.gaussian_filter(spots, 1.0), np.float32)
