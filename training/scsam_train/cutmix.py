"""CutMix of pseudo-labelled views: a rectangle of a view is replaced by that of another view.

Yun et al., CutMix, ICCV 2019 (arXiv 1905.04899); for pseudo-labels of segmentation French et al.,
Semi-supervised semantic segmentation needs strong, varied perturbations, BMVC 2020
(arXiv 1906.01916).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from scsam_train.batches import Batch

# Probability that a view is mixed. Arbitrary; only measured together with the distorted views
# (docs/results/rounds.md).
PROBABILITY = 0.5
# Ranges of the rectangle's share of the area, and of the logarithm of its height over its width.
# Arbitrary, within what the papers use.
AREAS, LOG_RATIOS = (0.05, 0.4), (-math.log(2), math.log(2))
# Maximum side of a rectangle as a share of the view's. Arbitrary.
LONGEST = 0.9


def cutmix(batch: Batch, rng: np.random.Generator) -> Batch:
    """Paste a random rectangle of the next view of a batch into about half of its views.

    Parameters
    ----------
    batch : Batch
        Of views of one size with the same `known` and weights: those of pseudo-labelled planes.
    rng : numpy.random.Generator

    Returns
    -------
    Batch
        Pixels, labels and SAM's maps come from the same plane at each place. A batch of one view
        is returned as it is.
    """
    if len(batch) < 2:
        return batch
    where = torch.zeros_like(batch.labels[:, None], dtype=torch.bool)
    cells = None if batch.sam is None else torch.zeros_like(batch.sam[:, :1], dtype=torch.bool)
    for row in range(len(batch)):
        if rng.random() >= PROBABILITY:
            continue
        box = _rectangle(rng)
        _mark(where[row, 0], box)
        if cells is not None:
            _mark(cells[row, 0], box)
    images = torch.where(where, batch.images.roll(1, 0), batch.images)
    labels = torch.where(where[:, 0], batch.labels.roll(1, 0), batch.labels)
    sam = batch.sam
    if sam is not None and cells is not None:
        sam = torch.where(cells, sam.roll(1, 0), sam)
    return replace(batch, images=images, labels=labels, sam=sam)


def _rectangle(rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Top, bottom, left and right as shares of the view's side."""
    area, ratio = rng.uniform(*AREAS), math.exp(rng.uniform(*LOG_RATIOS))
    height, width = (min(LONGEST, math.sqrt(part)) for part in (area * ratio, area / ratio))
    top, left = rng.uniform(0, 1 - height), rng.uniform(0, 1 - width)
    return top, top + height, left, left + width


def _mark(plane: Tensor, box: tuple[float, float, float, float]) -> None:
    """Set a rectangle of a mask (h, w) to True."""
    top, bottom, left, right = (round(edge * len(plane)) for edge in box)
    plane[top:bottom, left:right] = True
