"""NIfTI headers as they come: forms that can't be used, odd voxels, offsets, false sizes."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import from_matvec

from napari_scsam.core.errors import InputError
from napari_scsam.io import read_volume, write_labels

if TYPE_CHECKING:
    from pathlib import Path

VOXELS = np.random.default_rng(0).integers(-999, 999, (9, 8, 7)).astype(np.int16)
AFFINE = from_matvec(np.diag([-0.8, -0.8, 3.0]), [90, 70, -40])
NOTHING = np.zeros((3, 4))


def write(path: Path, *, kind: Any = nib.Nifti1Header, order: str = "<", **fields: Any) -> Path:
    """A NIfTI with both forms at `AFFINE`, but for what is written over in its header."""
    header = kind(endianness=order)
    header.set_data_shape(VOXELS.shape)
    header.set_data_dtype(VOXELS.dtype)
    header.set_xyzt_units("mm")
    header.set_qform(AFFINE, code=1)
    header.set_sform(AFFINE, code=1)
    header["vox_offset"] = header.single_vox_offset
    for name, value in fields.items():
        if name == "sform":
            header["srow_x"], header["srow_y"], header["srow_z"] = value
        elif name.startswith("pixdim"):
            header["pixdim"][int(name[-1])] = value
        else:
            header[name] = value
    voxels = VOXELS.astype(VOXELS.dtype.newbyteorder(order))
    path.write_bytes(header.structarr.tobytes() + bytes(4) + voxels.tobytes(order="F"))
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(path.read_bytes()))
    return path


BROKEN_QFORMS: list[dict[str, Any]] = [
    {"quatern_b": 0.7071075, "quatern_c": 0.7071074, "quatern_d": 0},
    {"quatern_b": np.nan},
    {"quatern_d": np.inf},
    {"quatern_d": -3},
    {"qoffset_x": np.nan},
    {"pixdim3": 0},
    {"pixdim1": np.nan},
    {"pixdim2": np.inf},
]
BROKEN_SFORMS: list[dict[str, Any]] = [
    {"sform": NOTHING},
    {"sform": NOTHING * np.nan},
    {"sform": np.ones((3, 4))},
    {"sform": AFFINE[:3] * [[1], [1], [0]]},
    {"sform": AFFINE[:3] * [1, 1, 0, 1]},
    {"srow_y": np.inf},
]


@pytest.mark.parametrize("fields", [*BROKEN_QFORMS, *BROKEN_SFORMS])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [nib.Nifti1Header, nib.Nifti2Header])
def test_a_form_that_can_be_used_is(
    fields: dict[str, Any], order: str, kind: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    volume = read_volume(write(tmp_path / "scan.nii", kind=kind, order=order, **fields))
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)
    np.testing.assert_array_equal(volume.data, VOXELS.transpose())
    assert volume.spacing_known and volume.is_oriented
    # An export lies on it and does not repeat what could not be used.
    write_labels(tmp_path / "label.nii", np.ones(volume.shape, np.uint8), volume)
    label = nib.load(tmp_path / "label.nii")
    np.testing.assert_allclose(label.affine, AFFINE, atol=1e-5)
    for form, code in (label.get_sform(coded=True), label.get_qform(coded=True)):
        if code:
            np.testing.assert_allclose(form, AFFINE, atol=1e-5)
    broken_sform = set(fields) <= {"sform", "srow_y"}
    assert label.header["sform_code"] == (not broken_sform)
    assert label.header["qform_code"] == broken_sform
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("qform", [*BROKEN_QFORMS[1:], {"qform_code": 0}])
@pytest.mark.parametrize("sform", [*BROKEN_SFORMS[:2], {"sform_code": 0}])
def test_no_usable_form_is_one_line_that_names_the_file(
    qform: dict[str, Any], sform: dict[str, Any], tmp_path: Path
) -> None:
    if "qform_code" in qform and "sform_code" in sform:  # a file that says nothing is no fault
        sform = BROKEN_SFORMS[2]
    path = write(tmp_path / "scan.nii", **qform, **sform)
    with pytest.raises(InputError, match="does not say where it lies") as caught:
        read_volume(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_qform_of_slightly_too_long_a_turn_counts_where_there_is_no_other(tmp_path: Path) -> None:
    turned = {"quatern_b": 0.7071075, "quatern_c": 0.7071074, "quatern_d": 0}
    volume = read_volume(write(tmp_path / "scan.nii", sform_code=0, pixdim0=1, **turned))
    # Half a turn about the diagonal between the first two axes.
    expected = np.array([[0, 0.8, 0, 90], [0.8, 0, 0, 70], [0, 0, -3, -40], [0, 0, 0, 1]])
    np.testing.assert_allclose(volume.affine, expected, atol=1e-5)


@pytest.mark.parametrize("field", ["pixdim1", "pixdim2", "pixdim3"])
@pytest.mark.parametrize("sform_code", [0, 1])
def test_a_negative_voxel_size_is_its_amount(
    field: str, sform_code: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    size = {"pixdim1": 0.8, "pixdim2": 0.8, "pixdim3": 3}[field]
    path = write(tmp_path / "scan.nii.gz", sform_code=sform_code, **{field: -size})
    np.testing.assert_allclose(read_volume(path).affine, AFFINE, atol=1e-5)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("size", [0, np.nan, np.inf, -np.inf])
def test_without_forms_and_voxel_sizes_the_spacing_is_unknown(size: float, tmp_path: Path) -> None:
    path = write(tmp_path / "scan.nii", sform_code=0, qform_code=0, pixdim2=size)
    volume = read_volume(path)
    assert not volume.spacing_known
    np.testing.assert_allclose(volume.spacing, (3, 1, 0.8), rtol=1e-6)


@pytest.mark.parametrize("size", [1e-9, 5e-5, 1e6, 3e6])
@pytest.mark.parametrize(("unit", "mm"), [("meter", 1e3), ("mm", 1.0), ("micron", 1e-3)])
@pytest.mark.parametrize("suffix", [".nii.gz", ".tif"])
def test_voxels_of_any_size_are_ordinary(
    size: float, unit: str, mm: float, suffix: str, tmp_path: Path
) -> None:
    image = nib.Nifti1Image(VOXELS, np.diag([size, 2 * size, 3 * size, 1]))
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "scan.nii")
    volume = read_volume(tmp_path / "scan.nii")
    expected = np.array([3, 2, 1]) * size * mm
    np.testing.assert_allclose(volume.spacing, expected, rtol=1e-6)
    label = np.ones(volume.shape, np.uint8)
    label[0] = 0
    write_labels(tmp_path / f"label{suffix}", label, volume)
    again = read_volume(tmp_path / f"label{suffix}")
    np.testing.assert_allclose(again.spacing, expected, rtol=1e-5)
    np.testing.assert_array_equal(again.data, label)


def test_an_axis_of_one_voxel_may_have_no_size(tmp_path: Path) -> None:
    flat = np.diag([0.5, 0.6, 0, 1])
    for shape in ((9, 8), (9, 8, 1)):
        image = nib.Nifti1Image(VOXELS[..., 0].reshape(shape), np.diag([0.5, 0.6, 1, 1]))
        nib.save(image, tmp_path / "scan.nii")
        content = bytearray((tmp_path / "scan.nii").read_bytes())
        content[280:328] = flat[:3].astype("<f4").tobytes()  # the three rows of the sform
        (tmp_path / "scan.nii").write_bytes(content)
        volume = read_volume(tmp_path / "scan.nii")
        np.testing.assert_allclose(volume.spacing[-2:], (0.6, 0.5), rtol=1e-6)


@pytest.mark.parametrize("kind", [nib.Nifti1Header, nib.Nifti2Header])
@pytest.mark.parametrize("packed", ["scan.nii", "scan.nii.gz"])
def test_values_begin_after_the_header_whatever_it_says(
    kind: Any, packed: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for offset in (0, 1, 16, 351):
        volume = read_volume(write(tmp_path / packed, kind=kind, vox_offset=offset))
        np.testing.assert_array_equal(volume.data, VOXELS.transpose())
    bad = [-1, 10**9, 2**62] if kind is nib.Nifti2Header else [np.nan, np.inf, -np.inf, -9, 1e30]
    for offset in bad:
        path = write(tmp_path / packed, kind=kind, vox_offset=offset)
        with pytest.raises(InputError, match="is damaged") as caught:
            read_volume(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("packed", ["scan.nii", "scan.nii.gz"])
def test_a_header_that_claims_more_than_the_file_holds(packed: str, tmp_path: Path) -> None:
    for dim in ([3, 32767, 32767, 32767, 1, 1, 1, 1], [3, 9, 8, 8, 1, 1, 1, 1],
                [3, -9, 8, 7, 1, 1, 1, 1], [0] * 8, [7] + [30000] * 7):  # fmt: skip
        path = write(tmp_path / packed, dim=dim)
        with pytest.raises(InputError, match=r"scan\.nii"):
            read_volume(path)


def test_values_that_are_no_real_numbers_are_refused(tmp_path: Path) -> None:
    for code in (1, 32, 1792, 2048, 77):  # bits, three kinds of complex numbers, no code
        path = write(tmp_path / "scan.nii", datatype=code)
        with pytest.raises(InputError, match=r"scan\.nii"):
            read_volume(path)
    path = write(tmp_path / "scan.nii", scl_slope=2, scl_inter=np.nan)
    with pytest.raises(InputError, match=r"scan\.nii"):
        read_volume(path)
