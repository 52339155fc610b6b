"""``napari-scsam merge``: two copies of a project become one again, and nothing is lost."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import tomllib
from contextlib import closing
from typing import TYPE_CHECKING

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile
import tomli_w
from command_line import ok, process, refused

from napari_scsam.core.geometry import Plane
from napari_scsam.core.labels import LabelClass
from napari_scsam.io import nifti
from napari_scsam.project import Project, labels
from napari_scsam.project.random_checks import note_check
from napari_scsam.project.ranking import QueueEntry, note_pick

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (5, 20, 24)
CLICK = {"row": 5.0, "col": 6.0, "class_id": 1, "origin": "person"}


def label_of(value: int, rows: slice = slice(4, 12)) -> np.ndarray:
    label = np.zeros(SHAPE[1:], np.uint8)
    label[rows, 5:15] = value
    return label


def commit(folder: Path, name: str, plane: int, label: np.ndarray, judged: tuple[int, ...]) -> None:
    with Project.open(folder) as project:
        project.commit(project.image(name).id, label, plane=Plane(0, plane), judged=judged)


def label(folder: Path, name: str) -> np.ndarray:
    with Project.open(folder, read_only=True) as project:
        return project.label(project.image(name).id)


@pytest.fixture(params=[2**21, 1], ids=["one file", "a file a slice"])
def copies(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """Two copies of a project of a volume and a picture; slice 0 was labelled before."""
    monkeypatch.setattr(labels, "SLICE_FILES_FROM", request.param)
    rng = np.random.default_rng(0)
    volume = rng.normal(size=SHAPE).astype(np.float32)
    tifffile.imwrite(tmp_path / "volume.tif", volume, imagej=True, metadata={"axes": "ZYX"})
    picture = rng.integers(0, 255, SHAPE[1:]).astype(np.uint8)
    imageio.imwrite(tmp_path / "picture.png", picture)
    mine, other = tmp_path / "mine", tmp_path / "other"
    images = [tmp_path / "volume.tif", tmp_path / "picture.png"]
    ok("new", mine, "--images", *images, "--classes", "heart,scar")
    commit(mine, "volume", 0, label_of(1), (1, 2))
    shutil.copytree(mine, other)
    return mine, other


def test_each_side_keeps_what_it_did_and_gets_what_the_other_did(
    copies: tuple[Path, Path], tmp_path: Path
) -> None:
    """As a process."""
    mine, other = copies
    commit(mine, "volume", 1, label_of(1), (1, 2))
    commit(other, "volume", 2, label_of(2), (2,))
    commit(other, "volume", 0, label_of(2), (1, 2))  # changed there, not here
    commit(other, "picture", 0, label_of(1), (1,))
    extra = np.random.default_rng(5).integers(0, 255, (9, 9)).astype(np.uint8)
    imageio.imwrite(tmp_path / "extra.png", extra)
    ok("add", other, tmp_path / "extra.png")
    for folder, tags in ((mine, "volume,trial\n"), (other, "volume,oslo\nextra,oslo\n")):
        (tmp_path / "tags.csv").write_text("image,tag\n" + tags)
        ok("tag", folder, tmp_path / "tags.csv")
    before = (other / "journal.sqlite").read_bytes()

    found = ok("merge", mine, other, run=process)
    assert len(found["added"]) == 1 and found["conflicts"] == [] == found["problems"]
    assert {c["name"]: c["planes"] for c in found["taken"]} == {"volume": [0, 2], "picture": [0]}
    merged = label(mine, "volume")
    np.testing.assert_array_equal(merged[0], label_of(2))
    np.testing.assert_array_equal(merged[1], label_of(1))
    np.testing.assert_array_equal(merged[2], label_of(2))
    assert (merged[3:] == 255).all()
    np.testing.assert_array_equal(label(mine, "picture"), label_of(1))
    with Project.open(mine, read_only=True) as project:
        last = project.commits(project.image("volume").id)[-1]
        # What was not looked for there stays unknown.
        assert last.judged.on(2) == (2,) and last.judged.on(1) == (1, 2)
        assert {i.name: i.tags for i in project.images()} == {
            "volume": ("trial", "oslo"),
            "picture": (),
            "extra": ("oslo",),
        }
    assert (other / "journal.sqlite").read_bytes() == before

    again = ok("merge", mine, other)
    assert again["added"] == again["taken"] == again["conflicts"] == []


def test_a_conflict_is_listed_and_both_labels_are_kept(copies: tuple[Path, Path]) -> None:
    mine, other = copies
    commit(mine, "volume", 0, label_of(1, slice(0, 9)), (1, 2))
    commit(other, "volume", 0, label_of(2, slice(9, 19)), (1, 2))
    commit(other, "volume", 3, label_of(2), (1, 2))
    found = ok("merge", mine, other)
    (conflict,) = found["conflicts"]
    assert conflict["name"] == "volume" and conflict["planes"] == [0]
    assert [c["planes"] for c in found["taken"]] == [[3]]
    np.testing.assert_array_equal(label(mine, "volume")[0], label_of(1, slice(0, 9)))
    np.testing.assert_array_equal(label(mine, "volume")[3], label_of(2))
    with Project.open(mine) as project:
        image = project.image("volume").id
        current = project.label_version(image)
        project.revert(image, conflict["version"])
        np.testing.assert_array_equal(project.label(image)[0], label_of(2, slice(9, 19)))
        project.revert(image, current)
        count = len(project.commits(image))
    again = ok("merge", mine, other)
    assert again["conflicts"] == found["conflicts"] and again["taken"] == []
    with Project.open(mine) as project:
        assert len(project.commits(image)) == count
    assert "Conflict: volume, slice 0" in process("merge", mine, other).stdout


def test_what_was_taken_back_there_is_not_taken(copies: tuple[Path, Path]) -> None:
    mine, other = copies
    with Project.open(other) as project:
        project.revert(project.image("volume").id, None)
    assert ok("merge", mine, other)["taken"] == []
    np.testing.assert_array_equal(label(mine, "volume")[0], label_of(1))


def test_projects_that_are_no_copies_and_the_same_image_under_two_names(
    copies: tuple[Path, Path], tmp_path: Path
) -> None:
    mine, _ = copies
    renamed = tmp_path / "other name.tif"
    shutil.copy(tmp_path / "volume.tif", renamed)
    ok("new", tmp_path / "third", "--images", renamed, "--classes", "scar")
    commit(tmp_path / "third", "other name", 4, label_of(1), (1,))
    found = ok("merge", mine, tmp_path / "third")
    assert found["added"] == [] and [c["name"] for c in found["taken"]] == ["volume"]
    # "scar" is 2 here.
    np.testing.assert_array_equal(label(mine, "volume")[4], label_of(2))


def test_what_can_not_be_merged(copies: tuple[Path, Path], tmp_path: Path) -> None:
    mine, other = copies
    assert "the same project" in refused("merge", mine, mine)
    ok("new", tmp_path / "strange", "--classes", "heart,lung")
    assert "has the class lung" in refused("merge", mine, tmp_path / "strange")
    toml = (other / "project.toml").read_text()
    (other / "project.toml").write_text(toml.replace("schema = 1", "schema = 99"))
    assert "newer" in refused("merge", mine, other)
    with Project.open(mine):
        assert "open in another window" in refused("merge", mine, tmp_path / "strange")


def test_a_label_of_another_shape_is_named_and_not_merged(copies: tuple[Path, Path]) -> None:
    """As in a project from a stranger: a label file whose hash is right, and whose shape is not."""
    mine, other = copies
    commit(other, "picture", 0, label_of(1), (1, 2))
    with Project.open(other) as project:
        record = project.image("picture")
        (path,) = [c.path for c in project.commits(record.id)]
    path.write_bytes(nifti.encode_label(np.ones((3, 4), np.uint8), record))
    with closing(sqlite3.connect(other / "journal.sqlite")) as connection:
        connection.execute("DROP TRIGGER events_stay")
        connection.execute("DROP TABLE hashes")
        connection.execute(
            "UPDATE events SET payload = json_set(payload, '$.sha256', ?) "
            "WHERE id = (SELECT max(id) FROM events WHERE kind = 'commit')",
            [hashlib.sha256(path.read_bytes()).hexdigest()],
        )
        connection.execute(
            "CREATE TRIGGER events_stay BEFORE UPDATE ON events\n"
            "    BEGIN SELECT RAISE(ABORT, 'events are never changed'); END"
        )
        connection.commit()
    found = ok("merge", mine, other)
    assert found["taken"] == []
    (problem,) = found["problems"]
    assert "picture" in problem and f"{path} does not fit its image" in problem


def test_what_is_gone_is_named_and_the_rest_is_merged(
    copies: tuple[Path, Path], tmp_path: Path
) -> None:
    mine, other = copies
    imageio.imwrite(tmp_path / "gone.png", np.eye(9, dtype=np.uint8))
    ok("add", other, tmp_path / "gone.png")
    (tmp_path / "gone.png").unlink()
    commit(other, "picture", 0, label_of(1), (1, 2))
    commit(other, "volume", 1, label_of(1), (1, 2))
    last = sorted((other / "labels").rglob("*.nii.gz"))[-1]
    last.write_bytes(b"damaged")
    (other / "pending").mkdir()
    (other / "pending/00.json").write_text("{}")
    found = ok("merge", mine, other)
    words = " ".join(found["problems"])
    assert "gone was not added" in words and str(last) in words and "uncommitted work" in words
    assert len(found["taken"]) == 1


def signed(folder: Path, plane: int, who: str, label: np.ndarray) -> None:
    with Project.open(folder) as project:
        project.sign(who)
        project.commit(project.image("volume").id, label, plane=Plane(0, plane), judged=(1, 2))


def test_each_slice_keeps_the_name_of_who_labelled_it(copies: tuple[Path, Path]) -> None:
    mine, other = copies
    for plane in (1, 2):
        signed(mine, plane, "anna", label_of(1))
    for plane, who in ((1, "ben"), (2, "cara"), (3, "ben"), (4, "cara")):
        signed(other, plane, who, label_of(2))
    found = ok("merge", mine, other)
    versions = {c["version"]: c["planes"] for c in found["conflicts"]}
    assert sorted(versions.values()) == [[1], [2]] and found["taken"][0]["planes"] == [3, 4]
    with Project.open(mine, read_only=True) as project:
        commits = project.commits(project.image("volume").id)
    assert {c.plane: c.by for c in commits if c.plane in (3, 4)} == {3: "ben", 4: "cara"}
    kept = {tuple(versions[c.version]): c.by for c in commits if c.version in versions}
    assert kept == {(1,): "ben", (2,): "cara"}
    pairs = [pair["annotators"] for pair in ok("report", mine)["agreement"]]
    assert pairs == [["anna", "ben"], ["anna", "cara"]]


def work_on(folder: Path, planes: tuple[int, ...], clicks: int) -> None:
    """Volumes as the dock labels random checks: picked, suggested, and then committed."""
    with Project.open(folder) as project:
        project.sign("ben")
        image = project.image("volume").id
        for plane in planes:
            note_pick(project, QueueEntry(image, plane, None, "random check", "random"), 3)
            note_check(project, image, plane, label_of(1), None)
            points = [CLICK] * clicks
            project.commit(
                image,
                label_of(1),
                plane=Plane(0, plane),
                judged=(1, 2),
                source=("prompts", {"axis": 0, "plane": plane, "points": points}),
            )


def test_what_the_work_in_the_copy_took_is_in_the_report(copies: tuple[Path, Path]) -> None:
    mine, other = copies
    commit(mine, "volume", 3, label_of(2), (1, 2))
    work_on(other, (1, 2, 3), clicks=2)
    with Project.open(other) as project:
        project.skip(project.image("volume").id, 4)
        project.skip(project.image("volume").id, 3)
    there = ok("report", other, "--by", "annotator")
    found = ok("merge", mine, other)
    here = ok("report", mine, "--by", "annotator")
    # Slice 3 is a conflict: what it took comes along, and what was suggested on it stays.
    ben, ben_there = (
        next(g for g in report["effort"] if g["group"] == "ben") for report in (here, there)
    )
    assert ben == ben_there and ben["actions"] == 6 and ben["seconds_each"] is not None
    assert here["picks"] == {"random": 2}
    assert here["random_checks"]["all"]["slices"] == 2 and here["random_checks"]["all"]["dice"] == 1
    assert here["random_checks"]["without_suggestion"] == 0
    assert [c["planes"] for c in found["skipped"]] == [[4]]
    assert len(found["left"]) == 2
    assert "1 suggestion on random slices" in found["left"][0] and "1 pick" in found["left"][1]
    again = ok("merge", mine, other)
    assert again["skipped"] == [] and again["left"] == found["left"]
    assert ok("report", mine, "--by", "annotator") == here


def test_slices_of_one_commit_count_its_work_once(copies: tuple[Path, Path]) -> None:
    mine, other = copies
    with Project.open(other) as project:
        project.sign("ben")
        whole = np.broadcast_to(label_of(2), SHAPE)
        source = ("prompts", {"axis": 1, "plane": 7, "points": [CLICK]})
        project.commit(project.image("volume").id, whole, judged=(1, 2), source=source)
        for value in (1, 2):
            picture = project.image("picture").id
            project.commit(picture, label_of(value), source=("prompts", {"points": [CLICK]}))
    found = ok("merge", mine, other)
    assert {c["name"]: c["planes"] for c in found["taken"]} == {
        "volume": [0, 1, 2, 3, 4],
        "picture": [0],
    }
    ben = next(g for g in ok("report", mine, "--by", "annotator")["effort"] if g["group"] == "ben")
    assert ben["commits"] == 2 and ben["actions"] == 2
    (left,) = found["left"]
    assert "1 label undone, replaced" in left


def without_scar(folder: Path) -> None:
    """Delete the second class, as somebody may by hand."""
    table = tomllib.loads((folder / "project.toml").read_text())
    table["classes"] = [c for c in table["classes"] if c["name"] != "scar"]
    (folder / "project.toml").write_text(tomli_w.dumps(table))


def test_a_class_that_was_deleted_there_stays_in_what_was_not_labelled_since(
    copies: tuple[Path, Path],
) -> None:
    mine, other = copies
    commit(mine, "volume", 0, label_of(2), (1, 2))
    commit(mine, "volume", 1, label_of(2), (1, 2))
    shutil.rmtree(other)
    shutil.copytree(mine, other)
    without_scar(other)
    commit(other, "volume", 1, label_of(1, slice(0, 9)), (1,))  # not looked for scar any more
    commit(other, "volume", 2, label_of(1), (1,))
    found = ok("merge", mine, other)
    assert found["problems"] == [] and [c["planes"] for c in found["taken"]] == [[2]]
    merged = label(mine, "volume")
    for plane in (0, 1):
        np.testing.assert_array_equal(merged[plane], label_of(2))
    np.testing.assert_array_equal(merged[2], label_of(1))
    (conflict,) = found["conflicts"]
    assert conflict["planes"] == [1]
    with Project.open(mine, read_only=True) as project:
        kept = project.label(project.image("volume").id, conflict["version"])
    np.testing.assert_array_equal(kept[1], label_of(1, slice(0, 9)))


def test_a_class_that_was_deleted_here_is_named_with_what_to_do(
    copies: tuple[Path, Path], tmp_path: Path
) -> None:
    mine, other = copies
    without_scar(mine)
    line = refused("merge", mine, other)
    assert "has the class scar" in line and "Add a class" in line and str(mine) in line
    # Each has a class of its own: one is added here, then it works.
    ok("new", tmp_path / "third", "--images", tmp_path / "volume.tif", "--classes", "heart,lung")
    for one, two in ((other, tmp_path / "third"), (tmp_path / "third", other)):
        line = refused("merge", one, two)
        assert f"Open {one} in the dock" in line and "Merge in the other direction" not in line
    with Project.open(other) as project:
        added = LabelClass(3, "lung", "#00ff00")
        project.change(classes=(*project.classes, added))
    commit(tmp_path / "third", "volume", 4, label_of(2), (2,))
    assert ok("merge", other, tmp_path / "third")["taken"][0]["planes"] == [4]
    np.testing.assert_array_equal(label(other, "volume")[4], label_of(3))
