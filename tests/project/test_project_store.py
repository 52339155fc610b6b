"""Create, add, commit, reopen: what a person does with a project."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest

from napari_scsam.core.errors import InputError, ProjectError, ReadOnlyError
from napari_scsam.core.geometry import Plane
from napari_scsam.project import Project

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def volume_id(project: Project) -> str:
    return project.images()[0].id


@pytest.fixture
def picture_id(project: Project) -> str:
    return project.images()[1].id


def slice_label(value: int = 1) -> np.ndarray:
    label = np.zeros((7, 9), np.uint8)
    label[2:4, 1:6] = value
    return label


def reopen(project: Project) -> Project:
    project.close()
    return Project.open(project.folder)


def test_what_was_created_is_there_after_reopening(project: Project) -> None:
    with reopen(project) as again:
        assert again.name == "trial"
        assert again.modality == "mr"
        assert [(c.id, c.name) for c in again.classes] == [(1, "prostate"), (2, "tumour")]
        assert [r.name for r in again.images()] == ["volume", "picture"]
        assert not again.read_only


def test_create_refuses_a_project_and_any_other_folder_with_files(
    project: Project, scans: list[Path]
) -> None:
    with pytest.raises(ProjectError, match="is a project already"):
        Project.create(project.folder, ["a"])
    with pytest.raises(ProjectError, match="not an empty folder"):
        Project.create(scans[0].parent, ["a"])
    with pytest.raises(ProjectError, match="not an empty folder"):
        Project.create(scans[0], ["a"])


@pytest.mark.parametrize(
    ("classes", "modality", "message"),
    [
        ([], "mr", "at least one class"),
        (["a", "a"], "mr", "given twice"),
        (["a"], "xray", "one of mr, ct"),
    ],
)
def test_create_refuses_bad_choices_and_leaves_nothing(
    tmp_path: Path, classes: list[str], modality: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Project.create(tmp_path / "new", classes, modality=modality)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_open_refuses_what_is_no_project(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="is not a project"):
        Project.open(tmp_path)
    with pytest.raises(ProjectError, match="is not a project"):
        Project.open(tmp_path / "nowhere")


def test_open_refuses_a_newer_schema_in_file_and_journal(project: Project) -> None:
    project.close()
    with closing(sqlite3.connect(project.folder / "journal.sqlite")) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(ProjectError, match=r"newer napari-scsam \(schema 2"):
        Project.open(project.folder)
    toml = project.folder / "project.toml"
    toml.write_text(toml.read_text().replace("schema = 1", "schema = 7"))
    with pytest.raises(ProjectError, match=r"newer napari-scsam \(schema 7"):
        Project.open(project.folder, read_only=True)


@pytest.mark.parametrize("content", ["", "schema = ", "schema = 1\nname = 'x'\n", "\0\0"])
def test_open_refuses_a_damaged_project_file(project: Project, content: str) -> None:
    project.close()
    (project.folder / "project.toml").write_text(content)
    with pytest.raises(ProjectError, match="damaged") as caught:
        Project.open(project.folder)
    assert "\n" not in str(caught.value)


def test_only_one_writer_but_many_readers(project: Project, volume_id: str) -> None:
    with pytest.raises(ReadOnlyError, match="open in another window"):
        Project.open(project.folder)
    with Project.open(project.folder, read_only=True) as reader:
        project.commit(volume_id, slice_label(), plane=Plane(0, 1))
        assert reader.committed_planes(volume_id) == [1]
        for change in (
            lambda: reader.commit(volume_id, slice_label(), plane=Plane(0, 1)),
            lambda: reader.add_images([]),
            lambda: reader.revert(volume_id, None),
            lambda: reader.record("prompts", {}),
            lambda: reader.skip(volume_id, 0),
        ):
            with pytest.raises(ReadOnlyError, match="read-only"):
                change()
    with reopen(project):
        pass


def test_another_process_holds_the_lock_until_it_is_killed(project: Project) -> None:
    project.close()
    code = (
        "import sys; from napari_scsam.project import Project; "
        f"p = Project.open({str(project.folder)!r}); print('open', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"open\n"
        with pytest.raises(ReadOnlyError):
            Project.open(project.folder)
        child.kill()
        with Project.open(project.folder, wait=10) as again:
            assert not again.read_only


def test_images_are_recorded_with_their_geometry(project: Project, scans: list[Path]) -> None:
    volume, picture = project.images()
    assert volume.shape == (5, 7, 9)
    np.testing.assert_allclose(volume.spacing, (3, 0.5, 0.6), rtol=1e-6)
    assert volume.spacing_known
    assert not volume.rgb
    assert volume.path == scans[0]
    assert (picture.shape, picture.rgb, picture.spacing_known) == ((6, 8), True, False)
    assert volume.case == volume.id
    assert " " not in volume.id
    assert "volume" not in volume.id
    data = nib.load(scans[0]).get_fdata()
    np.testing.assert_array_equal(project.volume(volume.id).data, data.transpose())


def test_adding_again_gives_the_same_ids_and_a_folder_stands_for_its_files(
    project: Project, scans: list[Path]
) -> None:
    ids = [r.id for r in project.images()]
    twin = scans[0].with_name("a twin.nii.gz")
    shutil.copy(scans[0], twin)
    (scans[0].parent / "notes.txt").write_text("not an image")
    assert project.add_images([scans[1], twin, scans[0]]) == [ids[1], ids[0], ids[0]]
    assert project.add_images([scans[0].parent]) == [ids[0], ids[1], ids[0]]
    assert [r.id for r in project.images()] == ids
    assert project.add_images([]) == []
    assert project.add_images(str(scans[1])) == ids[1:]


def test_cases_are_kept_and_must_belong_to_added_files(tmp_path: Path, scans: list[Path]) -> None:
    with Project.create(tmp_path / "p", ["a"]) as project:
        with pytest.raises(InputError, match="not added"):
            project.add_images(scans[:1], cases={scans[1]: "7"})
        project.add_images(scans, cases={str(scans[0]): "patient 7"})
        volume, picture = project.images()
        assert volume.case == "patient 7"
        assert picture.case == picture.id


def test_one_bad_file_adds_none_and_all_bad_ones_are_named(
    tmp_path: Path, scans: list[Path]
) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.tif").write_text("no image at all")
    with Project.create(tmp_path / "p", ["a"]) as project:
        with pytest.raises(InputError) as caught:
            project.add_images([scans[0], tmp_path / "empty.png", tmp_path / "text.tif"])
        assert "empty.png is empty" in str(caught.value)
        assert "text.tif is not an image" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert project.images() == []


def test_an_unknown_image_names_what_there_is(project: Project, volume_id: str) -> None:
    assert project.image(project.image(volume_id).path).id == volume_id
    with pytest.raises(InputError, match=rf"no image abc .*{volume_id} \(volume\)"):
        project.image("abc")


def test_an_image_is_found_by_its_name_unless_several_have_it(
    project: Project, volume_id: str, scans: list[Path], tmp_path: Path
) -> None:
    assert project.image("volume").id == volume_id
    (tmp_path / "other").mkdir()
    second = tmp_path / "other" / scans[0].name
    nib.save(nib.Nifti1Image(np.arange(120, dtype=np.uint8).reshape(4, 5, 6), np.eye(4)), second)
    (new,) = project.add_images([second])
    with pytest.raises(InputError, match=rf"2 images are called volume: .* {volume_id}, {new}\."):
        project.image("volume")


def test_a_changed_or_moved_image_is_refused_and_found_again(
    project: Project, volume_id: str, scans: list[Path], tmp_path: Path
) -> None:
    project.commit(volume_id, slice_label(), plane=Plane(0, 0))
    content = scans[0].read_bytes()
    shutil.copy(scans[0], tmp_path / "moved.nii.gz")
    nib.save(nib.Nifti1Image(np.arange(315, dtype=np.int16).reshape(9, 7, 5), np.eye(4)), scans[0])
    with pytest.raises(InputError, match="has changed since it was added"):
        project.volume(volume_id)
    scans[0].unlink()
    with pytest.raises(InputError, match="no longer at"):
        project.volume(volume_id)
    assert project.label(volume_id) is not None
    assert project.add_images([tmp_path / "moved.nii.gz"]) == [volume_id]
    assert project.volume(volume_id).shape == (5, 7, 9)
    scans[0].write_bytes(content)
    assert project.image(volume_id).path == tmp_path / "moved.nii.gz"


def test_a_project_moved_together_with_its_images_still_works(
    project: Project, volume_id: str, tmp_path: Path
) -> None:
    project.commit(volume_id, slice_label(), plane=Plane(0, 2))
    project.close()
    elsewhere = tmp_path / "else" / "where"
    elsewhere.mkdir(parents=True)
    shutil.move(project.folder, elsewhere / "trial")
    shutil.move(tmp_path / "scans", elsewhere / "scans")
    with Project.open(elsewhere / "trial") as moved:
        assert moved.image(volume_id).path == elsewhere / "scans" / "volume.nii.gz"
        assert moved.volume(volume_id).shape == (5, 7, 9)
        label = moved.label(volume_id)
        assert label is not None
        np.testing.assert_array_equal(label[2], slice_label())


def test_slices_are_merged_and_the_others_stay_unannotated(
    project: Project, volume_id: str
) -> None:
    assert project.label(volume_id) is None
    assert project.label_version(volume_id) is None
    first = project.commit(volume_id, slice_label(1), plane=Plane(0, 1))
    second = project.commit(volume_id, slice_label(2), plane=Plane(0, 3))
    assert (first.version, second.version) == (1, 2)
    assert (second.plane, second.planes) == (3, (1, 3))
    expected = np.full((5, 7, 9), 255, np.uint8)
    expected[1], expected[3] = slice_label(1), slice_label(2)
    with reopen(project) as again:
        label = again.label(volume_id)
        assert label is not None
        assert label.dtype == np.uint8
        np.testing.assert_array_equal(label, expected)
        assert again.committed_planes(volume_id) == [1, 3]
        assert again.labelled() == {volume_id: 2}
        label[:] = 0
        np.testing.assert_array_equal(again.label(volume_id), expected)


def test_the_label_file_is_a_nifti_with_the_affine_of_the_image(
    project: Project, volume_id: str, picture_id: str, scans: list[Path]
) -> None:
    saved = project.commit(volume_id, slice_label(), plane=Plane(0, 1))
    written = nib.load(saved.path)
    np.testing.assert_array_equal(written.affine, nib.load(scans[0]).affine)
    assert written.get_data_dtype() == np.uint8
    flat = np.zeros((6, 8), np.uint8)
    flat[0, 5] = 2
    picture = nib.load(project.commit(picture_id, flat).path)
    np.testing.assert_array_equal(picture.affine, np.eye(4))
    assert picture.get_fdata()[5, 0] == 2


def test_a_label_that_does_not_fit_is_refused(
    project: Project, volume_id: str, picture_id: str
) -> None:
    for image, label, plane, message in [
        (volume_id, slice_label(), None, "has shape"),
        (volume_id, slice_label().T, Plane(0, 1), "has shape"),
        (volume_id, slice_label(3), Plane(0, 1), "1=prostate, 2=tumour"),
        (volume_id, slice_label(), Plane(0, 5), "no plane 5"),
        (volume_id, slice_label(), Plane(1, 0), "axis 0"),
        (picture_id, np.eye(6, 8) * 255, None, "--map 255=1"),
        ("nobody", slice_label(), None, "no image nobody"),
    ]:
        with pytest.raises(InputError, match=message):
            project.commit(image, label, plane=plane)
    assert project.labelled() == {}
    project.commit(picture_id, np.eye(6, 8) * 255, mapping={255: 1})
    np.testing.assert_array_equal(project.label(picture_id), np.eye(6, 8))


def test_revert_goes_back_and_forth_and_deletes_nothing(project: Project, volume_id: str) -> None:
    for value in (1, 2):
        project.commit(volume_id, slice_label(value), plane=Plane(0, 0))
    project.revert(volume_id, 1)
    label = project.label(volume_id)
    assert label is not None
    assert label[0].max() == 1
    project.revert(volume_id, None)
    assert project.label(volume_id) is None
    assert project.committed_planes(volume_id) == []
    project.revert(volume_id, 2)
    with pytest.raises(InputError, match=r"no label version 9; it has \[1, 2\]"):
        project.revert(volume_id, 9)
    assert project.label_version(volume_id) == 2
    project.revert(volume_id, 1)
    assert project.commit(volume_id, slice_label(2), plane=Plane(0, 4)).version == 3
    label = project.label(volume_id)
    assert label is not None
    assert (label[0].max(), label[4].max()) == (1, 2)


def test_a_damaged_or_lost_label_file_is_noticed(project: Project, volume_id: str) -> None:
    saved = project.commit(volume_id, slice_label(), plane=Plane(0, 0))
    with reopen(project) as again:
        content = saved.path.read_bytes()
        saved.path.write_bytes(content[:-1] + b"x")
        with pytest.raises(ProjectError, match="hash differs"):
            again.label(volume_id)
        saved.path.unlink()
        with pytest.raises(ProjectError, match="can't be read"):
            again.label(volume_id)


def test_orphans_of_a_crash_are_neither_read_nor_overwritten(
    project: Project, volume_id: str
) -> None:
    project.commit(volume_id, slice_label(1), plane=Plane(0, 0))
    orphan = project.folder / "labels" / volume_id / "000002.nii.gz"
    orphan.write_bytes(b"half a label")
    assert project.label_version(volume_id) == 1
    assert project.commit(volume_id, slice_label(2), plane=Plane(0, 0)).version == 3
    assert orphan.read_bytes() == b"half a label"


def test_commits_from_several_threads_all_count(project: Project, volume_id: str) -> None:
    def commit(index: int) -> int:
        return project.commit(volume_id, slice_label(), plane=Plane(0, index)).version

    with ThreadPoolExecutor(5) as pool:
        versions = list(pool.map(commit, range(5)))
    assert sorted(versions) == [1, 2, 3, 4, 5]
    assert project.committed_planes(volume_id) == [0, 1, 2, 3, 4]


def test_only_0_and_255_is_taken_when_255_is_said_to_mean_not_annotated(
    project: Project, volume_id: str
) -> None:
    whole = np.full((5, 7, 9), 255, np.uint8)
    whole[2] = 0
    with pytest.raises(InputError, match="--map 255=1"):
        project.commit(volume_id, whole)
    assert project.commit(volume_id, whole, mapping={255: 255}).planes == (2,)


def test_decisions_are_recorded_in_order(project: Project, volume_id: str) -> None:
    project.record("prompts", {"image": volume_id, "accepted": 3})
    project.record("prompts", {"accepted": 0})
    events = project.events("prompts")
    assert [e.payload["accepted"] for e in events] == [3, 0]
    assert events[0].image == volume_id
    assert [e.kind for e in project.events()][-2:] == ["prompts", "prompts"]
    with pytest.raises(InputError, match="written by the project itself"):
        project.record("commit", {})


def test_skipped_slices_wait_until_they_are_committed(project: Project, volume_id: str) -> None:
    for index in (3, 1, 2):
        project.skip(volume_id, index)
    project.commit(volume_id, slice_label(), plane=Plane(0, 1))
    assert project.skipped() == [(volume_id, 3), (volume_id, 2)]
    whole = np.full((5, 7, 9), 255, np.uint8)
    whole[2] = 1
    project.commit(volume_id, whole)
    assert project.skipped() == [(volume_id, 3)]


def test_what_is_committed_of_all_images_is_told_at_once(
    project: Project, volume_id: str, picture_id: str
) -> None:
    assert project.all_committed_planes() == {}
    for index in (3, 1):
        project.commit(volume_id, slice_label(), plane=Plane(0, index))
    planes = project.all_committed_planes()
    assert planes == {volume_id: [1, 3]} == {volume_id: project.committed_planes(volume_id)}
    project.revert(volume_id, 1)
    assert project.all_committed_planes() == {volume_id: [3]}
    project.revert(volume_id, None)
    assert project.all_committed_planes() == {}
    assert project.committed_planes(picture_id) == []
