"""Layers of labels are drawn only where they show something."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from napari_scsam.core.labels import BACKGROUND, NOT_ANNOTATED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.layers import Labels


class EmptyLayer:
    """Keeps napari from drawing a layer of labels whose displayed plane is empty.

    napari covers the canvas with each layer, empty or not. Without a graphics processor, as in many
    remote desktops, that takes 10 ms or more of each frame. The layer itself stays visible for
    napari and for the user. It is drawn while one of its tools is on, since napari draws their
    overlays with it. Where napari has no such node, everything is drawn.

    Parameters
    ----------
    viewer : napari.Viewer
    layer : napari.layers.Labels
        In the viewer.
    """

    def __init__(self, viewer: Any, layer: Labels) -> None:
        self._viewer = viewer
        self._layer = layer
        self._drawing = _drawing_of(viewer)
        # Last, because napari itself shows the node when the layer is made visible.
        for event in (layer.events.set_data, layer.events.visible, layer.events.mode):
            event.connect(self.update, position="last")
        self.update()

    def update(self, _event: Any = None) -> None:
        """Draw the layer, or stop drawing it."""
        visual = self._drawing.get(self._layer)
        if visual is not None:
            drawn = bool(self._layer.visible) and self._shows_something()
            if visual.node.visible != drawn:
                visual.node.visible = drawn

    def _shows_something(self) -> bool:
        if str(self._layer.mode) != "pan_zoom" or self._viewer.dims.ndisplay != 2:
            return True
        try:
            label = self._layer._slice.image.raw
        except AttributeError:  # another napari
            return True
        return bool(((label != BACKGROUND) & (label != NOT_ANNOTATED)).any())


def _drawing_of(viewer: Any) -> Mapping[Any, Any]:
    """What draws each layer; empty in a viewer without a window, or of another napari."""
    with warnings.catch_warnings():
        # napari has no public access to it, and may remove this one.
        warnings.simplefilter("ignore", FutureWarning)
        try:
            drawing: Mapping[Any, Any] = viewer.window._qt_viewer.canvas.layer_to_visual
        except AttributeError:
            return {}
    return drawing
