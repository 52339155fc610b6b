"""Keeps the compiled shaders of a layer of vectors when its data changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Vectors
    from numpy.typing import NDArray


def keep_shaders(viewer: Any, layer: Vectors) -> None:
    """Have a layer of vectors drawn with the shaders that were compiled for it first.

    vispy's mesh gets a new colour function with each change of its data. The function is the same
    each time, but the mesh's shaders are compiled and linked again before the next draw (vispy
    0.16, ``MeshVisual._update_data``). This keeps the first function. napari and vispy have no
    public way to it: where their parts have other names, the layer is drawn as without this.

    Parameters
    ----------
    viewer : napari.Viewer
    layer : napari.layers.Vectors
        In the viewer, with a colour for each vector.
    """
    try:
        node = viewer.window._qt_viewer.canvas.layer_to_visual[layer].node
        node._build_color_transform = _KeptFunction(node._build_color_transform)
    except (AttributeError, KeyError):
        return


class _KeptFunction:
    """Builds the function for colours (RGBA) once; the one for values has parameters of its own.

    Parameters
    ----------
    build : callable
        Of the mesh: takes its colours and returns a function of the shader.
    """

    def __init__(self, build: Callable[[NDArray[Any]], Any]) -> None:
        self._build = build
        self._kept: Any = None

    def __call__(self, colours: NDArray[Any]) -> Any:
        if colours.shape[-1] != 4:
            return self._build(colours)
        if self._kept is None:
            self._kept = self._build(colours)
        return self._kept
