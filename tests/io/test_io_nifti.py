"""NIfTI in and out, with nibabel as the independent reader."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import from_matvec
from scipy.spatial.transform import Rotation

from napari_scsam.core.errors import InputError
from napari_scsam.core.volume import Volume
from napari_scsam.io import nifti, read_volume, write_labels

RNG = np.random.default_rng(0)
VOXELS = RNG.integers(-999, 999, (9, 8, 7)).astype(np.int16)
TURN = Rotation.from_euler("xyz", [0.3, -0.2, 1.0]).as_matrix()
OBLIQUE = from_matvec(TURN @ np.diag([-0.7, 0.9, 2.5]), [10, -200, 33.3])
SHEARED = OBLIQUE + 0.4 * np.eye(4, k=1) * [[1], [0], [0], [0]]


def both_forms() -> nib.Nifti1Image:
    image = nib.Nifti1Image(VOXELS, OBLIQUE)
    image.set_qform(from_matvec(np.diag([0.7, 0.9, 2.5]), [1, 2, 3]), code=1)
    image.set_sform(OBLIQUE, code=4)
    image.header.set_xyzt_units("mm", "sec")
    return image


def only_qform() -> nib.Nifti1Image:
    image = nib.Nifti1Image(VOXELS, OBLIQUE)
    image.set_sform(None)
    image.set_qform(OBLIQUE, code=1)
    return image


def neither_form() -> nib.Nifti1Image:
    image = nib.Nifti1Image(VOXELS, None)
    image.header.set_zooms((0.5, 0.6, 3))
    return nib.Nifti1Image(VOXELS, None, image.header)


def in_microns() -> nib.Nifti1Image:
    image = nib.Nifti1Image(VOXELS, np.diag([700, 900, 2500, 1]))
    image.header.set_xyzt_units("micron")
    return image


IMAGES = {
    "oblique": nib.Nifti1Image(VOXELS, OBLIQUE),
    "sheared": nib.Nifti1Image(VOXELS, SHEARED),
    "both forms": both_forms(),
    "only qform": only_qform(),
    "neither form": neither_form(),
    "microns": in_microns(),
    "one slice": nib.Nifti1Image(VOXELS[:, :, :1], OBLIQUE),
    "flat": nib.Nifti1Image(VOXELS[:, :, 0], np.diag([0.5, 0.6, 1, 1])),
    "nifti-2": nib.Nifti2Image(VOXELS, OBLIQUE.astype(np.float32)),
    "big-endian": nib.Nifti1Image(VOXELS, OBLIQUE, nib.Nifti1Header(endianness=">")),
}


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_label_map_lies_exactly_on_its_scan(name: str, suffix: str, tmp_path: Path) -> None:
    source, target = tmp_path / f"scan{suffix}", tmp_path / f"label{suffix}"
    nib.save(IMAGES[name], source)
    volume = read_volume(source)
    label = RNG.integers(0, 3, volume.shape).astype(np.uint8)
    assert write_labels(target, label, volume) == [target]
    scan, written = nib.load(source), nib.load(target)
    np.testing.assert_allclose(written.affine, scan.affine, rtol=1e-6)
    assert written.shape == scan.shape
    assert written.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(written.dataobj), label.transpose())
    assert written.header.get_xyzt_units()[0] == scan.header.get_xyzt_units()[0]
    np.testing.assert_allclose(written.header.get_zooms(), scan.header.get_zooms(), rtol=1e-6)
    for form in ("get_sform", "get_qform"):
        affine, code = getattr(scan, form)(coded=True)
        again, again_code = getattr(written, form)(coded=True)
        assert code == again_code
        if code:
            np.testing.assert_allclose(again, affine, atol=1e-6)


def test_axes_are_reversed_and_never_reoriented(tmp_path: Path) -> None:
    nib.save(IMAGES["oblique"], tmp_path / "scan.nii.gz")
    volume = read_volume(tmp_path / "scan.nii.gz")
    np.testing.assert_array_equal(volume.data, VOXELS.transpose())
    assert volume.data.dtype == np.int16
    np.testing.assert_allclose(volume.spacing, (2.5, 0.9, 0.7), rtol=1e-6)
    assert volume.spacing_known


def test_microns_become_millimetres(tmp_path: Path) -> None:
    nib.save(IMAGES["microns"], tmp_path / "scan.nii")
    np.testing.assert_allclose(read_volume(tmp_path / "scan.nii").spacing, (2.5, 0.9, 0.7))


@pytest.mark.parametrize(
    ("affine", "known"),
    [
        (np.eye(4), False),
        (np.diag([-1, -1, 1, 1]), False),
        (from_matvec(np.eye(3), [-98, -134, -72]), True),
        (np.diag([1, 1, 2, 1]), True),
    ],
)
def test_an_identity_affine_is_no_spacing(affine: np.ndarray, known: bool, tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(VOXELS, affine), tmp_path / "scan.nii")
    assert read_volume(tmp_path / "scan.nii").spacing_known is known


def test_values_are_scaled_only_where_the_header_says_so(tmp_path: Path) -> None:
    image = nib.Nifti1Image(VOXELS, OBLIQUE)
    image.header.set_slope_inter(0.5, -3)
    nib.save(image, tmp_path / "scaled.nii.gz")
    scaled = read_volume(tmp_path / "scaled.nii.gz").data
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled, VOXELS.transpose() * 0.5 - 3)
    nib.save(nib.Nifti1Image(VOXELS.astype(np.float64), OBLIQUE), tmp_path / "plain.nii.gz")
    assert read_volume(tmp_path / "plain.nii.gz").data.dtype == np.float64


def test_colour_is_kept_as_a_last_axis(tmp_path: Path) -> None:
    colour = RNG.integers(0, 255, (9, 8, 7, 3)).astype(np.uint8)
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colour.view(kind)[..., 0], OBLIQUE), tmp_path / "colour.nii")
    volume = read_volume(tmp_path / "colour.nii")
    assert volume.rgb
    np.testing.assert_array_equal(volume.data, colour.transpose(2, 1, 0, 3))


def test_a_time_series_is_refused_and_one_time_point_is_not(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(VOXELS[..., None], OBLIQUE), tmp_path / "one.nii")
    assert read_volume(tmp_path / "one.nii").shape == (7, 8, 9)
    nib.save(nib.Nifti1Image(np.stack([VOXELS] * 3, -1), OBLIQUE), tmp_path / "three.nii")
    with pytest.raises(InputError, match=r"shape \(9, 8, 7, 3\).*one file per time point"):
        read_volume(tmp_path / "three.nii")


def test_the_content_counts_and_not_the_suffix(tmp_path: Path) -> None:
    nib.save(IMAGES["oblique"], tmp_path / "scan.nii.gz")
    packed = tmp_path / "really packed.nii"
    (tmp_path / "scan.nii.gz").rename(packed)
    assert read_volume(packed).shape == (7, 8, 9)


def test_what_is_no_single_image_is_refused(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Pair(VOXELS, OBLIQUE), tmp_path / "pair.hdr")
    (tmp_path / "text.gz").write_bytes(gzip.compress(b"no image" * 100))
    nib.save(nib.Nifti1Image(VOXELS.astype(np.complex64), OBLIQUE), tmp_path / "complex.nii")
    flat = nib.Nifti1Image(VOXELS, OBLIQUE)
    flat.header["srow_x"] = 0
    nib.save(flat, tmp_path / "flat.nii")
    content = bytearray((tmp_path / "flat.nii").read_bytes())
    content[280:296] = bytes(16)  # srow_x
    (tmp_path / "flat.nii").write_bytes(content)
    for name, message in [
        ("pair.hdr", "two-file NIfTI"),
        ("text.gz", "no NIfTI image in it"),
        ("complex.nii", "real numbers"),
        ("flat.nii", "not invertible"),
    ]:
        with pytest.raises(InputError, match=message):
            read_volume(tmp_path / name)


def test_more_than_32767_pixels_a_side_make_a_nifti_2() -> None:
    label = np.zeros((40_000, 2), np.uint8)
    label[39_999, 1] = 1
    content = nifti.encode_label(label, Volume(label))
    np.testing.assert_array_equal(nifti.decode_label(content, Path("x.nii.gz")), label)
    assert gzip.decompress(content)[4:7] == b"n+2"


def test_the_same_label_gives_the_same_bytes() -> None:
    label = RNG.integers(0, 3, (4, 5, 6)).astype(np.uint8)
    grid = Volume.from_array(label, (2.0, 1.0, 1.0))
    assert nifti.encode_label(label, grid) == nifti.encode_label(label.copy(), grid)
