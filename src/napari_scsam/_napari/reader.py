"""Opens a NIfTI scan as a layer, read in the same way as by a project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_scsam.io import read_volume

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LayerData = tuple[Any, dict[str, Any], str]


def get_reader(path: str | Sequence[str]) -> Callable[[Any], list[LayerData]] | None:
    """A reader for one NIfTI file, or None for anything else."""
    if not isinstance(path, str) or not path.lower().endswith((".nii", ".nii.gz")):
        return None
    return read_scan


def read_scan(path: str | Sequence[str]) -> list[LayerData]:
    """One image layer with the scan's spacing; InputError when it can't be read."""
    one = path if isinstance(path, str) else path[0]
    volume = read_volume(one)
    name = Path(one).name.removesuffix(".gz").removesuffix(".nii")
    meta = {
        "name": name,
        "scale": volume.spacing,
        "units": "mm" if volume.spacing_known else "pixel",
        "rgb": volume.rgb,
        "metadata": {"affine": volume.affine},
    }
    return [(volume.data, meta, "image")]
