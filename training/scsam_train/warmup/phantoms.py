"""Generated pictures with known masks: random structures with random appearance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage

from scsam_train.warmup.appearance import paint
from scsam_train.warmup.relief import lit_relief
from scsam_train.warmup.shapes import (
    Pose,
    bent_plane,
    random_structure,
    star,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_scsam.core.arrays import FloatArray, LabelArray, Mask

Domain = Literal["phantom", "brain", "photograph", "relief"]

# Range of the area of a target, as shares of the picture. Arbitrary.
SHARES = (0.001, 0.4)
# Minimum area of a target in px. Arbitrary.
MIN_PIXELS = 30
# Maximum number of targets in a scene. Arbitrary.
MAX_TARGETS = 5


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture and the objects in it that are used as targets.

    Attributes
    ----------
    image : ndarray of shape (rows, cols) or (rows, cols, 3), float32
        0..1.
    masks : list of ndarray of shape (rows, cols), bool
        One object each; they may overlap.
    domain : {'phantom', 'brain', 'photograph', 'relief'}
    """

    image: NDArray[np.float32]
    masks: list[Mask]
    domain: Domain


def make_phantom(
    rng: np.random.Generator, textures: list[FloatArray], backdrop: FloatArray | None = None
) -> Scene:
    """Make a random phantom.

    Parameters
    ----------
    rng : numpy.random.Generator
    textures : list of ndarray, float32
        As for `paint`.
    backdrop : ndarray of shape (rows, cols), float32, optional
        A grey picture in 0..1 to blend with the phantom.
    """
    shape = _shape(rng) if backdrop is None else (backdrop.shape[0], backdrop.shape[1])
    labels, groups = _label_map(shape, rng)
    image = paint(labels, textures, rng)
    if backdrop is not None:
        share = np.float32(rng.uniform(0.2, 0.6))
        seen = backdrop if image.ndim == 2 else backdrop[..., None]
        image = (1 - share) * image + share * seen
    view = _field_of_view(shape, rng)
    image = image * (view if image.ndim == 2 else view[..., None])
    return Scene(image.astype(np.float32), _targets(labels, groups, view, rng), "phantom")


def make_relief(rng: np.random.Generator) -> Scene:
    """Make a random lit surface with bumps on it."""
    shape = _shape(rng)
    image, masks = lit_relief(shape, rng)
    view = _field_of_view(shape, rng)
    seen = [np.asarray(mask & view) for mask in masks]
    return Scene(image * view[..., None], [mask for mask in seen if usable(mask)], "relief")


def usable(mask: Mask) -> bool:
    """Whether a mask has a size that people click on."""
    return bool(mask.sum() >= MIN_PIXELS and SHARES[0] <= mask.mean() <= SHARES[1])


def _shape(rng: np.random.Generator) -> tuple[int, int]:
    long = int(rng.integers(150, 257))
    short = long if rng.random() < 0.4 else int(long * rng.uniform(0.6, 1))
    return (long, short) if rng.random() < 0.5 else (short, long)


def _label_map(
    shape: tuple[int, int], rng: np.random.Generator
) -> tuple[LabelArray, list[tuple[int, ...]]]:
    """Draw structures over one another; each group of labels is one structure's parts."""
    plane = bent_plane(shape, rng)
    labels = np.zeros(shape, np.uint8)
    inside = np.ones(shape, bool)
    if rng.random() < 0.5:
        height, width = (float(size) for size in rng.uniform(0.75, 1.1, 2))
        inside = star(plane, Pose(0, 0, height, width, 0), rng, 0.1)
        labels[inside] = 1
    groups, number = [], int(labels.max())
    for _ in range(int(rng.integers(3, 11))):
        group = []
        for mask in random_structure(plane, rng):
            number += 1
            labels[mask & inside] = number
            group.append(number)
        groups.append(tuple(group))
    return labels, groups


def _field_of_view(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return the field of view: everything, a disc, an ultrasound fan, or a cropped rectangle."""
    kind = rng.random()
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    if kind < 0.7:
        return np.ones(shape, bool)
    if kind < 0.8:
        return np.asarray(np.hypot(y, x) < rng.uniform(0.95, 1.3))
    if kind < 0.9:
        depth = np.hypot(y + rng.uniform(1.1, 1.6), x)
        return np.asarray((np.abs(np.arctan2(x, y + 1.5)) < rng.uniform(0.45, 0.8)) & (depth < 2.5))
    return np.asarray((np.abs(y) < rng.uniform(0.8, 1)) & (np.abs(x) < rng.uniform(0.8, 1)))


def _targets(
    labels: LabelArray,
    groups: list[tuple[int, ...]],
    view: Mask,
    rng: np.random.Generator,
) -> list[Mask]:
    """Return single parts, and sometimes a whole structure of several parts."""
    candidates: list[tuple[int, ...]] = [(label,) for group in groups for label in group]
    candidates += [g for g in groups if len(g) > 1 and rng.random() < 0.15]
    masks = []
    for position in rng.permutation(len(candidates)):
        mask = np.isin(labels, candidates[position]) & view
        mask = _without_crumbs(mask)
        if usable(mask):
            masks.append(mask)
    return masks[:MAX_TARGETS]


def _without_crumbs(mask: Mask) -> Mask:
    """Remove tiny remainders of a structure that others cover."""
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    return np.asarray((areas >= max(12, 0.05 * areas.max()))[parts])
