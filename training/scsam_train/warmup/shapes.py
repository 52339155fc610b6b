"""Random shapes: the structures of which phantoms are composed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_scsam.core.arrays import FloatArray, Mask


@dataclass(frozen=True, eq=False)
class Plane:
    """A warped coordinate system, in which every shape is deformed.

    Attributes
    ----------
    y, x : ndarray of shape (rows, cols), float32
        -1..1 along the shorter side, deformed by smooth noise.
    """

    y: FloatArray
    x: FloatArray

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols)."""
        return self.y.shape[0], self.y.shape[1]


@dataclass(frozen=True)
class Pose:
    """Pose of a structure on a `Plane`: centre, half axes, angle in radians."""

    y: float
    x: float
    height: float
    width: float
    angle: float

    def local(self, plane: Plane) -> tuple[FloatArray, FloatArray]:
        """Return coordinates in which the structure fills about the unit disc."""
        dy, dx = plane.y - self.y, plane.x - self.x
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        v = (dy * cos + dx * sin) / self.height
        u = (dx * cos - dy * sin) / self.width
        return v, u


def smooth_noise(shape: tuple[int, int], grain: float, rng: np.random.Generator) -> FloatArray:
    """Return noise with mean 0, deviation 1 and a grain of `grain` times the longer side."""
    coarse = [int(np.clip(np.ceil(n / max(shape) / grain), 2, n)) + 3 for n in shape]
    noise = rng.standard_normal(coarse)
    factors = [(n + 4) / (m - 2) for n, m in zip(shape, coarse, strict=True)]
    fine = ndimage.zoom(noise, factors, order=3 if max(factors) > 1.5 else 1)
    cut = np.asarray(fine[: shape[0], : shape[1]], dtype=np.float32)
    return np.asarray((cut - cut.mean()) / max(float(cut.std()), 1e-6), dtype=np.float32)


def bent_plane(shape: tuple[int, int], rng: np.random.Generator) -> Plane:
    """Return a coordinate system with a random elastic deformation."""
    amount, grain = rng.uniform(0, 0.12), rng.uniform(0.2, 0.6)
    half = min(shape) / 2
    rows, cols = (np.arange(n, dtype=np.float32) for n in shape)
    y = ((rows - (shape[0] - 1) / 2) / half)[:, None] + amount * smooth_noise(shape, grain, rng)
    x = ((cols - (shape[1] - 1) / 2) / half)[None, :] + amount * smooth_noise(shape, grain, rng)
    return Plane(y.astype(np.float32), x.astype(np.float32))


def random_pose(rng: np.random.Generator, smallest: float = 0.04, largest: float = 0.7) -> Pose:
    """Return a pose with log-uniform size and a centre mostly well inside."""
    size = float(np.exp(rng.uniform(np.log(smallest), np.log(largest))))
    aspect = rng.uniform(0.45, 1.0)
    y, x = np.clip(rng.normal(0, 0.4, 2), -0.9, 0.9)
    return Pose(float(y), float(x), size, size * aspect, rng.uniform(0, np.pi))


def star(plane: Plane, pose: Pose, rng: np.random.Generator, rough: float = 0.25) -> Mask:
    """Return a disc whose radius varies smoothly with the angle."""
    v, u = pose.local(plane)
    inside: Mask = np.hypot(v, u) < _radius(np.arctan2(v, u), rng, rough * rng.random())
    return inside


def superellipse(plane: Plane, pose: Pose, rng: np.random.Generator) -> Mask:
    """Return a superellipse between a diamond and a rounded rectangle."""
    v, u = pose.local(plane)
    power = rng.uniform(1.2, 6.0)
    inside: Mask = np.abs(v) ** power + np.abs(u) ** power < 1
    return inside


def crescent(plane: Plane, pose: Pose, rng: np.random.Generator) -> Mask:
    """Return a disc minus a shifted disc."""
    v, u = pose.local(plane)
    shift, size = rng.uniform(0.3, 0.8), rng.uniform(0.75, 1.1)
    bite = np.hypot(v, u - shift) < size
    return np.asarray((np.hypot(v, u) < 1) & ~bite)


def ring(plane: Plane, pose: Pose, rng: np.random.Generator) -> Mask:
    """Return a wall around a cavity, sometimes open on one side."""
    v, u = pose.local(plane)
    angle = np.arctan2(v, u)
    radius = np.hypot(v, u) / _radius(angle, rng, 0.1)
    band = (radius < 1) & (radius > _wall(angle, rng))
    if rng.random() < 0.25:
        band &= np.abs(angle) < rng.uniform(1.0, 2.8)
    return band


