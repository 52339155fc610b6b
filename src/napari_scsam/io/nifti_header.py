"""Parse a NIfTI header: shape, data type, offset of the values, and affine."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from napari_scsam.core.errors import InputError
from napari_scsam.core.geometry import is_invertible
from napari_scsam.io.bounds import damaged

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_scsam.core.arrays import Affine

# Units of length (NIfTI-1 standard, xyzt_units); unknown counts as mm.
MM_PER_UNIT = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
# Length of the longer header, that of NIfTI-2 (nifti.nimh.nih.gov).
HEADER_BYTES = 540
# b² + c² + d² of a qform may exceed 1 by this much if there is no other form (arbitrary). The NIfTI
# library allows any excess; that of real files, by float32 rounding, is about 1e-6.
_LENIENT = 1e-3
# Largest position of the first value (arbitrary; the header's extensions before it are some kB).
_MAX_OFFSET = 2**28


@dataclass(frozen=True, eq=False)
class Layout:
    """A validated header.

    Attributes
    ----------
    shape : tuple of int
        As stored, columns first.
    dtype : numpy.dtype
        As stored, with its byte order.
    offset : int
        Position of the first value in the file.
    scale : tuple of float
        Slope and intercept.
    affine : ndarray of shape (4, 4), float64
        Voxel index to RAS mm.
    spacing_known : bool
        Whether the header has a spacing.
    facts : mapping
        Header fields that an export preserves: codes, unit, and a separate qform.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    scale: tuple[float, float]
    affine: Affine
    spacing_known: bool
    facts: Mapping[str, Any]

    @property
    def end(self) -> int:
        """Position after the last value."""
        return self.offset + prod(self.shape) * self.dtype.itemsize


def parse(head: bytes, path: Path) -> Layout:
    """Parse and validate the header of a NIfTI file.

    The affine is that of the sform if it is valid, otherwise that of the qform. An invalid form is
    dropped, and an export does not contain it.

    Parameters
    ----------
    head : bytes
        The file's first `HEADER_BYTES`.
    path : Path
        The file's path, for messages.

    Raises
    ------
    InputError
        If the header is truncated or damaged, or has no valid affine.
    """
    if head[344:348] == b"ni1\0" or head[4:7] == b"ni2":
        raise InputError(
            f"{path} is the header of a two-file NIfTI (.hdr and .img). "
            "Convert it to a single .nii.gz first."
        )
    kind = nib.Nifti2Header if head[4:7] == b"n+2" else nib.Nifti1Header
    try:
        # Unchecked, since nibabel's checks repair silently or write to the terminal.
        header = kind(head[: kind.sizeof_hdr], check=False)
        shape = tuple(int(n) for n in header.get_data_shape())
        dtype = header.get_data_dtype()
        slope, inter = header.get_slope_inter()
    except (WrapStructError, HeaderDataError, ValueError, KeyError) as exc:
        raise damaged(path, "its header can't be read") from exc
    if not 1 <= len(shape) <= 7 or min(shape, default=0) < 1 or dtype.itemsize < 1:
        raise damaged(path, f"its header has shape {shape} and values of type {dtype}")
    unit = _unit(header)
    affine, known, facts = _affine_of(header, shape, path)
    affine[:3] *= MM_PER_UNIT[unit]
    return Layout(
        shape,
        dtype,
        _offset(header, kind, path),
        (1.0 if slope is None else float(slope), 0.0 if inter is None else float(inter)),
        affine,
        known and not np.array_equal(np.abs(affine), np.eye(4)),
        {"unit": unit, **facts},
    )


def _offset(header: Any, kind: Any, path: Path) -> int:
    """Position of the first value; an offset within the header means right after the header."""
    offset = float(header["vox_offset"])
    if not 0 <= offset <= _MAX_OFFSET:  # also if it is not a number
        raise damaged(
            path, f"its header says that the values begin at byte {offset:g} (vox_offset)"
        )
    return max(int(offset), int(kind.single_vox_offset))


def _unit(header: Any) -> str:
    try:
        unit = str(header.get_xyzt_units()[0])
    except KeyError:  # a code that is not in the standard
        return "unknown"
    return unit if unit in MM_PER_UNIT else "unknown"


def _affine_of(
    header: Any, shape: tuple[int, ...], path: Path
) -> tuple[Affine, bool, dict[str, Any]]:
    """The affine, whether the spacing is known, and the header fields that an export preserves."""
    steps = _repaired_steps(header, shape)
    thin = [axis >= len(shape) or shape[axis] == 1 for axis in range(3)]
    sform_code, qform_code = int(header["sform_code"]), int(header["qform_code"])
    sform = _usable(header.get_sform(), thin) if sform_code > 0 else None
    # nibabel's threshold applies; the lenient one only if there is no other form.
    qform = _usable(_qform(header), thin) if qform_code > 0 and steps else None
    if sform is None and qform is None and qform_code > 0 and steps:
        header.quaternion_threshold = _LENIENT
        qform = _usable(_qform(header), thin)
    facts: dict[str, Any] = {
        "sform_code": 0 if sform is None else sform_code,
        "qform_code": 0 if qform is None else qform_code,
    }
    if sform is not None:
        if qform is not None:
            facts["qform"] = qform.tolist()
        return sform, True, facts
    if qform is not None:
        return qform, True, facts
    if sform_code > 0 or qform_code > 0:
        raise InputError(
            f"{path} does not say where it lies: neither the sform nor the qform of its header "
            "can be used (not invertible). Convert it again from its source."
        )
    return np.asarray(header.get_base_affine(), dtype=np.float64), steps, facts


def _repaired_steps(header: Any, shape: tuple[int, ...]) -> bool:
    """Make the header's voxel sizes positive; False if one was missing and was set to 1."""
    sizes = np.abs(np.array(header["pixdim"][1:4], dtype=np.float64))
    bad = ~np.isfinite(sizes) | (sizes == 0)
    header["pixdim"][1:4] = np.where(bad, 1, sizes)
    if header["pixdim"][0] not in (-1, 1):
        header["pixdim"][0] = 1
    return not any(bad[axis] and n > 1 for axis, n in enumerate(shape[:3]))


def _qform(header: Any) -> Affine | None:
    try:
        with np.errstate(all="ignore"):
            return np.asarray(header.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError):
        return None


def _usable(form: Affine | None, thin: list[bool]) -> Affine | None:
    """The form if it is invertible; an axis of one voxel without a direction gets one."""
    if form is None or not np.isfinite(form).all():
        return None
    form = np.array(form, dtype=np.float64)
    for axis in range(3):
        if thin[axis] and not form[:3, axis].any():
            across = np.cross(form[:3, axis - 2], form[:3, axis - 1])
            form[:3, axis] = across / (np.linalg.norm(across) or 1)
    return form if is_invertible(form) else None
