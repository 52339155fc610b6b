"""Read scans and label maps, recognised by their content, and write label maps atomically."""

from __future__ import annotations

import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_scsam.core.errors import InputError
from napari_scsam.core.volume import Volume
from napari_scsam.io import nifti, raster, tiff
from napari_scsam.io.atomic import make_folder
from napari_scsam.io.bounds import out_of_memory
from napari_scsam.io.grid import Grid
from napari_scsam.io.outputs import check_outputs
from napari_scsam.io.placing import Placed, Placing, place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_scsam.core.arrays import LabelArray, Pixels
    from napari_scsam.core.settings import ExportFormat

SUFFIXES: dict[ExportFormat, str] = {"nifti": ".nii.gz", "tiff": ".tif", "png": ".png"}
IMAGE_SUFFIXES = (".nii", ".nii.gz", ".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp")

_SUFFIX_FORMATS: dict[str, ExportFormat] = {
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".png": "png",
}

# Up to it, float64 represents every whole number exactly (IEEE 754: 53 bits of significand).
_LARGEST_WHOLE = 2**53

__all__ = [
    "IMAGE_SUFFIXES",
    "SUFFIXES",
    "Grid",
    "Placed",
    "Placing",
    "check_outputs",
    "format_of",
    "label_files",
    "place",
    "read_label_volume",
    "read_labels",
    "read_volume",
    "stem",
    "write_labels",
]


def read_volume(path: str | Path) -> Volume:
    """Read a scan: NIfTI, TIFF, PNG, JPEG or BMP, recognised by its content.

    Parameters
    ----------
    path : path
        One file.

    Returns
    -------
    Volume
        (rows, cols) or (slices, rows, cols), with a last axis of 3 if it is in colour; alpha
        is dropped. Values and dtype are those of the file. The axes of a NIfTI are reversed,
        never reoriented. `spacing_known` is set if the file has a spacing in mm.

    Raises
    ------
    InputError
        If the file is missing, empty, damaged, no image, a time series, smaller than
        2 pixels, constant, or contains NaN or infinity.
    """
    path = Path(path)
    with _one_line(path):
        volume = _reader(path).read(path)
        _check_pixels(volume, path)
        return volume


def read_labels(path: str | Path, like: Grid | None = None) -> Pixels:
    """Read a mask from any format that `read_volume` reads.

    Parameters
    ----------
    path : path
        One file. The palette indices of a PNG are its values; a colour image is accepted if
        its channels are equal.
    like : Grid, optional
        The image of the mask. A mask that is stored flipped or with its axes in another order
        is reoriented; one on another grid is refused.

    Returns
    -------
    ndarray of shape (rows, cols) or (slices, rows, cols)
        The file's values; whole numbers, of an integer dtype.

    Raises
    ------
    InputError
        If the file can't be read, its values are colours or not whole, or it is not on the
        image's grid.
    """
    mask = read_label_volume(path)
    return mask.data if like is None else place(mask, like, (Path(path), "its image")).data


def read_label_volume(path: str | Path) -> Volume:
    """Read a mask like `read_labels`, with its geometry."""
    path = Path(path)
    with _one_line(path):
        return _as_mask(_reader(path).read(path, indices=True), path)


