"""Paints planes of a layer of labels in place, and takes back what the user painted on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_scsam.core.patches import taken_back
from napari_scsam.core.volume import take_plane

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.geometry import Plane


class PaintedPlanes:
    """The data of a layer of labels, plane by plane.

    Parameters
    ----------
    layer : napari.layers.Labels
        Its data is painted in place.
    ndim : int
        Dimensions of the image, without colour.
    """

    def __init__(self, layer: Labels, ndim: int) -> None:
        self._layer = layer
        self._ndim = ndim
        # Planes that the user painted on, as they are on the screen until the layer is drawn.
        self._painted: dict[Plane, LabelArray] = {}

    def __getitem__(self, plane: Plane) -> LabelArray:
        """A view of the layer's data."""
        return take_plane(self._layer.data, plane, self._ndim)

    def painted(self, plane: Plane) -> LabelArray | None:
        """`plane` with the user's stroke, which was taken back but is still on the screen."""
        return self._painted.get(plane)

    def paint(self, plane: Plane, label: LabelArray | int) -> bool:
        """Paint `plane` without drawing the layer; returns whether the screen differs from it."""
        view, painted = self[plane], self._painted.pop(plane, None)
        differs = bool(((view if painted is None else painted) != label).any())
        if differs or painted is not None:
            view[...] = label
        return differs

    def taken(self, plane: Plane, before: LabelArray) -> tuple[LabelArray, LabelArray] | None:
        """`plane` before and after the user painted on it, or None; the layer is restored."""
        found = taken_back(self[plane], before)
        if found is not None:
            self._painted[plane] = found[1]
        return found

    def refresh_restored(self) -> None:
        """Draw the layer if a plane was restored and has not been drawn since."""
        if self._painted:
            self.refresh()

    def refresh(self) -> None:
        """Draw the layer: an upload of the plane to the GPU."""
        self._painted.clear()
        self._layer.refresh(extent=False, thumbnail=False, highlight=False)
