"""The only file that knows layer names, scale and the order of dims: a Canvas in napari."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer, Points, Vectors
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray

from napari_scsam._napari.display import contrast, kind, units, view_orientation
from napari_scsam._napari.gestures import Drawn, GestureActions, Pixel, make_gesture
from napari_scsam._napari.lines import LinePainter
from napari_scsam._napari.masks import PreviewPainter
from napari_scsam._napari.prompt_painter import PromptPainter, ShownPrompts
from napari_scsam.controllers.objects import box_round
from napari_scsam.controllers.ports import Canvas, CanvasListener, Drag, Line
from napari_scsam.core.geometry import Plane
from napari_scsam.core.labels import LabelClass
from napari_scsam.core.prompts import ObjectKey, PromptSet
from napari_scsam.core.volume import LabelArray, Volume
from napari_scsam.core.windows import Limits

IMAGE = "image"
PROMPTS = "prompts"
LINES = "boxes and strokes"
PREVIEW = "preview"
OUTLINE = "preview outline"
COMMITTED = "committed"


class NapariCanvas(Canvas):
    """Draws on a napari viewer.

    Parameters
    ----------
    viewer : napari.Viewer
        Layers that are not ours stay as they are.
    pick_class : callable
        Called with 0..8 when a digit is pressed on our layers.
    """

    def __init__(self, viewer: Any, pick_class: Callable[[int], None]) -> None:
        self._viewer = viewer
        self._pick_class = pick_class
        self._listener: CanvasListener | None = None
        self._volume: Volume | None = None
        self._classes: dict[int, LabelClass] = {}
        self._layers: dict[str, Any] = {}
        self._painter: PreviewPainter | None = None
        self._prompts: PromptPainter | None = None
        self._switching = False
        # Where the gesture under way began, and what tells it from any other.
        self._gesture_token: tuple[Plane | None, object] | None = None
        self._active: ObjectKey | None = None
        self._drag_tool: Drag = "pan"
        self._gesture = make_gesture(self._actions())
        for event in (dims := viewer.dims.events).current_step, dims.order, dims.ndisplay:
            event.connect(self._on_dims)

    def close(self) -> None:
        """Let go of the viewer and take our layers away."""
        self._listener = None
        for event in (dims := self._viewer.dims.events).current_step, dims.order, dims.ndisplay:
            event.disconnect(self._on_dims)
        self.close_image()

    def listen(self, listener: CanvasListener) -> None:
        """Report to `listener` from now on."""
        self._listener = listener

    # ---------------------------------------------------------------- image and planes

    @property
    def layers(self) -> Mapping[str, Layer]:
        """Our layers by what they are: image, committed, preview, outline, lines, prompts."""
        return self._layers

    def open_image(
        self, name: str, volume: Volume, label: LabelArray | None, classes: Sequence[LabelClass]
    ) -> None:
        """Show an image in place of the one before."""
        self._switching = True
        try:
            same_kind = self._volume is not None and kind(self._volume) == kind(volume)
            # napari collects garbage for each layer that goes, which takes a tenth of a
            # second or more once torch is loaded: layers are kept where they can be.
            if not same_kind or any(v not in self._viewer.layers for v in self._layers.values()):
                self.close_image()
            self._volume = volume
            self._gesture_token = None
            self._classes = {c.id: c for c in classes}
            self._viewer.dims.ndisplay = 2
            if self._layers:
                self._refill_layers(name, volume, label)
            else:
                self._add_layers(name, volume, label)
            if self._painter is not None:
                self._painter.close()
            self._painter = PreviewPainter(
                self._layers[PREVIEW], self._layers[OUTLINE], volume.ndim
            )
            self._prompts = self._make_prompt_painter(volume)
            self._viewer.layers.selection.active = self._layers[PROMPTS]
            self._orient()
            self._viewer.reset_view()
        finally:
            self._switching = False

    def _add_layers(self, name: str, volume: Volume, label: LabelArray | None) -> None:
        self._layers = self._make_layers(name, volume, label)
        for layer in self._layers.values():
            self._viewer.add_layer(layer)
            self._bind_keys(layer)
        prompts = self._layers[PROMPTS]
        prompts.mode = "pan_zoom"
        prompts.mouse_drag_callbacks.append(self._gesture)

    def _refill_layers(self, name: str, volume: Volume, label: LabelArray | None) -> None:
        preview = np.zeros(volume.shape, np.uint8)
        committed = np.zeros(volume.shape, np.uint8) if label is None else label
        image = self._layers[IMAGE]
        image.data = volume.data
        image.name = name
        if not volume.rgb:
            image.contrast_limits_range = image.contrast_limits = contrast(volume.data)
        self._layers[COMMITTED].data = committed
        self._layers[PREVIEW].data = preview
        self._layers[OUTLINE].data = preview.copy()
        self._layers[PROMPTS].data = np.empty((0, volume.ndim))
        self._layers[LINES].data = np.empty((0, 2, volume.ndim))
        for layer in self._layers.values():
            layer.scale = volume.spacing
            layer.units = units(volume)

    def show_window(self, limits: Limits | None) -> None:
        """Show the image's values between `limits`, or as is usual for it; colours stay."""
        layer, volume = self._layers.get(IMAGE), self._volume
        if layer is not None and volume is not None and not volume.rgb:
            layer.contrast_limits = limits or contrast(volume.data)

    def close_image(self) -> None:
        """Remove the layers that `open_image` made."""
        if self._painter is not None:
            self._painter.close()
            self._painter = None
        for layer in self._layers.values():
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        self._layers = {}
        self._volume = None

    def _bind_keys(self, layer: Any) -> None:
        # Digits are taken on napari's own layers ("1" deletes points), so ours get them back.
        for position in range(9):
            layer.bind_key(
                str(position + 1),
                lambda _, position=position: self._pick_class(position),
                overwrite=True,
            )
        for key in ("Delete", "Backspace"):
            layer.bind_key(key, lambda _: self._tell("delete_selected"), overwrite=True)
        layer.bind_key("Escape", lambda _: self._stop_gesture(), overwrite=True)

    def _make_layers(self, name: str, volume: Volume, label: LabelArray | None) -> dict[str, Any]:
        common = {"scale": volume.spacing, "units": units(volume)}
        preview = np.zeros(volume.shape, np.uint8)
        committed = np.zeros(volume.shape, np.uint8) if label is None else label
        colormap = DirectLabelColormap(color_dict=self._colours())
        made: dict[str, Any] = {
            IMAGE: Image(
                volume.data,
                name=name,
                rgb=volume.rgb,
                contrast_limits=None if volume.rgb else contrast(volume.data),
                **common,
            ),
            COMMITTED: Labels(committed, name=COMMITTED, opacity=0.5, colormap=colormap, **common),
            PREVIEW: Labels(preview, name=PREVIEW, opacity=0.25, colormap=colormap, **common),
            OUTLINE: Labels(preview.copy(), name=OUTLINE, opacity=1.0, colormap=colormap, **common),
            LINES: Vectors(
                ndim=volume.ndim, name=LINES, vector_style="line", opacity=1.0, **common
            ),
            PROMPTS: Points(
                ndim=volume.ndim, name=PROMPTS, border_width_is_relative=True, **common
            ),
        }
        return made

    def _colours(self) -> dict[int | None, str]:
        hidden: dict[int | None, str] = {None: "transparent", 0: "transparent"}
        return {**hidden, **{c.id: c.colour for c in self._classes.values()}}

    @property
    def plane(self) -> Plane | None:
        """The plane on show; None with no image, or in a three-dimensional view."""
        volume, dims = self._volume, self._viewer.dims
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

    def go_to(self, plane: Plane) -> None:
        """Show `plane`."""
        volume, dims = self._volume, self._viewer.dims
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

    def _orient(self) -> None:
        """Turn the view, not the data, so that a scan looks as in a radiology viewer."""
        plane, volume = self.plane, self._volume
        if plane is not None and volume is not None:
            self._viewer.scene.camera.orientation2d = view_orientation(volume, plane)

    def _on_dims(self, _event: Any = None) -> None:
        if self._listener is not None and self._volume is not None and not self._switching:
            self._orient()
            self._listener.plane_changed(self.plane)

    # ---------------------------------------------------------------- drawing

    def index_along(self, axis: int) -> int:
        """Where the view is along `axis` of the open image, also where it shows that axis."""
        volume, dims = self._volume, self._viewer.dims
        if volume is None:
            return 0
        place = float(dims.point[axis + dims.ndim - volume.ndim])
        return round(place / volume.spacing[axis])

    def set_drag(self, drag: Drag) -> None:
        """Let the left button draw, or move the picture."""
        self._drag_tool = drag

    def show_prompts(
        self,
        plane: Plane,
        prompts: PromptSet,
        selected: int | None = None,
        line: Line | None = None,
        active: ObjectKey | None = None,
    ) -> None:
        """Draw the prompts of `plane` in place of those before."""
        self._active = active
        if self._prompts is not None:
            self._prompts.show(ShownPrompts(plane, prompts, selected, line, active))

    def _make_prompt_painter(self, volume: Volume) -> PromptPainter:
        return PromptPainter(
            self._layers[PROMPTS],
            LinePainter(self._layers[LINES], volume.spacing),
            {c.id: c.colour for c in self._classes.values()},
            self._pixel_on_screen,
            self._zoom,
        )

    def show_preview(self, plane: Plane, label: LabelArray | None) -> None:
        """Draw a mask that nobody has committed; None clears it."""
        if self._painter is not None:
            self._painter.paint(plane, label)

    def show_drafts(self, labels: Mapping[Plane, LabelArray | None]) -> None:
        """Draw masks that were carried over, with a dashed outline; None clears a plane."""
        if self._painter is not None:
            self._painter.paint_drafts(labels)

    def show_committed(self, label: LabelArray | None) -> None:
        """Draw the committed label of the whole image."""
        layer = self._layers.get(COMMITTED)
        if layer is None or self._volume is None:
            return
        layer.data = np.zeros(self._volume.shape, np.uint8) if label is None else label

    def _zoom(self) -> float:
        """Screen pixels per world unit."""
        return float(self._viewer.scene.camera.zoom)

    def _pixel_on_screen(self) -> float:
        """Screen pixels per pixel of the plane, along its finer side."""
        plane = self.plane
        if self._volume is None or plane is None:
            return self._zoom()
        return min(_in_plane(self._volume.spacing, plane, self._volume.ndim)) * self._zoom()

    # ---------------------------------------------------------------- gestures

    def _actions(self) -> GestureActions:
        return GestureActions(
            begin=self._begin_gesture,
            goes_on=self._gesture_goes_on,
            to_pixel=self._to_pixel,
            points_on_screen=self._points_on_screen,
            zoom=self._zoom,
            pixel_on_screen=self._pixel_on_screen,
            click=self._click,
            select=lambda index: self._tell("select_point", index),
            drag=self._drag,
            drop=lambda index, row, col: self._end_gesture("move_point", index, row, col),
            sketch=self._sketch,
            draw=self._draw,
            pan=self._pan,
            left_drag=lambda: self._drag_tool,
        )

    def _begin_gesture(self) -> object:
        self._gesture_token = (self.plane, object())
        return self._gesture_token

    def _gesture_goes_on(self, token: object) -> bool:
        return token is self._gesture_token is not None and self._gesture_token[0] == self.plane

    def _stop_gesture(self) -> None:
        """Let a gesture under way come to nothing; without one, let go of what is selected."""
        self._gesture_token = None
        if self._prompts is None or not self._prompts.take_back():
            self._tell("select_point", None)

    def _tell(self, name: str, *args: Any) -> None:
        if self._listener is not None:
            getattr(self._listener, name)(*args)

    def _end_gesture(self, name: str, *args: Any) -> None:
        """Report a gesture, and take it off the canvas where nothing came of it."""
        self._tell(name, *args)
        if self._prompts is not None:
            self._prompts.take_back()

    def _click(self, row: float, col: float, shift: bool) -> None:
        line = None if self._prompts is None or shift else self._prompts.line_at(row, col)
        if line is not None:
            self._tell("select_line", line)
        else:
            self._tell("add_point", row, col, not shift)

    def _to_pixel(self, event: Any) -> Pixel | None:
        plane, volume = self.plane, self._volume
        if plane is None or volume is None:
            return None
        position = self._layers[PROMPTS].world_to_data(event.position)
        row, col = _in_plane(position, plane, volume.ndim)
        return (float(row), float(col))

    def _points_on_screen(self) -> NDArray[np.float64]:
        layer, volume = self._layers[PROMPTS], self._volume
        if volume is None or not len(layer.data):
            return np.empty((0, 2))
        shown = [d - (self._viewer.dims.ndim - volume.ndim) for d in self._viewer.dims.displayed]
        return np.asarray(layer.data * np.asarray(volume.spacing))[:, shown]

    def _drag(self, index: int, row: float, col: float) -> None:
        if self._prompts is not None:
            self._prompts.drag(index, row, col)

    def _sketch(self, what: Drawn, path: list[Pixel], shift: bool) -> None:
        if self._prompts is not None and self._active is not None:
            self._prompts.sketch(what, path, shift, self._active)

    def _draw(self, what: Drawn, path: list[Pixel], shift: bool) -> None:
        if what == "box":
            self._end_gesture("set_box", box_round([path[0], path[-1]]))
        else:
            self._end_gesture("add_stroke", what, path, not shift)

    def _pan(self, rows: float, cols: float) -> None:
        camera = self._viewer.scene.camera
        vertical, horizontal = camera.orientation2d
        down = 1.0 if vertical == "down" else -1.0
        right = 1.0 if horizontal == "right" else -1.0
        depth, row, col = camera.center
        camera.center = (depth, row - down * rows, col - right * cols)


def _in_plane(values: Sequence[float], plane: Plane, ndim: int) -> tuple[float, float]:
    kept = values if ndim == 2 else [v for i, v in enumerate(values) if i != plane.axis]
    row, col = kept
    return (row, col)
