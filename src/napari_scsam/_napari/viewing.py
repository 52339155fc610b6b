"""Aids for viewing: overlays hidden by a key, prompts of constant size, and the slice strip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from napari_scsam.annotation.scene import SliceMarks

# While it is held down, only the picture is displayed.
HIDE_KEY = "B"
# Milliseconds after which prompts are redrawn in a new zoom, so that their size on the screen
# stays the same. Arbitrary.
ZOOM_MS = 40


class ViewingAids:
    """Connects the aids to a viewer.

    Parameters
    ----------
    viewer : napari.Viewer
    overlays : callable
        () -> our layers except the image.
    on_zoom : callable
        Called a moment after the zoom has changed.
    strip : SliceStrip
        The widget, of `napari_scsam._qt`.
    """

    def __init__(
        self,
        viewer: Any,
        overlays: Callable[[], Iterable[Any]],
        on_zoom: Callable[[], None],
        strip: Any,
    ) -> None:
        self._viewer = viewer
        self._overlays = overlays
        self._strip = strip
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(ZOOM_MS)
        self._timer.timeout.connect(on_zoom)
        viewer.scene.camera.events.zoom.connect(self._zoomed)
        viewer.bind_key(HIDE_KEY, self.hide, overwrite=True)

    def show_slices(self, marks: SliceMarks | None) -> None:
        """Mark the slices on the strip; None hides it. Nothing happens after `close`."""
        if self._strip is None:
            return
        if marks is not None:
            self._strip.attach(self._viewer.dims)
        self._strip.show_marks(marks)

    def close(self) -> None:
        """Disconnect from the viewer."""
        self._timer.stop()
        self._viewer.scene.camera.events.zoom.disconnect(self._zoomed)
        self._viewer.bind_key(HIDE_KEY, None)
        strip, self._strip = self._strip, None
        strip.setParent(None)
        strip.deleteLater()

    def _zoomed(self, _event: Any = None) -> None:
        self._timer.start()

    def hide(self, _viewer_or_layer: Any) -> Generator[None, None, None]:
        """Hide the overlays until the key is released; for napari's key bindings."""
        hidden = [layer for layer in self._overlays() if layer.visible]
        for layer in hidden:
            layer.visible = False
        yield
        for layer in hidden:
            layer.visible = True
