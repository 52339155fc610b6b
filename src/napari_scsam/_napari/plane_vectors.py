"""Line segments on one plane of an image, as a layer of vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_scsam._napari.batched import drawn_once

if TYPE_CHECKING:
    from napari.layers import Vectors
    from numpy.typing import NDArray

    from napari_scsam.core.geometry import Plane


class PlaneVectors:
    """Shows line segments of one plane, equally thick in all directions.

    Parameters
    ----------
    layer : napari.layers.Vectors
        Its scale is adapted to the plane, because napari's widths are in pixels.
    spacing : tuple of float
        Of the image's axes.
    """

    def __init__(self, layer: Vectors, spacing: tuple[float, ...]) -> None:
        self._layer = layer
        self._spacing = np.asarray(spacing, float)

    def in_plane(self, plane: Plane) -> NDArray[np.float64]:
        """World units per (row, col) of a plane."""
        return self._spacing if len(self._spacing) == 2 else np.delete(self._spacing, plane.axis)

    def show(
        self,
        plane: Plane,
        pieces: NDArray[np.float64],
        colours: NDArray[np.float32],
        width: float,
    ) -> None:
        """Show segments instead of the previous ones.

        Parameters
        ----------
        plane : Plane
        pieces : ndarray of shape (n, 2, 2), float
            Start and end of each segment, (row, col) in world units; n is at least 1.
        colours : ndarray of shape (n, 4), float
            RGBA, 0..1.
        width : float
            World units.
        """
        layer, unit = self._layer, float(self.in_plane(plane).min())
        scale = np.full(layer.ndim, unit)
        if layer.ndim == 3:
            scale[plane.axis] = self._spacing[plane.axis]
        if not np.allclose(layer.scale, scale):
            layer.scale = scale
        with drawn_once(layer):
            layer.data = self._to_data(plane, pieces / unit)
            layer.edge_color = colours
            if layer.edge_width != width / unit:
                layer.edge_width = width / unit

    def clear(self) -> None:
        """Show nothing."""
        layer = self._layer
        if len(layer.data):
            with drawn_once(layer):
                layer.data = np.empty((0, 2, layer.ndim))
            # The finest scale of all layers is the step of the viewer's sliders.
            if not np.allclose(layer.scale, self._spacing):
                layer.scale = self._spacing

    def _to_data(self, plane: Plane, pieces: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, start and end, row and col) -> (n, start and direction, axis of the layer)."""
        data = np.stack([pieces[:, 0], pieces[:, 1] - pieces[:, 0]], axis=1)
        if self._layer.ndim == 2:
            return data
        full = np.insert(data, plane.axis, 0.0, axis=2)
        full[:, 0, plane.axis] = plane.index
        return full
