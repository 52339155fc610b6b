"""Draws the committed label, except on planes that are being corrected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_scsam._napari.painted_planes import PaintedPlanes
from napari_scsam.core.volume import take_plane

if TYPE_CHECKING:
    from collections.abc import Collection

    from napari.layers import Labels

    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.geometry import Plane


class CommittedPainter:
    """Draws the committed label on a layer with data of its own, so painting never changes it.

    Parameters
    ----------
    layer : napari.layers.Labels
        Its data is painted in place.
    ndim : int
        Dimensions of the image, without colour.
    label : ndarray of uint8, optional
        What the layer shows already.
    """

    def __init__(self, layer: Labels, ndim: int, label: LabelArray | None) -> None:
        self._layer = layer
        self._planes = PaintedPlanes(layer, ndim)
        self._ndim = ndim
        self._label = label
        self._hidden: frozenset[Plane] = frozenset()

    def show(self, label: LabelArray | None, hidden: Collection[Plane]) -> None:
        """Show `label`, except on the `hidden` planes."""
        last, self._hidden = self._hidden, frozenset(hidden)
        painted = replaced = label is not self._label
        if replaced:
            self._label = label
            self._layer.data[...] = 0 if label is None else label
        for plane in last - self._hidden:
            painted |= self._planes.paint(plane, self._committed(plane))
        # Planes that stay hidden are left alone: the user may be painting on one.
        for plane in self._hidden if replaced else self._hidden - last:
            painted |= self._planes.paint(plane, 0)
        if painted:
            self._planes.refresh()

    def taken(self, plane: Plane) -> tuple[LabelArray, LabelArray] | None:
        """`plane` before and after the user painted on it, or None; the layer is restored."""
        blank = np.zeros_like(self._planes[plane])
        return self._planes.taken(plane, blank if plane in self._hidden else self._committed(plane))

    def refresh_restored(self) -> None:
        """Draw the layer if a plane was restored and has not been drawn since."""
        self._planes.refresh_restored()

    def _committed(self, plane: Plane) -> LabelArray:
        if self._label is None:
            return np.zeros_like(self._planes[plane])
        shown = take_plane(self._label, plane, self._ndim).copy()
        # Hidden planes along other axes are blank lines in it.
        for other in self._hidden:
            if other.axis != plane.axis:
                across = [axis for axis in range(self._ndim) if axis != plane.axis]
                np.moveaxis(shown, across.index(other.axis), 0)[other.index] = 0
        return shown
