"""Random views on square canvases: one geometry for image and labels, intensity for images."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from scsam_train.losses import IGNORE

MAX_ANGLE = math.radians(15)
SCALES = (0.85, 1.2)
MAX_SHIFT = 0.06


def random_geometry(count: int, generator: torch.Generator, *, mirror: bool) -> Tensor:
    """Random similarity transforms for `warp`.

    Parameters
    ----------
    count : int
    generator : torch.Generator
    mirror : bool
        Whether half of them are mirrored left to right.

    Returns
    -------
    Tensor of shape (count, 2, 3), float32
        From output to input in normalised coordinates: at most 15 degrees, a scale of
        0.85 to 1.2, a shift of at most 6 % of the side.
    """
    draw = torch.rand((count, 5), generator=generator)
    angle = (2 * draw[:, 0] - 1) * MAX_ANGLE
    scale = SCALES[0] + draw[:, 1] * (SCALES[1] - SCALES[0])
    shift = (2 * draw[:, 2:4] - 1) * 2 * MAX_SHIFT
    side = torch.where((draw[:, 4] < 0.5) & mirror, -1.0, 1.0)
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    rows = [
        torch.stack([side * cos, -sin, shift[:, 0]], dim=1),
        torch.stack([side * sin, cos, shift[:, 1]], dim=1),
    ]
    return torch.stack(rows, dim=1)


def warp(values: Tensor, geometry: Tensor) -> Tensor:
    """Images or probabilities of shape (N, C, s, s), bilinear, 0 outside."""
    grid = functional.affine_grid(geometry, list(values.shape), align_corners=False)
    return functional.grid_sample(values, grid, mode="bilinear", align_corners=False)


def warp_labels(labels: Tensor, geometry: Tensor) -> Tensor:
    """Label maps of shape (N, s, s), uint8, nearest; 255 outside."""
    # 255 becomes 0 for a moment, because that is what grid_sample puts outside.
    coded = (labels[:, None].to(torch.int16) + 1) % (IGNORE + 1)
    grid = functional.affine_grid(geometry, list(coded.shape), align_corners=False)
    moved = functional.grid_sample(coded.float(), grid, mode="nearest", align_corners=False)
    back = (moved.round().to(torch.int16) + IGNORE) % (IGNORE + 1)
    return back[:, 0].to(torch.uint8)


def change_intensity(
    images: Tensor, generator: torch.Generator, strength: Tensor | None = None
) -> Tensor:
    """Random gamma, contrast, brightness, blur and noise, other for each image.

    Parameters
    ----------
    images : Tensor of shape (N, 3, s, s), float32
        0..1; black stays black, so the padding does.
    generator : torch.Generator
    strength : Tensor of shape (N,), optional
        0 leaves an image as it is, 1 (for all, by default) changes it fully.
    """
    count = images.shape[0]
    draw = torch.rand((count, 5), generator=generator).to(images.device)[:, :, None, None, None]
    gamma = torch.exp((2 * draw[:, 0] - 1) * 0.5)
    gain = 0.75 + 0.5 * draw[:, 1]
    changed = images.clamp(0, 1).pow(gamma) * gain
    changed = changed + (draw[:, 2] - 0.5) * 0.2 * (images > 0)
    blurred = functional.avg_pool2d(changed, 3, stride=1, padding=1, count_include_pad=False)
    changed = torch.where(draw[:, 3] < 0.3, blurred, changed)
    noise = torch.randn((count, 1, *images.shape[2:]), generator=generator).to(images.device)
    strong = (changed + noise * 0.06 * draw[:, 4] * (images > 0)).clamp(0, 1)
    if strength is None:
        return strong
    return images + strength[:, None, None, None] * (strong - images)
