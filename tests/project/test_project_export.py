"""Committed labels as files, read back by the formats' own libraries."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import imageio.v3 as iio
import nibabel as nib
import numpy as np
import pytest
import tifffile

from napari_scsam.core.errors import InputError, ProjectError
from napari_scsam.core.geometry import Plane
from napari_scsam.project import Project
from napari_scsam.project.export import export_labels


@pytest.fixture
def labelled(project: Project) -> Project:
    volume, picture = project.images()
    slice_label = np.zeros((7, 9), np.uint8)
    slice_label[1, 2:] = 2
    project.commit(volume.id, slice_label, plane=Plane(0, 3))
    flat = np.zeros((6, 8), np.uint8)
    flat[4, 1] = 1
    project.commit(picture.id, flat)
    return project


def test_nifti_lies_on_the_scan(labelled: Project, scans: list[Path], tmp_path: Path) -> None:
    paths = export_labels(labelled, tmp_path / "out" / "deep", "nifti")
    assert [p.name for p in paths] == ["volume.nii.gz", "picture.nii.gz"]
    label, scan = nib.load(paths[0]), nib.load(scans[0])
    np.testing.assert_array_equal(label.affine, scan.affine)
    assert label.header.get_zooms() == scan.header.get_zooms()
    assert label.shape == scan.shape
    values = np.asarray(label.dataobj)
    assert (values[2:, 1, 3] == 2).all()
    assert (values[:, :, [0, 1, 2, 4]] == 255).all()
    assert np.asarray(nib.load(paths[1]).dataobj)[1, 4] == 1


def test_what_nobody_annotated_can_be_filled(labelled: Project, tmp_path: Path) -> None:
    (volume, _) = export_labels(labelled, tmp_path, "nifti", fill_unannotated=0)
    assert set(np.unique(np.asarray(nib.load(volume).dataobj))) == {0, 2}
    with pytest.raises(InputError, match=r"one of \[0, 1, 2\], got 3"):
        export_labels(labelled, tmp_path, "nifti", fill_unannotated=3)


def test_tiff_carries_the_spacing(labelled: Project, tmp_path: Path) -> None:
    (volume, picture) = export_labels(labelled, tmp_path, "tiff")
    with tifffile.TiffFile(volume) as file:
        assert file.imagej_metadata is not None
        assert file.imagej_metadata["unit"] == "mm"
        assert file.imagej_metadata["spacing"] == pytest.approx(3)
        tags = file.pages[0].tags
        over, under = tags["XResolution"].value
        assert over / under == pytest.approx(1 / 0.6)
        over, under = tags["YResolution"].value
        assert over / under == pytest.approx(1 / 0.5)
        np.testing.assert_array_equal(file.asarray(), labelled.label(labelled.images()[0].id))
    assert tifffile.imread(picture)[4, 1] == 1


def test_png_is_one_file_a_slice(labelled: Project, tmp_path: Path) -> None:
    paths = export_labels(labelled, tmp_path, "png")
    names = [p.relative_to(tmp_path).as_posix() for p in paths]
    assert names == [*(f"volume/{i:04d}.png" for i in range(5)), "picture.png"]
    assert iio.imread(paths[3])[1, 5] == 2
    assert iio.imread(paths[5])[4, 1] == 1


def test_names_given_twice_get_the_id(labelled: Project, scans: list[Path], tmp_path: Path) -> None:
    twin = tmp_path / "other" / "Picture.png"
    twin.parent.mkdir()
    iio.imwrite(twin, np.arange(48, dtype=np.uint8).reshape(6, 8))
    (new,) = labelled.add_images([twin])
    labelled.commit(new, np.ones((6, 8), np.uint8))
    old = labelled.image(scans[1]).id
    names = {p.name for p in export_labels(labelled, tmp_path / "out", "nifti")}
    assert names == {"volume.nii.gz", f"picture-{old}.nii.gz", f"Picture-{new}.nii.gz"}


def test_the_scans_are_not_needed(labelled: Project, scans: list[Path], tmp_path: Path) -> None:
    affine = nib.load(scans[0]).affine
    shutil.rmtree(scans[0].parent)
    labelled.close()
    with Project.open(labelled.folder, read_only=True) as reader:
        (volume, _) = export_labels(reader, tmp_path / "out", "nifti")
    np.testing.assert_array_equal(nib.load(volume).affine, affine)


def test_nothing_committed_and_unknown_formats_are_refused(
    project: Project, tmp_path: Path
) -> None:
    with pytest.raises(ProjectError, match="Nothing is committed"):
        export_labels(project, tmp_path / "out", "nifti")
    with pytest.raises(InputError, match="one of nifti, tiff, png"):
        export_labels(project, tmp_path / "out", "bmp")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_damaged_label_stops_the_export_before_anything_is_written(
    labelled: Project, tmp_path: Path
) -> None:
    picture = labelled.images()[1].id
    labelled.close()
    (labelled.folder / "labels" / picture / "000001.nii.gz").write_bytes(b"x")
    with Project.open(labelled.folder) as again, pytest.raises(ProjectError, match="hash differs"):
        export_labels(again, tmp_path / "out", "nifti")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format", ["nifti", "tiff", "png"])
def test_a_full_disk_keeps_the_earlier_export(
    labelled: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    format: str,
) -> None:
    paths = export_labels(labelled, tmp_path / "out", format)  # type: ignore[arg-type]
    before = {p: p.read_bytes() for p in paths}

    def fail(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(ProjectError, match="The disk is full"):
        export_labels(labelled, tmp_path / "out", format, overwrite=True)  # type: ignore[arg-type]
    left = [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert {p: p.read_bytes() for p in left} == before
