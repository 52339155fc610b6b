"""Finds scans that are open as image layers of a viewer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image

from napari_scsam.project.open_layers import OpenScan

if TYPE_CHECKING:
    from collections.abc import Iterable


def open_scans(viewer: Any, ours: Iterable[Any] = ()) -> list[tuple[Image, OpenScan]]:
    """Image layers that are not `ours`, with what a project needs to know.

    Of a multiscale layer, the finest level is used.
    """
    own = set(map(id, ours))
    found = []
    for layer in viewer.layers:
        if not isinstance(layer, Image) or id(layer) in own:
            continue
        data = layer.data[0] if layer.multiscale else layer.data
        path = layer.source.path
        scan = OpenScan(
            name=layer.name,
            data=data,
            rgb=layer.rgb,
            spacing=tuple(abs(float(s)) for s in layer.scale),
            path=None if path is None else Path(path),
        )
        found.append((layer, scan))
    return found
