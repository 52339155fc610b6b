"""napari's brush, eraser, polygon and fill on our layers, and which layer gets the mouse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam._napari.freehand import LEAST_VERTICES, freehand
from napari_scsam._napari.layers import COMMITTED, OUTLINE, PREVIEW, PROMPTS
from napari_scsam.annotation.scene import BACK, IN_3D
from napari_scsam.annotation.view_state import PAINT_TOOLS, Tool

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from napari_scsam.annotation.scene import ShownTool

MODES: Mapping[Tool, str] = {
    "brush": "paint",
    "eraser": "erase",
    "outline": "polygon",
    "fill": "fill",
}
TOOLS: Mapping[str, Tool] = {mode: tool for tool, mode in MODES.items()}
IN_GRID = f"In the grid view, clicks have no effect: {BACK}"
POINT_TOOLS = (
    "napari's own point tools are off here. A click already sets a point, and a drag moves one."
)


class PaintTools:
    """Applies the scene's tool to napari, and reports strokes and the tools that the user picks.

    Parameters
    ----------
    viewer : napari.Viewer
    on_stroke : callable
        Called after something was painted on one of our layers, with the item of napari's history.
    on_tool : callable
        (tool or None, reason): the user's tool, and why a click has no effect, or empty.
    on_label : callable
        (value): the user picked this value to paint with.
    on_corners : callable
        (number): napari's unfinished polygon has this many corners; 3 stands for more.
    on_refused : callable
        (message): the user took a tool that is disabled.
    """

    def __init__(
        self,
        viewer: Any,
        on_stroke: Callable[[Sequence[Any]], None],
        on_tool: Callable[[Tool | None, str], None],
        on_label: Callable[[int], None],
        on_corners: Callable[[int], None],
        on_refused: Callable[[str], None],
    ) -> None:
        self._viewer = viewer
        self._on_stroke = on_stroke
        self._on_tool = on_tool
        self._on_label = on_label
        self._on_corners = on_corners
        self._on_refused = on_refused
        self._layers: Mapping[str, Any] = {}
        self._tool: ShownTool | None = None
        self._setting = False
        self.pressed = False
        self._last_edit: Sequence[Any] = ()
        for event in self._watched():
            event.connect(self.observe)

    def _watched(self) -> tuple[Any, ...]:
        viewer = self._viewer
        return (
            viewer.layers.selection.events.active,
            viewer.canvas.grid.events.enabled,
        )

    def attach(self, layers: Mapping[str, Any]) -> None:
        """Switch to these layers."""
        fresh = self._layers.get(PREVIEW) != layers[PREVIEW]
        self._layers = dict(layers)
        self._tool = None
        layers[OUTLINE].editable = False
        if not fresh:
            return
        # The brush cursor's box crashes software rendering.
        self._viewer.canvas.overlays["_brush_circle"].box = False
        for name in (PREVIEW, COMMITTED, OUTLINE):
            layers[name].events.editable.connect(self._keep_locked)
        for name in (PREVIEW, COMMITTED):
            layer = layers[name]
            layer.events.paint.connect(self._painted)
            layer.events.labels_update.connect(self._updated)
            layer.events.mode.connect(self.observe)
            layer.events.n_edit_dimensions.connect(self._keep_flat)
            layer.mouse_drag_callbacks.insert(0, self._press)
            layer.mouse_drag_callbacks.insert(0, freehand)
        # Last, or napari's buttons would show the mode before.
        layers[PROMPTS].events.mode.connect(self._keep_prompts, position="last")
        layers[PREVIEW].events.selected_label.connect(self._picked)
        self._polygon.events.points.connect(self._observe_corners)
        for event in (layers[COMMITTED].events.brush_size, layers[COMMITTED].events.selected_label):
            event.connect(self._copy_settings)

    def close(self) -> None:
        """Disconnect from the viewer."""
        for event in self._watched():
            event.disconnect(self.observe)
        self.release()

    def release(self) -> None:
        """Deselect the tools before layers are removed, or napari's brush cursor stays."""
        layers, self._layers = self._layers, {}
        for name in set(layers) & {PREVIEW, COMMITTED}:
            layers[name].mode = "pan_zoom"

    def show(self, tool: ShownTool) -> None:
        """Apply `tool`."""
        last, self._tool = self._tool, tool
        if not self._layers or tool == last:
            return
        self._setting = True
        try:
            for name in (PREVIEW, COMMITTED):
                layer = self._layers[name]
                layer.editable = not tool.locked
                layer.selected_label = tool.class_id
                layer.preserve_labels = tool.over == "free"
            # Over a picture that listens to clicks.
            self._layers[PROMPTS].cursor = "standard" if tool.locked else "cross"
            if last is None or (tool.tool, tool.locked) != (last.tool, last.locked):
                self._apply(tool)
        finally:
            self._setting = False

    def activate_tool(self) -> None:
        """Make our tool receive the mouse: select its layer, in 2D and without grid."""
        if not self._layers or self._tool is None:
            return
        self._viewer.canvas.grid.enabled = False
        self._viewer.dims.ndisplay = 2
        self._setting = True
        try:
            self._apply(self._tool, always=True)
        finally:
            self._setting = False
        self.observe()

    def _apply(self, tool: ShownTool, *, always: bool = False) -> None:
        preview, active = self._layers[PREVIEW], self._viewer.layers.selection.active
        paints = tool.tool in PAINT_TOOLS and not tool.locked
        preview.mode = MODES[tool.tool] if paints else "pan_zoom"
        if paints or always or active in (preview, self._layers[COMMITTED]):
            wanted = self._layers[PREVIEW if paints else PROMPTS]
            self._viewer.layers.selection.active = wanted

    # ---------------------------------------------------------------- the user's actions

    def _press(self, layer: Any, event: Any) -> Generator[None, None, None]:
        self.pressed = str(layer.mode) in ("paint", "erase")
        yield
        while event.type == "mouse_move":
            yield
        if self.pressed:
            self._painted()

    def _painted(self, event: Any = None) -> None:
        self.pressed = False
        self._last_edit = () if event is None else event.value
        self._on_stroke(self._last_edit)

    def _updated(self, _event: Any) -> None:
        """Report edits whose event comes before the data change: polygons, fills and scripts."""
        if self._last_edit and not self.pressed:
            item, self._last_edit = self._last_edit, ()
            self._on_stroke(item)

    def _keep_locked(self, event: Any) -> None:
        """Lock a layer again after napari has unlocked it, which it does when the view changes."""
        locked = self._tool is not None and self._tool.locked
        if event.source.editable and (locked or event.source == self._layers.get(OUTLINE)):
            event.source.editable = False

    def _keep_flat(self, event: Any) -> None:
        """Restrict painting to the displayed slice; edits of others would not be visible."""
        if event.source.n_edit_dimensions != 2:
            event.source.n_edit_dimensions = 2

    def _keep_prompts(self, event: Any) -> None:
        """Disable napari's own point tools, whose points are no prompts."""
        if str(event.source.mode) != "pan_zoom":
            event.source.mode = "pan_zoom"
            self._on_refused(POINT_TOOLS)

    def _picked(self, event: Any) -> None:
        if not self._setting:
            self._on_label(int(event.source.selected_label))

    def _copy_settings(self, _event: Any = None) -> None:
        """Copy brush size and label of the committed layer to the preview, which is painted on."""
        if self._layers and not self._setting:
            preview, committed = self._layers[PREVIEW], self._layers[COMMITTED]
            preview.brush_size = committed.brush_size
            preview.selected_label = committed.selected_label

    @property
    def _polygon(self) -> Any:
        """The unfinished polygon of napari; the last one of its points is the cursor."""
        return self._layers[PREVIEW]._overlays["polygon"]

    @property
    def _corners(self) -> list[Any]:
        """Corners of the polygon that is being set."""
        return self._polygon.points[:-1] if self._layers and self._polygon.enabled else []

    def _observe_corners(self, _event: Any = None) -> None:
        self._on_corners(min(len(self._corners), LEAST_VERTICES))

    def remove_corner(self) -> bool:
        """Remove the last corner of the unfinished polygon; False if there is none."""
        corners = self._corners
        if corners:
            kept = corners[:-1]
            self._polygon.points = [*kept, self._polygon.points[-1]] if kept else []
        return bool(corners)

    def finish_polygon(self) -> None:
        """Paint an unfinished polygon as if it had been closed here, or drop too few corners."""
        corners = self._corners
        if corners:
            self._polygon.points = corners
            self._polygon.add_polygon_to_labels(self._layers[PREVIEW])

    def drop_polygon(self) -> None:
        """Drop the unfinished polygon."""
        if self._corners:
            self._polygon.points = []

    def observe(self, _event: Any = None) -> None:
        """Report the tool in use, and why a click has no effect."""
        if self._setting or not self._layers:
            return
        self._observe_corners()
        active, layers = self._viewer.layers.selection.active, self._layers
        if active == layers[COMMITTED] and str(active.mode) in TOOLS:
            self._move_to_preview(active)
            active = layers[PREVIEW]
        if active == layers[PREVIEW] and str(active.mode) in TOOLS:
            self._on_tool(TOOLS[str(active.mode)], self._why_blocked(active))
        elif active == layers[PROMPTS]:
            paints = self._tool is not None and self._tool.tool in PAINT_TOOLS
            self._on_tool("inside" if paints else None, self._why_blocked(active))
        else:
            self._on_tool(None, self._why_blocked(active))

    def _move_to_preview(self, committed: Any) -> None:
        """Move the tool to the preview, which shows the plane's label during painting."""
        preview, mode = self._layers[PREVIEW], str(committed.mode)
        self._copy_settings()
        self._setting = True
        try:
            committed.mode = "pan_zoom"
            self._viewer.layers.selection.active = preview
            preview.mode = mode
        finally:
            self._setting = False

    def _why_blocked(self, active: Any) -> str:
        """Why a click has no effect while `active` is the selected layer; empty if it has one."""
        painted = [self._layers[name] for name in (PREVIEW, COMMITTED, OUTLINE)]
        if active in painted and self._tool is not None and self._tool.locked:
            return self._tool.locked
        if self._viewer.dims.ndisplay != 2:
            return IN_3D
        if self._viewer.canvas.grid.enabled:
            return IN_GRID
        draws = active == self._layers[PREVIEW] and str(active.mode) in TOOLS
        if active == self._layers[PROMPTS] or draws:
            return ""
        if active is None:
            return f"No layer is selected, so clicks have no effect: {BACK}"
        if active == self._layers[OUTLINE]:
            return (
                f"The layer “{active.name}” can't be painted on: press D for the brush, or {BACK}"
            )
        return f"Clicks go to the layer “{active.name}”: {BACK}"


def touched_indices(item: Sequence[Any], axis: int) -> set[int]:
    """Indices along `axis` that a stroke changed, from its item of napari's history."""
    found: set[int] = set()
    for atom in item:
        at = (atom[0] if isinstance(atom, tuple) else atom.slice_key)[axis]
        found |= set(range(at.start, at.stop)) if isinstance(at, slice) else set(np.unique(at))
    return {int(index) for index in found}
