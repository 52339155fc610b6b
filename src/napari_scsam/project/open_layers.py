"""Files for scans that are open as layers, so that a project can reference them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import nibabel as nib
import numpy as np
import tifffile

from napari_scsam.core.errors import InputError
from napari_scsam.core.geometry import affine_from_spacing
from napari_scsam.io.atomic import atomic_write
from napari_scsam.io.real_files import make_real_folder

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class OpenScan:
    """A scan that is open as a layer.

    Attributes
    ----------
    name : str
    data : array
        (rows, cols) or (slices, rows, cols), or either with a last axis of 3 when `rgb`.
    rgb : bool
    spacing : tuple of float
        Along each spatial axis, in mm.
    path : Path, optional
        The file that it was read from; it is then referenced and not written again.
    """

    name: str
    data: Any
    rgb: bool
    spacing: tuple[float, ...]
    path: Path | None = None


def as_file(scan: OpenScan, folder: Path) -> Path:
    """The scan's own file, or a new one in `folder`.

    A grey scan becomes a NIfTI with its spacing, a colour picture a PNG, a colour
    volume a TIFF.

    Raises
    ------
    InputError
        If the scan has other than two or three spatial axes, or a data type that no
        image file can hold.
    """
    if scan.path is not None and scan.path.is_file():
        return scan.path
    data = np.asarray(scan.data)
    ndim = data.ndim - int(scan.rgb)
    if ndim not in (2, 3):
        raise InputError(f"The layer {scan.name} has {ndim} axes; a scan has 2 or 3.")
    stem = re.sub(r"[^\w.-]+", "_", scan.name).strip("._") or "scan"
    make_real_folder(folder.parent, folder.name)
    if not scan.rgb:
        return _write_nifti(_free(folder, stem, ".nii.gz"), data, scan.spacing)
    if data.dtype != np.uint8 or data.shape[-1] not in (3, 4):
        raise InputError(f"The layer {scan.name} is in colour, but not in 8 bits per channel.")
    path = _free(folder, stem, ".png" if ndim == 2 else ".tif")
    with atomic_write(path) as temporary:
        if ndim == 2:
            iio.imwrite(temporary, data[..., :3], extension=".png")
        else:
            tifffile.imwrite(temporary, data[..., :3], photometric="rgb")
    return path


def _write_nifti(path: Path, data: NDArray[Any], spacing: tuple[float, ...]) -> Path:
    if data.dtype.kind == "b":
        data = data.astype(np.uint8)
    elif data.dtype.kind in "iu" and data.dtype.itemsize == 8:
        data = data.astype(np.int32 if abs(data).max() < 2**31 else np.float64)
    elif data.dtype == np.float16:
        data = data.astype(np.float32)
    image = nib.Nifti1Image(data.T, affine_from_spacing(spacing))
    image.header.set_xyzt_units("mm")
    with atomic_write(path) as temporary:
        nib.save(image, temporary)
    return path


def _free(folder: Path, stem: str, suffix: str) -> Path:
    number = 1
    path = folder / f"{stem}{suffix}"
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}{suffix}"
    return path
