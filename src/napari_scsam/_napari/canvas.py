"""Draws scenes in a napari viewer; of each new one, only the difference from the last."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari.layers import Labels, Layer
from qtpy.QtCore import QTimer

from napari_scsam._napari.committed import CommittedPainter
from napari_scsam._napari.gesture_reporter import GestureReporter
from napari_scsam._napari.layers import (
    COMMITTED,
    IMAGE,
    LINES,
    OUTLINE,
    PREVIEW,
    PROMPTS,
    UNKNOWN,
    ImageLayers,
)
from napari_scsam._napari.lines import LinePainter
from napari_scsam._napari.masks import PreviewPainter
from napari_scsam._napari.outlines import OutlinePainter
from napari_scsam._napari.paint_tools import PaintTools, touched_indices
from napari_scsam._napari.plane_vectors import PlaneVectors
from napari_scsam._napari.plane_view import PlaneView
from napari_scsam._napari.prompt_painter import PromptPainter
from napari_scsam._napari.viewing import HIDE_KEY, ViewingAids
from napari_scsam.annotation.canvas import Canvas, CanvasListener
from napari_scsam.annotation.scene import Scene
from napari_scsam.core.geometry import Plane
from napari_scsam.core.labels import MAX_CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_scsam.annotation.state import OpenImage
    from napari_scsam.annotation.view_state import Tool


class NapariCanvas(Canvas):
    """Draws on a napari viewer.

    Parameters
    ----------
    viewer : napari.Viewer
        Layers that are not ours are not changed.
    pick_class : callable
        Called with 0..8 when a digit is pressed on our layers.
    strip : SliceStrip
        The widget that marks slices, of `napari_scsam._qt`.
    rows : LayerRows
        Hides layers that only we draw on in napari's list, of `napari_scsam._qt`.
    """

    def __init__(
        self, viewer: Any, pick_class: Callable[[int], None], strip: Any, rows: Any
    ) -> None:
        self._viewer = viewer
        self._view = PlaneView(viewer)
        self._gestures = GestureReporter(self._view, pick_class)
        self._paint_tools = PaintTools(
            viewer,
            self._on_stroke,
            self._on_tool,
            self._on_label,
            lambda number: self._gestures.listener.corners_changed(number),
            lambda message: self._gestures.listener.tell(message),
        )
        self._layers = ImageLayers(viewer, self._bind_keys, rows)
        self._masks: PreviewPainter | None = None
        self._committed: CommittedPainter | None = None
        self._prompts: PromptPainter | None = None
        self._scene = Scene()
        self._rendering = False
        self._aids = ViewingAids(viewer, self._overlays, self._redraw, strip)
        strip.picked.connect(self._go_to_index)
        # Whether the slider has left the scene's plane, and that has not been reported yet.
        self._leaving = False
        for event in (dims := viewer.dims.events).current_step, dims.order, dims.ndisplay:
            event.connect(self._on_dims)
        viewer.layers.events.removed.connect(self._on_removed)

    def close(self) -> None:
        """Disconnect from the viewer and remove our layers."""
        self._gestures.listener = CanvasListener()
        self._paint_tools.close()
        self._aids.close()
        for event in (dims := self._viewer.dims.events).current_step, dims.order, dims.ndisplay:
            event.disconnect(self._on_dims)
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        if self._masks is not None:
            self._masks.close()
        self._masks = self._prompts = self._committed = None
        self._view.volume = None
        self._layers.close()

    def listen(self, listener: CanvasListener) -> None:
        """Send all further reports to `listener`."""
        self._gestures.listener = listener

    @property
    def layers(self) -> Mapping[str, Layer]:
        """Our layers by role: image, committed, preview, outline, lines, prompts."""
        return self._layers.named

    @property
    def plane(self) -> Plane | None:
        """The displayed plane; None without an image or in the 3D view."""
        return self._view.plane

    def go_to(self, plane: Plane) -> None:
        """Move the viewer's sliders to `plane`, as a user would."""
        self._view.go_to(plane)

    def index_along(self, axis: int) -> int:
        """Position of the view along `axis` of the open image, displayed or not."""
        return self._view.index_along(axis)

    @property
    def camera(self) -> tuple[float, ...]:
        """Zoom and centre (z, y, x) of the view."""
        camera = self._viewer.scene.camera
        return (float(camera.zoom), *map(float, camera.center))

    def look(self, camera: Sequence[float]) -> None:
        """Use a zoom and a centre, as from `camera`."""
        self._viewer.scene.camera.center = tuple(camera[1:])
        self._viewer.scene.camera.zoom = camera[0]

    def _go_to_index(self, index: int) -> None:
        if self.plane is not None:
            self.go_to(Plane(self.plane.axis, index))

    # ---------------------------------------------------------------- drawing

    def render(self, scene: Scene) -> None:
        """Draw what differs from the previous scene, without reporting it as a user's action."""
        last, self._scene = self._scene, scene
        self._gestures.use(scene.drag)
        if scene.image is None:
            return
        opens = scene.image is not last.image
        self._rendering = True
        try:
            self._draw(scene, self._open(scene, scene.image) if opens else last)
        finally:
            self._rendering = False
        if opens:
            self._paint_tools.observe()
        if scene.plane is not None and self.plane != scene.plane and not self._leaving:
            self._gestures.listener.plane_changed(self.plane)

    def _open(self, scene: Scene, image: OpenImage) -> Scene:
        """Open the scene's image; returns the scene drawn by doing so."""
        volume = image.volume
        self._view.volume = None  # until its layers are there
        if self._masks is not None:
            self._masks.close()
        self._layers.open(image.name, volume, scene.committed, scene.classes)
        self._view.volume = volume
        layers = self._layers.named
        self._committed = CommittedPainter(layers[COMMITTED], volume.ndim, scene.committed)
        known = {c.id: c.colour for c in scene.classes}
        colours = {**dict.fromkeys(range(1, MAX_CLASSES + 1), UNKNOWN), **known}
        outline = OutlinePainter(
            PlaneVectors(layers[OUTLINE], volume.spacing), colours, self._view.zoom
        )
        self._masks = PreviewPainter(layers[PREVIEW], outline, volume.ndim)
        self._prompts = PromptPainter(
            layers[PROMPTS],
            LinePainter(layers[LINES], volume.spacing),
            colours,
            lambda: min(self._view.pixel_on_screen()),
            self._view.zoom,
        )
        self._gestures.attach(layers[PROMPTS], self._prompts)
        self._paint_tools.attach(layers)
        self._view.orient()
        self._viewer.reset_view()
        as_usual = scene.contrast is not None and scene.contrast.limits is None
        drawn = Scene(image, scene.classes, committed=scene.committed)
        return replace(drawn, contrast=scene.contrast if as_usual else None)

    def _draw(self, scene: Scene, last: Scene) -> None:
        if scene.contrast is not None and scene.contrast is not last.contrast:
            self._layers.show_contrast(scene.contrast.limits)
        if scene.plane is not None and scene.plane != self.plane and not self._leaving:
            self._view.go_to(scene.plane)
        if self._prompts is not None and scene.prompts != last.prompts:
            self._prompts.show(scene.prompts)
        if self._masks is not None and self._committed is not None:
            # A mask being corrected is shown as a preview only.
            corrected = {plane for plane, mask in scene.masks.items() if not mask.is_draft}
            self._committed.show(scene.committed, corrected)
            self._masks.hold(self._paint_tools.pressed)
            self._masks.show(scene.masks, scene.plane, scene.crossing)
        self._paint_tools.show(scene.tool)
        self._aids.show_slices(scene.slices)

    # ---------------------------------------------------------------- the user's actions

    def activate_tool(self) -> None:
        """Make our tool receive the mouse: select its layer, in 2D and without grid."""
        self._paint_tools.activate_tool()

    def finish_stroke(self) -> None:
        """Report an unfinished stroke or polygon as if it had ended here."""
        self._finish_brush()
        self._paint_tools.finish_polygon()

    def remove_corner(self) -> bool:
        """Remove the last corner of napari's unfinished polygon; False if there is none."""
        return self._paint_tools.remove_corner()

    def _finish_brush(self) -> None:
        if self._paint_tools.pressed:
            self._paint_tools.pressed = False
            self._on_stroke(())

    def _leave_polygon(self) -> None:
        """Paint an unfinished polygon on the slice that is left, if the axis stays."""
        shown, here = self._scene.plane, self.plane
        if shown is not None and here is not None and shown.axis == here.axis:
            self._paint_tools.finish_polygon()
        else:
            self._paint_tools.drop_polygon()

    def _on_stroke(self, item: Sequence[Any]) -> None:
        """Report what was painted and restore the layers; the next scene draws the result."""
        shown, masks, committed = self._scene.plane, self._masks, self._committed
        if shown is None or masks is None or committed is None:
            return
        planes = {shown}
        if self._view.volume is not None and self._view.volume.ndim == 3:
            planes |= {Plane(shown.axis, index) for index in touched_indices(item, shown.axis)}
        drawn = [(p, painter.taken(p)) for p in planes for painter in (masks, committed)]
        masks.hold(False)
        for plane, found in drawn:
            if found is not None:
                self._gestures.listener.paint(plane, *found)
        masks.refresh_restored()
        committed.refresh_restored()

    def _on_tool(self, tool: Tool | None, blocked: str) -> None:
        if not self._rendering:
            self._gestures.listener.tool_changed(tool, blocked)

    def _on_dims(self, _event: Any = None) -> None:
        if self._view.volume is None:
            return
        self._view.orient()
        if not self._rendering:
            self._leaving = True
            try:
                self._finish_brush()
                self._leave_polygon()
            finally:
                self._leaving = False
        if not self._rendering:
            self._gestures.listener.plane_changed(self.plane)
            self._paint_tools.observe()

    def _on_removed(self, event: Any) -> None:
        """Restore a layer of ours that the user removed, after napari has finished removing it."""
        if any(event.value == layer for layer in self._layers.named.values()):
            QTimer.singleShot(0, self._put_back)

    def _put_back(self) -> None:
        # The window may have been closed meanwhile.
        with suppress(RuntimeError):
            if self._layers.put_back():
                self._paint_tools.activate_tool()

    def _redraw(self) -> None:
        """Draw prompts and outlines at the present zoom, in which their size is the same."""
        if self._prompts is not None and self._masks is not None:
            self._prompts.redraw()
            self._masks.redraw()

    def _overlays(self) -> list[Layer]:
        return [layer for name, layer in self._layers.named.items() if name != IMAGE]

    def _on_label(self, value: int) -> None:
        ids = [c.id for c in self._scene.classes]
        if value in ids and not self._rendering:
            self._gestures.pick_class(ids.index(value))

    def _bind_keys(self, layer: Any) -> None:
        # napari uses digits as keys of its layers ("1" deletes points); on ours they pick classes.
        for position in range(9):
            layer.bind_key(
                str(position + 1),
                lambda _, position=position: self._gestures.pick_class(position),
                overwrite=True,
            )
        # napari asks the selected layer first, which has its own use for the key.
        layer.bind_key(HIDE_KEY, self._aids.hide, overwrite=True)
        for key in ("Delete", "Backspace"):
            layer.bind_key(key, lambda _: self._gestures.delete(), overwrite=True)
        # napari's own undo would restore pixels without a step in our history.
        layer.bind_key("Control-Z", lambda _: self._gestures.listener.undo(), overwrite=True)
        layer.bind_key("Control-Shift-Z", lambda _: self._gestures.listener.redo(), overwrite=True)
        if not isinstance(layer, Labels):  # there, Escape cancels an unfinished polygon
            layer.bind_key("Escape", lambda _: self._gestures.cancel(), overwrite=True)
            layer.bind_key("Enter", lambda _: self._gestures.complete(), overwrite=True)