def tube(plane: Plane, pose: Pose, rng: np.random.Generator) -> Mask:
    """Return a winding band of varying width."""
    steps = 40
    turns = np.cumsum(rng.normal(0, 0.25, steps)) + pose.angle
    length = 2 * pose.height / steps * rng.uniform(1.0, 2.5)
    ys, xs = pose.y + np.cumsum(np.sin(turns)) * length, pose.x + np.cumsum(np.cos(turns)) * length
    width = max(0.25 * pose.width * rng.uniform(0.3, 1.0), 0.02)
    widths = width * (1 + 0.3 * np.sin(np.linspace(0, rng.uniform(2, 9), steps)))
    inside = np.zeros(plane.shape, bool)
    for y, x, w in zip(ys, xs, widths, strict=True):
        inside |= (plane.y - y) ** 2 + (plane.x - x) ** 2 < w**2
    return inside


def cloud(plane: Plane, pose: Pose, rng: np.random.Generator) -> Mask:
    """Return thresholded smooth noise inside a disc: ragged, sometimes in pieces or with holes."""
    v, u = pose.local(plane)
    noise = smooth_noise(plane.shape, rng.uniform(0.05, 0.25), rng)
    inside: Mask = noise * rng.uniform(0.15, 0.5) + 1 - np.hypot(v, u) > 0.2
    return inside


def cluster(plane: Plane, pose: Pose, rng: np.random.Generator) -> Mask:
    """Return two to five small discs near one another, as one structure."""
    inside = np.zeros(plane.shape, bool)
    for _ in range(int(rng.integers(2, 6))):
        y, x = np.array([pose.y, pose.x]) + rng.normal(0, pose.height, 2)
        size = pose.height * rng.uniform(0.25, 0.6)
        inside |= star(plane, Pose(y, x, size, size, pose.angle), rng)
    return inside


def hollow_organ(plane: Plane, pose: Pose, rng: np.random.Generator) -> list[Mask]:
    """Return a wall and its cavity, often with an adjacent crescent: two or three masks."""
    v, u = pose.local(plane)
    angle = np.arctan2(v, u)
    radius = np.hypot(v, u) / _radius(angle, rng, 0.12)
    cavity = radius < _wall(angle, rng)
    masks = [(radius < 1) & ~cavity, cavity]
    if rng.random() < 0.6:
        side = rng.choice((-1, 1))
        reach = np.hypot(v * rng.uniform(0.7, 1.1), u - side * rng.uniform(0.5, 0.9))
        masks.append((reach < rng.uniform(0.9, 1.3)) & (radius >= 1))
    return masks


def touching(plane: Plane, pose: Pose, rng: np.random.Generator) -> list[Mask]:
    """Divide a disc among two to five neighbours without gaps."""
    v, u = pose.local(plane)
    inside = np.hypot(v, u) < _radius(np.arctan2(v, u), rng, 0.2)
    centres = rng.uniform(-0.8, 0.8, (int(rng.integers(2, 6)), 2))
    distances = np.stack([(v - a) ** 2 + (u - b) ** 2 for a, b in centres])
    nearest = distances.argmin(0)
    return [inside & (nearest == i) for i in range(len(centres))]


Single = Callable[[Plane, Pose, np.random.Generator], Mask]
# Shapes of a single part, with their probabilities. Arbitrary.
SINGLE: tuple[tuple[Single, float], ...] = (
    (star, 0.42),
    (superellipse, 0.1),
    (crescent, 0.12),
    (ring, 0.12),
    (tube, 0.08),
    (cloud, 0.1),
    (cluster, 0.06),
)


def random_structure(plane: Plane, rng: np.random.Generator) -> list[Mask]:
    """Return one random structure, as the masks of its parts."""
    pose = random_pose(rng)
    kind = rng.random()
    if kind < 0.16:
        return hollow_organ(plane, pose, rng)
    if kind < 0.24:
        return touching(plane, pose, rng)
    shares = np.array([share for _, share in SINGLE])
    shape, _ = SINGLE[int(rng.choice(len(SINGLE), p=shares / shares.sum()))]
    return [shape(plane, pose, rng)]


def _radius(angle: FloatArray, rng: np.random.Generator, rough: float) -> FloatArray:
    radius = np.ones_like(angle)
    for order in range(2, 7):
        phase = np.float32(rng.uniform(0, 2 * np.pi))
        radius += np.float32(rng.normal(0, rough / order)) * np.cos(order * angle + phase)
    limited: FloatArray = np.clip(radius, 0.4, 1.6)
    return limited


def _wall(angle: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return the inner radius of a wall that is thinner on one side."""
    phase = np.float32(rng.uniform(0, 2 * np.pi))
    inner = rng.uniform(0.45, 0.85) + rng.uniform(0, 0.12) * np.cos(angle + phase)
    return np.asarray(inner, dtype=np.float32)
