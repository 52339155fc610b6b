"""Which plane of an image a viewer displays; no other file knows the order of dims."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_scsam._napari.display import view_orientation
from napari_scsam.core.geometry import Plane

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_scsam.core.volume import Volume


class PlaneView:
    """The plane of one image that a viewer displays.

    Parameters
    ----------
    viewer : napari.Viewer

    Attributes
    ----------
    volume : Volume, optional
        The image; None while it has no layers.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self.volume: Volume | None = None

    @property
    def plane(self) -> Plane | None:
        """The displayed plane; None without an image or in the 3D view."""
        volume, dims = self.volume, self._viewer.dims
        if volume is None or dims.ndisplay != 2:
            return None
        offset = dims.ndim - volume.ndim
        hidden = [d - offset for d in dims.not_displayed if d >= offset]
        if len(hidden) != volume.ndim - 2:
            return None
        if not hidden:
            return Plane()
        axis = hidden[0]
        index = round(dims.point[axis + offset] / volume.spacing[axis])
        return Plane(axis, index) if 0 <= index < volume.shape[axis] else None

    @property
    def displayed(self) -> list[int]:
        """The displayed axes of the image."""
        volume, dims = self.volume, self._viewer.dims
        return [] if volume is None else [d - (dims.ndim - volume.ndim) for d in dims.displayed]

    def go_to(self, plane: Plane) -> None:
        """Display `plane`."""
        volume, dims = self.volume, self._viewer.dims
        if volume is None:
            return
        dims.ndisplay = 2
        if volume.ndim == 2:
            return
        offset = dims.ndim - volume.ndim
        hidden = plane.axis + offset
        turned = hidden in dims.displayed
        if turned:
            others = [d for d in range(dims.ndim) if d not in (hidden, *range(offset))]
            dims.order = (*range(offset), hidden, *others)
        dims.set_point(hidden, plane.index * volume.spacing[plane.axis])
        if turned:
            self._viewer.reset_view()

    def index_along(self, axis: int) -> int:
        """Position of the view along `axis` of the image, displayed or not."""
        volume, dims = self.volume, self._viewer.dims
        if volume is None:
            return 0
        place = float(dims.point[axis + dims.ndim - volume.ndim])
        return round(place / volume.spacing[axis])

    def orient(self) -> None:
        """Turn the view, not the data, by the radiological convention."""
        plane, volume = self.plane, self.volume
        if plane is not None and volume is not None:
            self._viewer.scene.camera.orientation2d = view_orientation(volume, plane)

    def zoom(self) -> float:
        """Screen pixels per world unit."""
        return float(self._viewer.scene.camera.zoom)

    def set_zoom(self, zoom: float) -> None:
        """Set the screen pixels per world unit."""
        self._viewer.scene.camera.zoom = zoom

    def pixel_on_screen(self) -> tuple[float, float]:
        """Height and width of a pixel of the plane, in screen pixels."""
        plane, zoom = self.plane, self.zoom()
        if self.volume is None or plane is None:
            return (zoom, zoom)
        height, width = in_plane(self.volume.spacing, plane, self.volume.ndim)
        return (height * zoom, width * zoom)

    def pan(self, rows: float, cols: float) -> None:
        """Move the picture by world units."""
        camera = self._viewer.scene.camera
        vertical, horizontal = camera.orientation2d
        down = 1.0 if vertical == "down" else -1.0
        right = 1.0 if horizontal == "right" else -1.0
        depth, row, col = camera.center
        camera.center = (depth, row - down * rows, col - right * cols)


def in_plane(values: Sequence[float], plane: Plane, ndim: int) -> tuple[float, float]:
    """Of one value per image axis, the two of the plane's axes: (row, col)."""
    kept = values if ndim == 2 else [v for i, v in enumerate(values) if i != plane.axis]
    row, col = kept
    return (row, col)
