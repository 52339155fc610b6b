"""How sure the models are about one slice: entropy, expected Dice and disagreement per class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.special import entr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_scsam.core.arrays import FloatArray, Mask

# Maps are subsampled to this longest side: means and shares of an outline hardly change. Arbitrary.
LONGEST_SIDE = 512
# Width of the band around an outline in which the models are expected to hesitate, and distance up
# to which two outlines agree, both over the longest side of the slice. Arbitrary: 4 and 3 pixels
# of 256.
BAND, TOLERANCE = 4 / 256, 3 / 256
# Below this probability a class counts as not seen at all, as in `proposals`. Arbitrary.
UNSEEN = 0.2
# From this share of the outline on, a disagreement is doubt. Arbitrary.
NOTABLE = 0.2
# Below this expected Dice a slice is doubtful. Arbitrary: as much as `NOTABLE` is short of 1.
EXPECTED = 0.8


@dataclass(frozen=True)
class Doubt:
    """Doubt about one class on one slice.

    Attributes
    ----------
    entropy : float
        Mean predictive entropy over the predicted foreground and a band around it, 0..1 (1: all
        classes are equally likely).
    dice : float
        Expected Dice of the predicted mask, 0..1.
    disagreement : float or None
        Share of the outlines of U-Net and SAM that lie apart, 0..1; None if not computed.
    """

    entropy: float
    dice: float
    disagreement: float | None = None

    @property
    def is_notable(self) -> bool:
        """Whether a low Dice is expected, or the two models disagree on much of the outline."""
        return self.dice < EXPECTED or (self.disagreement or 0) >= NOTABLE


def doubts(probabilities: FloatArray, class_ids: Sequence[int]) -> dict[int, Doubt]:
    """Return the doubt about each class that is predicted, or may have been missed.

    Entropy is averaged over the predicted foreground and its boundary band, never over the whole
    slice, where a large background would dominate ("selective uncertainty"). For a class that is
    nowhere the most probable one, it is averaged over the pixels above `UNSEEN`, and the expected
    Dice is the probability that none of them is foreground, taken from the most probable pixel.

    Parameters
    ----------
    probabilities : ndarray of shape (K + 1, rows, cols), float32
        Background first; sums to 1. Rounding errors below 0 and above 1 do no harm.
    class_ids : sequence of int
        The K classes.

    Returns
    -------
    dict of int to Doubt
        Without the classes that are not seen.
    """
    maps = _subsampled(probabilities).clip(0, 1)
    entropy = (entr(maps).sum(axis=0) / np.log(len(maps))).clip(max=1)
    winner = maps.argmax(axis=0)
    found = {}
    for position, class_id in enumerate(class_ids, start=1):
        doubt = _doubt(winner == position, maps[position], entropy)
        if doubt is not None:
            found[class_id] = doubt
    return found


def outline_disagreement(one: Mask, other: Mask) -> float:
    """Return the share of two outlines that lie farther apart than a tolerance.

    One minus the surface Dice (Nikolov et al., arXiv 1809.04430), in pixels.

    Parameters
    ----------
    one, other : ndarray of shape (rows, cols), bool

    Returns
    -------
    float
        0..1; 0 if both are empty, 1 if one is.
    """
    if not one.any() or not other.any():
        return float(one.any() != other.any())
    tolerance = TOLERANCE * max(one.shape)
    rims = [_rim(mask) for mask in (one, other)]
    distances = [ndimage.distance_transform_edt(~rim) for rim in rims]
    apart = sum(
        int((distance[rim] > tolerance).sum())
        for rim, distance in zip(rims, reversed(distances), strict=True)
    )
    return apart / sum(int(rim.sum()) for rim in rims)


def disagreements(unet: FloatArray, sam: FloatArray, class_ids: Sequence[int]) -> dict[int, float]:
    """Return `outline_disagreement` of two probability maps (K + 1, rows, cols) for each class."""
    one, other = (_subsampled(maps).argmax(axis=0) for maps in (unet, sam))
    return {
        class_id: outline_disagreement(one == position, other == position)
        for position, class_id in enumerate(class_ids, start=1)
    }


def _doubt(mask: Mask, probability: FloatArray, entropy: NDArray[np.floating]) -> Doubt | None:
    if mask.any():
        region = _with_band(mask)
        inside = float(probability[mask].sum())
        expected = 2 * inside / (mask.sum() + probability[region].sum())
        return Doubt(float(entropy[region].mean()), min(float(expected), 1.0))
    seen = probability > UNSEEN
    if not seen.any():
        return None
    return Doubt(float(entropy[seen].mean()), 1 - float(probability.max()))


def _with_band(mask: Mask) -> Mask:
    """Return a mask with the pixels near it; only its bounding box and the band are searched."""
    width = max(1.0, BAND * max(mask.shape))
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    room = int(np.ceil(width))
    crop = tuple(slice(max(0, side.start - room), side.stop + room) for side in box)
    region = np.zeros_like(mask)
    region[crop] = ndimage.distance_transform_edt(~mask[crop]) <= width
    return region


def _rim(mask: Mask) -> Mask:
    rim: Mask = mask & ~ndimage.binary_erosion(mask)
    return rim


def _subsampled(maps: FloatArray) -> FloatArray:
    step = max(1, -(-max(maps.shape[1:]) // LONGEST_SIDE))
    return maps[:, ::step, ::step]
