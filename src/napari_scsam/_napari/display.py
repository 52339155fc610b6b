"""How a volume is displayed: orientation, unit and display range."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_scsam.core.geometry import Plane
    from napari_scsam.core.volume import Volume


def view_orientation(volume: Volume, plane: Plane) -> tuple[str, str]:
    """Screen directions of a plane's rows and columns.

    Anterior and superior are up. The patient's right, and anterior in a sagittal view, are on
    the left (the radiological convention). A scan without orientation has rows down and columns
    right.

    Returns
    -------
    ({'up', 'down'}, {'left', 'right'})
    """
    if not volume.is_oriented or volume.ndim == 2:
        return ("down", "right")
    row_axis, col_axis = (a for a in range(3) if a != plane.axis)
    # Array axes are the affine's reversed.
    row, col = (volume.affine[:3, 2 - axis] for axis in (row_axis, col_axis))
    row_positive = row[np.abs(row).argmax()] > 0
    col_positive = col[np.abs(col).argmax()] > 0
    return ("up" if row_positive else "down", "left" if col_positive else "right")


def kind(volume: Volume) -> tuple[int, bool]:
    """Volumes of the same kind can share layers."""
    return (volume.ndim, volume.rgb)


def units(volume: Volume) -> str:
    """Unit of the volume's spacing, as napari names it."""
    return "mm" if volume.spacing_known else "pixel"


def contrast(data: NDArray[Any]) -> tuple[float, float]:
    """Display range of 0.5 to 99.8 % of about 100,000 pixels (arbitrary); never empty."""
    step = max(1, round((data.size / 1e5) ** (1 / data.ndim)))
    sample = data[tuple(slice(None, None, step) for _ in range(data.ndim))]
    finite = sample[np.isfinite(sample)]
    if not finite.size:
        return (0.0, 1.0)
    low, high = (float(value) for value in np.percentile(finite, (0.5, 99.8)))
    if low == high:
        everything = data[np.isfinite(data)]
        low, high = float(everything.min()), float(everything.max())
    return (low, high) if low < high else (low, low + 1.0)
