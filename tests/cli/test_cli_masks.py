"""`label` and `evaluate` put a mask where it lies, or say in one line why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest
from command_line import ok, process, refused
from nibabel.affines import from_matvec

from napari_scsam.io import Placing
from napari_scsam.project import Project
from napari_scsam.project.masks import commit_mask
from napari_scsam.workflows.evaluation import evaluate_cases

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(0)
AFFINE = from_matvec(np.diag([-0.8, -0.8, 3.0]), [90, 70, -40])
VOXELS = RNG.integers(0, 999, (24, 20, 6)).astype(np.int16)
MASK = np.zeros(VOXELS.shape, np.uint8)
MASK[3:9, 4:12, 1:4] = 1


def save(path: Path, data: np.ndarray, affine: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


@pytest.fixture
def masks(tmp_path: Path) -> dict[str, Path]:
    """The mask as it is, stored backwards along the columns, and 5 columns further left."""
    end = from_matvec(np.diag([-1, 1, 1]), [VOXELS.shape[0] - 1, 0, 0])
    aside = from_matvec(np.eye(3), [5, 0, 0])
    return {
        "same": save(tmp_path / "same.nii.gz", MASK, AFFINE),
        "flipped": save(tmp_path / "flipped.nii.gz", MASK[::-1], AFFINE @ end),
        "shifted": save(tmp_path / "shifted.nii.gz", MASK, AFFINE @ aside),
    }


@pytest.fixture
def project(tmp_path: Path) -> Path:
    scan = save(tmp_path / "scan.nii.gz", VOXELS, AFFINE)
    ok("new", tmp_path / "project", "--images", scan, "--classes", "blob")
    return tmp_path / "project"


def test_label_turns_a_flipped_mask_and_refuses_a_shifted_one(
    project: Path, masks: dict[str, Path], tmp_path: Path
) -> None:
    label = ("label", project, "--image", tmp_path / "scan.nii.gz", "--mask")
    assert ok(*label, masks["same"])["grid"] == "same"
    assert ok(*label, masks["flipped"])["grid"] == "reoriented"
    line = refused(*label, masks["shifted"])
    assert "shifted.nii.gz" in line and "shifted by 4 mm" in line
    assert ok(*label, masks["shifted"], "--resample")["grid"] == "resampled"
    assert ok(*label, masks["shifted"], "--same-grid")["grid"] == "same-grid"
    assert "one of the two" in refused(*label, masks["shifted"], "--same-grid", "--resample")

    with Project.open(project, read_only=True) as opened:
        (image,) = opened.images()
        labels = []
        for commit in opened.commits(image.id):
            data = np.asarray(nib.load(commit.path).dataobj)
            labels.append(np.where(data == 255, 0, data))
        noted = opened.events("mask")
    moved = np.zeros_like(MASK)
    moved[8:14, 4:12, 1:4] = 1
    for label_map, expected in zip(labels, (MASK, MASK, moved, MASK), strict=True):
        np.testing.assert_array_equal(label_map, expected)
    assert [e.payload["grid"] for e in noted] == ["same", "reoriented", "resampled", "same-grid"]
    assert [e.payload["version"] for e in noted] == [1, 2, 3, 4]
    assert noted[1].payload["file"] == str(masks["flipped"])


def test_what_a_resampled_mask_does_not_reach_is_not_annotated(
    project: Path, masks: dict[str, Path], tmp_path: Path
) -> None:
    bright = save(tmp_path / "bright.nii.gz", MASK * 255, nib.load(masks["shifted"]).affine)
    ok("label", project, "--image", tmp_path / "scan.nii.gz", "--mask", bright, "--map", "255=1",
       "--resample")  # fmt: skip
    with Project.open(project, read_only=True) as opened:
        label = opened.label(opened.images()[0].id)
    assert label is not None
    assert (label[..., :5] == 255).all() and (label[..., 5:] < 2).all()
    assert (label == 1).sum() == MASK.sum()


def test_evaluate_compares_where_the_masks_lie(masks: dict[str, Path]) -> None:
    def dice(found: str, truth: str, **how: bool) -> float:
        placing = Placing(outside=0, **how)
        (case,) = evaluate_cases(masks[found], masks[truth], placing=placing).values()
        return case.classes[0].dice

    assert dice("flipped", "same") == 1.0
    assert dice("same", "flipped") == 1.0
    assert "shifted by 4 mm" in refused("evaluate", masks["shifted"], masks["same"])
    # 6 columns wide, 5 columns aside: one column of six is common.
    assert dice("shifted", "same", resample=True) == pytest.approx(1 / 6, abs=1e-4)
    assert dice("shifted", "same", same_grid=True) == 1.0
    (case,) = ok("evaluate", masks["shifted"], masks["same"], "--same-grid")["cases"].values()
    assert case["classes"][0]["dice"] == 1.0


def test_scans_with_a_broken_header_come_through_to_the_export(tmp_path: Path) -> None:
    good = save(tmp_path / "good.nii", VOXELS, AFFINE).read_bytes()
    scans = tmp_path / "scans"
    scans.mkdir()
    changes = {
        "backwards": {88: "<f4 -3.0", 254: "<i2 1"},  # a voxel size, beside a good sform
        "no turn": {252: "<i2 1", 256: "<f4 nan"},  # a qform that can't be decoded
        "inside": {108: "<f4 0.0"},  # values that begin within the header
    }
    for number, (name, fields) in enumerate(changes.items()):
        content = bytearray(good)
        for place, field in fields.items():
            kind, value = field.split()
            written = np.array(float(value)).astype(kind).tobytes()
            content[place : place + len(written)] = written
        content[352] ^= number + 1  # No two scans are the same file's content.
        (scans / f"{name}.nii").write_bytes(content)
    made = process("new", tmp_path / "project", "--images", scans, "--classes", "blob")
    assert (made.returncode, made.stderr) == (0, "")
    mask = save(tmp_path / "mask.nii.gz", MASK, AFFINE)
    with Project.open(tmp_path / "project") as opened:
        for image in opened.images():
            assert commit_mask(opened, image.id, mask)[1] == "same"
    out = ("--format", "nifti", "--out", tmp_path / "out")
    for path in ok("export", tmp_path / "project", *out)["exports"]:
        exported = nib.load(path)
        np.testing.assert_allclose(exported.affine, AFFINE, atol=1e-5)
        np.testing.assert_array_equal(np.asarray(exported.dataobj), MASK)
