"""A commit of one slice of a large volume is stored as a file of that slice alone."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest

from napari_scsam.cli.__main__ import main
from napari_scsam.core.errors import InputError, ProjectError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.settings import TrainSettings, TuneSettings
from napari_scsam.io import nifti, read_labels
from napari_scsam.project import Project, label_files, labels
from scsam_train.config import image_input
from scsam_train.data import read_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_scsam.io.grid import Grid

# Slices, rows and columns of the fixture's volume.
SHAPE = (5, 7, 9)
SETTINGS = TrainSettings(recipe="scsam", steps=100, seed=7)


@pytest.fixture(autouse=True)
def small_volumes_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "SLICE_FILES_FROM", 1)


@pytest.fixture
def volume_id(project: Project) -> str:
    return project.images()[0].id


def slice_of(value: int) -> np.ndarray:
    label = np.zeros(SHAPE[1:], np.uint8)
    label[1:5, 2 : 3 + value] = 1 + value % 2
    return label


def files(project: Project, image: str) -> list[str]:
    return sorted(path.name for path in (project.folder / "labels" / image).iterdir())


@pytest.fixture
def reopened(project: Project) -> Iterator[Project]:
    """The same project, read again from its files, with nothing in memory."""
    with Project.open(project.folder, read_only=True) as again:
        yield again


def test_a_slice_is_one_file_and_the_volume_is_composed(
    project: Project, volume_id: str, reopened: Project
) -> None:
    expected = np.full(SHAPE, 255, np.uint8)
    for version, index in enumerate((3, 1, 3), 1):
        saved = project.commit(volume_id, slice_of(version), plane=Plane(0, index))
        expected[index] = slice_of(version)
        assert saved.version == version
        for reader in (project, reopened):
            np.testing.assert_array_equal(reader.label(volume_id), expected)
            assert reader.committed_planes(volume_id) == sorted({3, 1} if version > 1 else {3})
    assert files(project, volume_id) == [
        "000001.plane-0003.nii.gz",
        "000002.plane-0001.nii.gz",
        "000003.plane-0003.nii.gz",
    ]


def test_a_file_of_a_slice_lies_where_the_slice_does(project: Project, volume_id: str) -> None:
    saved = project.commit(volume_id, slice_of(1), plane=Plane(0, 3))
    record = project.image(volume_id)
    part, scan = nib.load(saved.path), nib.load(record.path)
    assert part.shape == (9, 7, 1)
    corner = scan.affine @ [0, 0, 3, 1]
    np.testing.assert_allclose(part.affine @ [0, 0, 0, 1], corner, rtol=1e-5)
    np.testing.assert_array_equal(np.asarray(part.dataobj)[..., 0].T, slice_of(1))


def test_slices_and_whole_labels_follow_each_other(
    project: Project, volume_id: str, reopened: Project
) -> None:
    project.commit(volume_id, slice_of(1), plane=Plane(0, 0))
    whole = np.zeros(SHAPE, np.uint8)
    whole[2:4, 3:6, 1] = 2
    project.commit(volume_id, whole)
    project.commit(volume_id, slice_of(2), plane=Plane(0, 4))
    whole[4] = slice_of(2)
    np.testing.assert_array_equal(reopened.label(volume_id), whole)
    assert reopened.committed_planes(volume_id) == [0, 1, 2, 3, 4]
    assert "000002.nii.gz" in files(project, volume_id)


def test_undo_takes_back_a_slice_and_a_commit_goes_on_from_there(
    project: Project, volume_id: str, reopened: Project
) -> None:
    for index in (0, 1, 2):
        project.commit(volume_id, slice_of(index), plane=Plane(0, index))
    project.revert(volume_id, 1)
    assert reopened.committed_planes(volume_id) == [0]
    project.commit(volume_id, slice_of(4), plane=Plane(0, 4))
    label = reopened.label(volume_id)
    assert label is not None
    assert [bool((plane != 255).all()) for plane in label] == [True, False, False, False, True]
    project.revert(volume_id, 3)  # as redo does
    label = reopened.label(volume_id)
    assert label is not None and not (label[:3] == 255).any() and (label[3:] == 255).all()
    project.revert(volume_id, None)
    assert reopened.label(volume_id) is None and reopened.committed_planes(volume_id) == []
    project.commit(volume_id, slice_of(3), plane=Plane(0, 3))
    assert reopened.committed_planes(volume_id) == [3]


def test_what_a_slice_judged_is_kept_by_the_others(project: Project, volume_id: str) -> None:
    only_first = np.minimum(slice_of(1), 1)
    project.commit(volume_id, only_first, plane=Plane(0, 0), judged=[1])
    saved = project.commit(volume_id, slice_of(1), plane=Plane(0, 1))
    assert saved.judged.on(0) == (1,) and saved.judged.on(1) == (1, 2)


@pytest.mark.parametrize("spoil", ["bytes", "missing"])
def test_a_damaged_or_lost_slice_is_named_with_its_file(
    project: Project, volume_id: str, reopened: Project, spoil: str
) -> None:
    first = project.commit(volume_id, slice_of(1), plane=Plane(0, 0))
    project.commit(volume_id, slice_of(1), plane=Plane(0, 1))
    if spoil == "bytes":
        first.path.write_bytes(first.path.read_bytes()[:-1] + b"x")
    else:
        first.path.unlink()
    with pytest.raises(ProjectError, match=r"000001\.plane-0000\.nii\.gz") as caught:
        reopened.label(volume_id)
    assert "\n" not in str(caught.value)


def test_an_orphan_of_a_slice_is_neither_read_nor_overwritten(
    project: Project, volume_id: str
) -> None:
    project.commit(volume_id, slice_of(1), plane=Plane(0, 0))
    orphan = project.folder / "labels" / volume_id / "000002.plane-0000.nii.gz"
    orphan.write_bytes(b"half a label")
    killed = orphan.with_name(".89abcdef.000002.plane-0000.nii.gz")
    killed.write_bytes(b"half")
    assert project.commit(volume_id, slice_of(2), plane=Plane(0, 0)).version == 3
    assert orphan.read_bytes() == b"half a label" and not killed.exists()


def test_a_label_of_slices_is_exported_as_a_volume(
    project: Project, volume_id: str, tmp_path: Path
) -> None:
    for index in (1, 3):
        project.commit(volume_id, slice_of(index), plane=Plane(0, index))
    expected = project.label(volume_id)
    project.close()
    out = tmp_path / "out"
    assert main(["export", str(project.folder), "--format", "nifti", "--out", str(out)]) == 0
    np.testing.assert_array_equal(read_labels(out / "volume.nii.gz"), expected)


def test_a_round_and_a_tuning_read_a_label_of_slices(project: Project, volume_id: str) -> None:
    for index in (1, 3):
        project.commit(volume_id, slice_of(index), plane=Plane(0, index))
    for folder in (project.begin_round(SETTINGS), project.begin_tuning(TuneSettings())):
        entry = json.loads((folder / "inputs.json").read_text())["images"][0]
        assert [part["plane"] for part in entry["label"]["parts"]] == [1, 3]
        assert entry["label"]["version"] == 2
        _, label = read_image(image_input(entry))
        np.testing.assert_array_equal(label, project.label(volume_id))


@pytest.mark.parametrize("spoil", ["bytes", "missing"])
def test_a_round_refuses_a_slice_that_is_damaged(
    project: Project, volume_id: str, spoil: str
) -> None:
    saved = project.commit(volume_id, slice_of(1), plane=Plane(0, 1))
    project.commit(volume_id, slice_of(3), plane=Plane(0, 3))
    inputs = json.loads((project.begin_round(SETTINGS) / "inputs.json").read_text())
    if spoil == "bytes":
        saved.path.write_bytes(saved.path.read_bytes()[:-1] + b"x")
    else:
        saved.path.unlink()
    with pytest.raises(InputError, match=r"000001\.plane-0001\.nii\.gz"):
        read_image(image_input(inputs["images"][0]))


def test_a_project_with_whole_labels_goes_on_with_slices(
    project: Project, volume_id: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As every project of an earlier version does."""
    monkeypatch.setattr(labels, "SLICE_FILES_FROM", 2**21)
    for index in (0, 2):
        project.commit(volume_id, slice_of(index), plane=Plane(0, index))
    project.close()
    before = tmp_path / "before"
    shutil.copytree(project.folder, before)
    monkeypatch.setattr(labels, "SLICE_FILES_FROM", 1)
    with Project.open(before) as again:
        expected = again.label(volume_id)
        assert expected is not None
        again.commit(volume_id, slice_of(4), plane=Plane(0, 4))
        expected[4] = slice_of(4)
        assert files(again, volume_id)[-1] == "000003.plane-0004.nii.gz"
    with Project.open(before, read_only=True) as again:
        np.testing.assert_array_equal(again.label(volume_id), expected)
        assert again.committed_planes(volume_id) == [0, 2, 4]


