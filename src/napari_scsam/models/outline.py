"""The mask of a class in a probability map, and its components that are clicked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.special import expit

from napari_scsam.core.prompts import Prompts, pixels_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_scsam.core.arrays import FloatArray


def connected_parts(mask: NDArray[np.bool_], min_area: float) -> list[NDArray[np.bool_]]:
    """Return the components of at least `min_area` pixels, largest first; corners connect."""
    numbered, count = ndimage.label(mask, structure=np.ones((3, 3)))
    areas = np.bincount(numbered.ravel(), minlength=count + 1)[1:]
    order = np.argsort(-areas, kind="stable")
    return [numbered == number + 1 for number in order if areas[number] >= min_area]


def log_odds(probabilities: FloatArray, position: int) -> FloatArray:
    """Return the log-ratio of a class to the most probable other class; above 0 where it wins.

    Parameters
    ----------
    probabilities : ndarray of shape (K + 1, rows, cols), float32
    position : int
        Index of the class along the first axis.

    Returns
    -------
    ndarray of shape (rows, cols), float32
    """
    others = np.delete(probabilities, position, axis=0).max(axis=0)
    tiny = np.finfo(np.float32).eps
    odds = np.log(probabilities[position] + tiny) - np.log(others + tiny)
    return np.asarray(odds, np.float32)


def picked_parts(logits: FloatArray, prompts: Prompts) -> tuple[FloatArray, Prompts]:
    """Keep the components of ``logits > 0`` that contain an inside click.

    Returns
    -------
    logits : ndarray of shape (rows, cols), float32
        A copy, negative outside those components.
    missed : Prompts
        Inside clicks on no component, and all outside clicks; empty without such an inside click.
    """
    parts, _ = ndimage.label(logits > 0)
    at = [(row, col) for row, col in pixels_of(prompts.points, logits.shape).tolist()]
    inside = [label == 1 for label in prompts.labels]
    hit = {int(parts[place]) for place, positive in zip(at, inside, strict=True) if positive}
    kept = np.isin(parts, [part for part in hit if part])
    missed = [i for i, place in enumerate(at) if inside[i] and not parts[place]]
    kept_clicks = [*missed, *(i for i in range(len(at)) if not inside[i])] if missed else []
    return (
        np.where(kept, logits, -np.abs(logits)),
        Prompts([prompts.points[i] for i in kept_clicks], [prompts.labels[i] for i in kept_clicks]),
    )


def expected_iou(logits: FloatArray, mask: NDArray[np.bool_]) -> float:
    """Return the expected IoU of `mask` for calibrated logits; 0 for an empty mask."""
    inside = expit(logits)
    union = mask.sum() + inside[~mask].sum()
    return float(inside[mask].sum() / union) if mask.any() else 0.0
