"""Outlines warped from plane to plane by optical flow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.registration import optical_flow_ilk
from skimage.transform import rescale, resize

from napari_scsam.propagation.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_scsam.core.arrays import Logits

_FLOW = SETTINGS.flow


@dataclass(frozen=True, eq=False)
class Drift:
    """Outlines of an annotated plane, warped to the present plane.

    Their errors differ from those of SAM, so that the mean of both is better than either. This
    requires that neither uses the other's result.

    Attributes
    ----------
    picture : ndarray of shape (h, w), float32
        The present plane in 0..1, with at most 256 pixels a side.
    outlines : mapping of int to ndarray of shape (h, w), float32
        Log-odds of each class, proportional to the distance from its outline. Classes too
        small for optical flow are left out.
    """

    picture: NDArray[np.float32]
    outlines: Mapping[int, Logits] = field(default_factory=dict)

    @classmethod
    def start(cls, view: NDArray[np.float32], outlines: Mapping[int, Logits]) -> Drift:
        """Start on a plane from its `view`, and log-odds on any grid of it."""
        picture = _small(view)
        sized = {c: resize(odds, picture.shape, order=1) for c, odds in outlines.items()}
        return cls(
            picture, {c: odds for c, odds in sized.items() if (odds > 0).sum() >= _FLOW.smallest}
        )

    def onto(self, view: NDArray[np.float32]) -> Drift:
        """Warp to the next plane, whose `view` has the same shape.

        The flow is that of Le Besnerais and Champagnat (ICIP 2005), iterative Lucas-Kanade.
        """
        picture = _small(view)
        if not self.outlines or picture.shape != self.picture.shape:
            return Drift(picture)
        part = self._part()
        places = np.indices(picture.shape, np.float32)
        places[:, *part] += optical_flow_ilk(picture[part], self.picture[part], radius=_FLOW.radius)
        moved = {
            class_id: ndimage.map_coordinates(odds, places, order=1, mode="nearest")
            for class_id, odds in self.outlines.items()
        }
        return Drift(picture, moved)

    def log_odds(self, class_id: int, shape: tuple[int, int]) -> Logits | None:
        """Log-odds of a class on the plane's own grid, or None if it is left out."""
        odds = self.outlines.get(class_id)
        return None if odds is None else resize(odds, shape, order=1)

    def _part(self) -> tuple[slice, slice]:
        """The region of the outlines with a margin; flow is computed only there."""
        near = np.any([odds > odds.min() for odds in self.outlines.values()], axis=0)
        found = ndimage.find_objects(near.astype(np.uint8))
        if not found:
            return slice(None), slice(None)
        margin = _FLOW.margin
        rows, cols = found[0]
        return (
            slice(max(0, rows.start - margin), rows.stop + margin),
            slice(max(0, cols.start - margin), cols.stop + margin),
        )


def _small(view: NDArray[np.float32]) -> NDArray[np.float32]:
    longest = max(view.shape)
    if longest <= _FLOW.longest:
        return view
    return np.asarray(
        rescale(view, _FLOW.longest / longest, order=1, anti_aliasing=True), np.float32
    )
