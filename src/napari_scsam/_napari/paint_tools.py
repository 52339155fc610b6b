"""napari's own brush, eraser, polygon and fill on our layers, and which layer has the mouse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam._napari.layers import COMMITTED, OUTLINE, PREVIEW, PROMPTS
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
BACK = "I brings our tool back."
IN_3D = f"In the 3D view clicks only turn the picture: {BACK}"
IN_GRID = f"In the grid view clicks do nothing: {BACK}"


class PaintTools:
    """Sets napari's tools as a scene wants them, and reports which one a person takes.

    Parameters
    ----------
    viewer : napari.Viewer
    on_stroke : callable
        Called when something was drawn on one of our layers, with the item of napari's history.
    on_tool : callable
        (tool or None, why a click does nothing or empty): what the mouse does now.
    on_label : callable
        (value): which value a person picked to paint with.
    """

    def __init__(
        self,
        viewer: Any,
        on_stroke: Callable[[Sequence[Any]], None],
        on_tool: Callable[[Tool | None, str], None],
        on_label: Callable[[int], None],
    ) -> None:
        self._viewer = viewer
        self._on_stroke = on_stroke
        self._on_tool = on_tool
        self._on_label = on_label
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
        """Work on these layers from now on."""
        fresh = self._layers.get(PREVIEW) != layers[PREVIEW]
        self._layers = dict(layers)
        self._tool = None
        layers[OUTLINE].editable = False
        if not fresh:
            return
        # napari's brush cursor draws a box under itself, and software rendering crashes on it.
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
        layers[PREVIEW].events.selected_label.connect(self._picked)
        for event in (layers[COMMITTED].events.brush_size, layers[COMMITTED].events.selected_label):
            event.connect(self._copy_settings)

    def close(self) -> None:
        """Let go of the viewer."""
        for event in self._watched():
            event.disconnect(self.observe)
        self.release()

    def release(self) -> None:
        """Put the tools away, before layers are removed: napari draws a brush that has no layer."""
        layers, self._layers = self._layers, {}
        for name in set(layers) & {PREVIEW, COMMITTED}:
            layers[name].mode = "pan_zoom"

    def show(self, tool: ShownTool) -> None:
        """Set napari's tools as `hand` says."""
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
            if last is None or (tool.tool, tool.locked) != (last.tool, last.locked):
                self._apply(tool)
        finally:
            self._setting = False

    def activate_tool(self) -> None:
        """Have the mouse go to our tool: its layer, flat, one picture."""
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

    # ---------------------------------------------------------------- what a person does

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
        """Take up what napari tells of before it is drawn: a polygon, a fill, a script's."""
        if self._last_edit and not self.pressed:
            item, self._last_edit = self._last_edit, ()
            self._on_stroke(item)

    def _keep_locked(self, event: Any) -> None:
        """Lock a layer again that napari unlocked by itself: it does where the view is turned."""
        locked = self._tool is not None and self._tool.locked
        if event.source.editable and (locked or event.source == self._layers.get(OUTLINE)):
            event.source.editable = False

    def _keep_flat(self, event: Any) -> None:
        """Draw on the slice on show alone: what lies on others would not be seen."""
        if event.source.n_edit_dimensions != 2:
            event.source.n_edit_dimensions = 2

    def _picked(self, event: Any) -> None:
        if not self._setting:
            self._on_label(int(event.source.selected_label))

    def _copy_settings(self, _event: Any = None) -> None:
        """What is chosen for the committed layer counts where it is drawn on: on the preview."""
        if self._layers and not self._setting:
            preview, committed = self._layers[PREVIEW], self._layers[COMMITTED]
            preview.brush_size = committed.brush_size
            preview.selected_label = committed.selected_label

    def observe(self, _event: Any = None) -> None:
        """Report what the mouse does now."""
        if self._setting or not self._layers:
            return
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
        """Go on on the preview, which shows the plane's label while it is being drawn on."""
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
        """Why a click does nothing where `active` is the layer that has the mouse."""
        if self._viewer.dims.ndisplay != 2:
            return IN_3D
        if self._viewer.canvas.grid.enabled:
            return IN_GRID
        draws = active == self._layers[PREVIEW] and str(active.mode) in TOOLS
        if active == self._layers[PROMPTS] or draws:
            return ""
        if active is None:
            return f"No layer is selected, so clicks do nothing: {BACK}"
        if active == self._layers[OUTLINE]:
            return f"“{active.name}” only shows and can't be drawn on: D draws, {BACK}"
        return f"Clicks go to the layer “{active.name}” now: {BACK}"


def touched_indices(item: Sequence[Any], axis: int) -> set[int]:
    """Where along `axis` a stroke changed anything, told by the item of napari's history."""
    found: set[int] = set()
    for atom in item:
        at = (atom[0] if isinstance(atom, tuple) else atom.slice_key)[axis]
        found |= set(range(at.start, at.stop)) if isinstance(at, slice) else set(np.unique(at))
    return {int(index) for index in found}
