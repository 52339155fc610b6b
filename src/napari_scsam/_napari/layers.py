"""The layers of one image; no other file knows their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Points, Vectors
from napari.utils.colormaps import DirectLabelColormap

from napari_scsam._napari.display import contrast, kind, units
from napari_scsam._napari.empty_layers import EmptyLayer
from napari_scsam.core.labels import BACKGROUND, NOT_ANNOTATED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.labels import LabelClass
    from napari_scsam.core.volume import Volume
    from napari_scsam.core.windows import Limits

IMAGE = "image"
PROMPTS = "prompts"
LINES = "boxes and strokes"
PREVIEW = "preview"
OUTLINE = "preview outline"
COMMITTED = "committed"
# Colour of a class that a label or a prompt has, but the class table no longer; arbitrary.
UNKNOWN = "#808080"
# Layers that only we draw on; napari's list does not show them.
HELPERS = (OUTLINE, LINES, PROMPTS)


def prepare_napari() -> None:
    """Load what napari imports with its first layer of labels (pandas, units), 0.35 s with AVX2.

    On another thread, before the layers of an image are added.
    """
    Labels(np.zeros((1, 1), np.uint8))


class ImageLayers:
    """Adds the layers of an image to a viewer, and removes them.

    Parameters
    ----------
    viewer : napari.Viewer
        Layers that are not ours are not changed.
    on_added : callable
        Called with each added layer.
    rows : LayerRows
        Hides layers that only we draw on in napari's list, of `napari_scsam._qt`.
    """

    def __init__(self, viewer: Any, on_added: Callable[[Any], None], rows: Any) -> None:
        self._viewer = viewer
        self._on_added = on_added
        self._rows = rows
        self._volume: Volume | None = None
        self._named: dict[str, Any] = {}
        self._empty: list[EmptyLayer] = []

    @property
    def named(self) -> Mapping[str, Any]:
        """By role: image, committed, preview, outline, lines, prompts."""
        return self._named

    def open(
        self, name: str, volume: Volume, label: LabelArray | None, classes: Sequence[LabelClass]
    ) -> None:
        """Show an image instead of the previous one."""
        same_kind = self._volume is not None and kind(self._volume) == kind(volume)
        # Layers are reused if possible: adding and removing six takes a second.
        if not same_kind or any(v not in self._viewer.layers for v in self._named.values()):
            self.close()
        self._volume = volume
        self._viewer.dims.ndisplay = 2
        if self._named:
            self._refill(name, volume, label)
        else:
            self._add(name, volume, label, classes)
        self._rows.hide([self._named[name] for name in HELPERS])
        self._viewer.layers.selection.active = self._named[PROMPTS]

    def close(self) -> None:
        """Remove the layers."""
        layers, self._named = self._named, {}
        self._empty = []
        self._volume = None
        self._rows.close()
        # All at once: napari rebuilds the scene and collects garbage after each removal, which
        # takes 0.1 s or more once torch is loaded.
        there = [layer for layer in layers.values() if layer in self._viewer.layers]
        if there:
            with self._viewer.layers.batched_update():
                for layer in there:
                    self._viewer.layers.remove(layer)

    def put_back(self) -> list[str]:
        """Add removed layers again at their positions; returns their names."""
        missing = [layer for layer in self._named.values() if layer not in self._viewer.layers]
        ours = list(self._named.values())
        for layer in missing:
            below = [other for other in ours[: ours.index(layer)] if other in self._viewer.layers]
            at = self._viewer.layers.index(below[-1]) + 1 if below else 0
            self._viewer.layers.insert(at, layer)
        return [str(layer.name) for layer in missing]

    def show_contrast(self, limits: Limits | None) -> None:
        """Set the display range, or the default one; colour images have none."""
        if self._volume is not None and not self._volume.rgb:
            self._named[IMAGE].contrast_limits = limits or contrast(self._volume.data)

    def _add(
        self, name: str, volume: Volume, label: LabelArray | None, classes: Sequence[LabelClass]
    ) -> None:
        self._named = _make(name, volume, label, classes)
        for layer in self._named.values():
            self._viewer.add_layer(layer)
            self._on_added(layer)
        filled = (self._named[COMMITTED], self._named[PREVIEW])
        self._empty = [EmptyLayer(self._viewer, layer) for layer in filled]
        self._named[PROMPTS].mode = "pan_zoom"

    def _refill(self, name: str, volume: Volume, label: LabelArray | None) -> None:
        image = self._named[IMAGE]
        image.data = volume.data
        image.name = name
        if not volume.rgb:
            image.contrast_limits_range = image.contrast_limits = contrast(volume.data)
        self._named[COMMITTED].data = _filled(volume, label)
        self._named[PREVIEW].data = _filled(volume, None)
        self._named[PROMPTS].data = np.empty((0, volume.ndim))
        for name in (OUTLINE, LINES):
            self._named[name].data = np.empty((0, 2, volume.ndim))
        for layer in self._named.values():
            # napari draws again, and updates its list, whether or not a value has changed.
            if not np.array_equal(layer.scale, volume.spacing):
                layer.scale = volume.spacing
            layer.units = units(volume)
            layer.axis_labels = volume.plane_names or None


def _make(
    name: str, volume: Volume, label: LabelArray | None, classes: Sequence[LabelClass]
) -> dict[str, Any]:
    common: dict[str, Any] = {
        "scale": volume.spacing,
        "units": units(volume),
        # napari shows them beside its sliders.
        "axis_labels": volume.plane_names or None,
    }
    others: dict[int | None, str] = {
        None: UNKNOWN,
        BACKGROUND: "transparent",
        NOT_ANNOTATED: "transparent",
    }
    colours: dict[int | None, str] = {c.id: c.colour for c in classes}
    colormap = DirectLabelColormap(color_dict={**others, **colours})
    committed, preview = _filled(volume, label), _filled(volume, None)
    return {
        IMAGE: Image(
            volume.data,
            name=name,
            rgb=volume.rgb,
            contrast_limits=None if volume.rgb else contrast(volume.data),
            **common,
        ),
        COMMITTED: Labels(committed, name=COMMITTED, opacity=0.5, colormap=colormap, **common),
        PREVIEW: Labels(preview, name=PREVIEW, opacity=0.25, colormap=colormap, **common),
        OUTLINE: _lines(OUTLINE, volume, common),
        LINES: _lines(LINES, volume, common),
        PROMPTS: Points(ndim=volume.ndim, name=PROMPTS, border_width_is_relative=True, **common),
    }


def _lines(name: str, volume: Volume, common: Mapping[str, Any]) -> Vectors:
    made = Vectors(name=name, ndim=volume.ndim, vector_style="line", opacity=1.0, **common)
    # napari draws thumbnails segment by segment, which takes longer than the lines themselves
    # (0.06 s for 4,096). The layer is not listed, so it needs none.
    made._max_vectors_thumbnail = 0
    return made


def _filled(volume: Volume, label: LabelArray | None) -> LabelArray:
    # A copy, so that painting on the layer does not change the label.
    return np.zeros(volume.shape, np.uint8) if label is None else label.copy()