def _as_mask(volume: Volume, path: Path) -> Volume:
    data = volume.data
    if volume.rgb:
        if not (data == data[..., :1]).all():
            raise InputError(
                f"{path} is a colour picture; a mask holds one whole number for each pixel."
            )
        data = data[..., 0]
    if data.dtype.kind == "f":
        if not np.isfinite(data).all() or not np.array_equal(data, np.round(data)):
            raise InputError(f"{path} is no mask: it holds fractions or NaN, not whole numbers.")
        if np.abs(data).max() > _LARGEST_WHOLE:
            raise InputError(f"{path} is no mask: it holds values up to {np.abs(data).max():.3g}.")
        data = data.astype(np.int64)
    data = data.astype(np.uint8) if data.dtype.kind == "b" else data
    return Volume(data, volume.affine, False, volume.spacing_known, volume.header)


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Convert every error to one line that names the file."""
    try:
        yield
    except InputError as exc:
        if str(path) in str(exc):
            raise
        raise InputError(f"{path} can't be used: {exc}") from exc
    except MemoryError as exc:
        raise out_of_memory(path) from exc
    except OSError as exc:
        raise InputError(f"{path} can't be read: {exc.strerror or exc}.") from exc


def write_labels(
    path: str | Path, label: LabelArray, like: Grid, format: ExportFormat | None = None
) -> list[Path]:
    """Write a label map to a temporary file, compare what is read back, then rename it.

    Parameters
    ----------
    path : path
        The file. For a volume as PNG, a folder of that name (without ``.png``) with one file
        ``0000.png`` per slice.
    label : ndarray of shape ``like.shape``, uint8
        0 background, 1..K classes, 255 not annotated.
    like : Grid
        The image's Volume, or its record in a project. A NIfTI keeps its affine, units and
        qform/sform codes, a TIFF its spacing in mm; a PNG has no geometry.
    format : {'nifti', 'tiff', 'png'}, optional
        By default, the format of the path's suffix.

    Returns
    -------
    list of Path
        The files that were written.

    Raises
    ------
    InputError
        If the shapes differ or the format is unknown.
    ProjectError
        If the disk is full, or the file read back differs; an existing file is then
        unchanged.
    """
    path = Path(path)
    writers = {"nifti": nifti.write, "tiff": tiff.write, "png": raster.write}
    writer = writers[format or format_of(path)]
    array = np.asarray(label)
    if array.shape != like.shape:
        raise InputError(f"The label map has shape {array.shape}, but its image has {like.shape}.")
    if array.dtype != np.uint8:
        raise InputError(f"A label map is uint8, got {array.dtype}.")
    make_folder(path.parent)
    return writer(path, array, like)


def label_files(path: Path, shape: tuple[int, ...], format: ExportFormat) -> list[Path]:
    """The files that `write_labels` writes for a label map of this shape."""
    return raster.files_of(path, shape) if format == "png" else [path]


def stem(path: str | Path) -> str:
    """The file name without its suffix; ``.nii.gz`` is one suffix."""
    name = Path(path).name
    for suffix in sorted(IMAGE_SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return Path(name).stem


def format_of(path: Path) -> ExportFormat:
    """The format of a mask file, by its suffix.

    Raises
    ------
    InputError
        If the suffix is that of no format for masks.
    """
    for suffix, format in _SUFFIX_FORMATS.items():
        if path.name.lower().endswith(suffix):
            return format
    raise InputError(f"{path} has no suffix of a format for masks: use .nii.gz, .tif or .png.")


class _Reader(Protocol):
    """The interface of the module of each format."""

    def sniff(self, head: bytes) -> bool: ...

    def read(self, path: Path, *, indices: bool = False) -> Volume: ...


def _reader(path: Path) -> _Reader:
    _refuse_no_file(path)
    with path.open("rb") as stream:
        head = stream.read(352)
    if not head:
        raise InputError(f"{path} is empty (0 bytes). Copy or export it again.")
    readers: tuple[_Reader, ...] = (nifti, tiff, raster)
    for reader in readers:
        if reader.sniff(head):
            return reader
    if head[128:132] == b"DICM":
        raise InputError(
            f"{path} is a DICOM file, which is not read yet. "
            "Convert the series to NIfTI first, for example with dcm2niix."
        )
    raise InputError(f"{path} is not an image in a known format (NIfTI, TIFF, PNG, JPEG, BMP).")


def _refuse_no_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as exc:
        if path.is_symlink():
            raise InputError(f"{path} is a link to {path.readlink()}, which is not there.") from exc
        raise InputError(f"There is no file {path}.") from exc
    except ValueError as exc:  # a name that no file can have
        raise InputError(f"There is no file {path!s:.200}: {exc}.") from exc
    if stat.S_ISDIR(mode):
        raise InputError(f"{path} is a folder; name the image files in it.")
    if not stat.S_ISREG(mode):
        raise InputError(f"{path} is no file with content, but a device or a pipe.")


def _check_pixels(volume: Volume, path: Path) -> None:
    rows, cols = volume.shape[-2:]
    if min(rows, cols) < 2:
        raise InputError(
            f"{path} has shape {volume.shape}: an image needs at least 2 rows and 2 columns."
        )
    data = volume.data
    if data.dtype.kind == "f":
        bad = data.size - int(np.count_nonzero(np.isfinite(data)))
        if bad:
            raise InputError(
                f"{path} holds {bad} values that are NaN or infinite (of {data.size}). "
                "Replace them, for example with the background value, and save it again."
            )
    if data.min() == data.max():
        raise InputError(
            f"{path} is constant (every value is {data.flat[0]}): there is nothing to segment."
        )