def test_only_large_volumes_are_stored_by_slice(
    project: Project, volume_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "SLICE_FILES_FROM", 5 * 7 * 9 + 1)
    project.commit(volume_id, slice_of(1), plane=Plane(0, 1))
    picture = project.images()[1].id
    monkeypatch.setattr(labels, "SLICE_FILES_FROM", 1)
    project.commit(picture, np.ones((6, 8), np.uint8), plane=Plane(0, 0))
    assert files(project, volume_id) == files(project, picture) == ["000001.nii.gz"]


def test_a_commit_of_a_slice_neither_reads_nor_writes_the_others(
    project: Project, volume_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in (0, 1):
        project.commit(volume_id, slice_of(index), plane=Plane(0, index))
    shapes = []
    plain = nifti.encode_label

    def encoded(label: np.ndarray, grid: Grid) -> bytes:
        shapes.append(label.shape)
        return plain(label, grid)

    def read(*_: object) -> None:
        raise AssertionError("a label was read")

    with monkeypatch.context() as patch:
        patch.setattr(nifti, "encode_label", encoded)
        patch.setattr(label_files.LabelFiles, "read", read)
        project.commit(volume_id, slice_of(3), plane=Plane(0, 3))
    assert shapes == [(1, 7, 9)]
    label = project.label(volume_id)
    assert label is not None and [bool((p != 255).all()) for p in label] == [1, 1, 0, 1, 0]


def test_a_journal_with_a_slice_is_refused_by_programs_that_know_none(
    project: Project, volume_id: str
) -> None:
    """Those read the version in the journal's header, and refuse more than 1."""

    def version() -> int:
        with closing(sqlite3.connect(project.folder / "journal.sqlite")) as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])

    project.commit(volume_id, np.ones(SHAPE, np.uint8))
    assert version() == 1
    project.commit(volume_id, slice_of(1), plane=Plane(0, 1))
    assert version() == 257
    folder = project.folder
    project.close()
    with Project.open(folder) as again:
        assert again.notes == [] and again.label(volume_id) is not None
        again.commit(volume_id, np.ones(SHAPE, np.uint8))
    assert version() == 257
    with closing(sqlite3.connect(folder / "journal.sqlite")) as connection:
        connection.execute("PRAGMA user_version = 513")
    with pytest.raises(
        ProjectError, match=r"newer napari-scsam \(schema 513; this one reads up to 1"
    ):
        Project.open(folder)
