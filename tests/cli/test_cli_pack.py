"""``napari-scsam pack`` and ``rounds --take``: to another machine, and back."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import imageio.v3 as imageio
import nibabel as nib
import numpy as np
import pytest
import tifffile
from command_line import here, ok, process, refused
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from untrained_round import add_round

from napari_scsam.core.geometry import Plane
from napari_scsam.project import Project, labels
from napari_scsam.workflows.handover import pack

if TYPE_CHECKING:
    from napari_scsam.core.jobs import Progress

QUICK = ["--recipe", "supervised", "--steps", "1", "--image-size", "32", "--unet", "pretrained"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Three pictures, one of them labelled."""
    (tmp_path / "scans").mkdir()
    for number in range(3):
        picture = np.random.default_rng(number).integers(0, 255, (40, 50)).astype(np.uint8)
        imageio.imwrite(tmp_path / f"scans/p{number}.png", picture)
    folder = tmp_path / "project"
    ok("new", folder, "--images", tmp_path / "scans", "--classes", "polyp")
    label_one(folder, 0)
    return folder


def label_one(folder: Path, number: int) -> None:
    with Project.open(folder) as opened:
        record = opened.images()[number]
        label = np.zeros(record.shape, np.uint8)
        label[5:20, 8:30] = 1
        opened.commit(record.id, label)


def test_a_packed_project_works_where_the_images_are_not(project: Path, tmp_path: Path) -> None:
    """As a process, while the project is open elsewhere."""
    (project / "cache/x").mkdir(parents=True)
    with Project.open(project):
        packed = ok("pack", project, "--out", tmp_path / "out/packed", "--images", run=process)
    assert packed["images"] == 3 and packed["missing"] == []
    shutil.rmtree(tmp_path / "scans")
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "out").rename(elsewhere)
    assert not (elsewhere / "packed/cache").exists()
    with Project.open(elsewhere / "packed") as opened:
        assert opened.notes == []
        for record in opened.images():
            assert opened.volume(record.id).shape == (40, 50)
            assert record.path.is_relative_to(elsewhere)
        assert opened.label(opened.images()[0].id).sum() == 15 * 22
    label_one(elsewhere / "packed", 1)
    found = ok("merge", project, elsewhere / "packed")
    assert [c["name"] for c in found["taken"]] == ["p1"] and found["conflicts"] == []


def test_images_stay_where_they_are_unless_they_are_the_projects_own(
    project: Path, tmp_path: Path
) -> None:
    (project / "scans").mkdir()
    imageio.imwrite(project / "scans/layer.png", np.eye(30, dtype=np.uint8))
    ok("add", project, project / "scans/layer.png")
    (tmp_path / "scans/p2.png").unlink()
    packed = ok("pack", project, "--out", tmp_path / "packed")
    assert packed["images"] == 1 and packed["missing"] == ["p2"]
    shutil.rmtree(project)
    with Project.open(tmp_path / "packed") as opened:
        names = {record.name: record for record in opened.images()}
        assert names["p0"].path == tmp_path / "scans/p0.png"
        assert opened.volume(names["layer"].id).shape == (30, 30)


@pytest.mark.parametrize("anonymise", [False, True], ids=["as it is", "anonymous"])
def test_a_copy_of_a_project_in_use_has_every_file_that_its_journal_names(
    project: Path, tmp_path: Path, anonymise: bool
) -> None:
    """Labels are committed and an image is added before each step of the copying."""
    added: list[str] = []
    with Project.open(project) as opened:

        def work_on(_: Progress) -> None:
            picture = tmp_path / f"more-{len(added)}.png"
            imageio.imwrite(picture, np.eye(40, 50, len(added), np.uint8))
            added.extend(opened.add_images(picture))
            for image in (opened.images()[0].id, added[-1]):
                opened.commit(image, np.ones((40, 50), np.uint8))
            (project / "labels/.0a1b2c3d.nii.gz").write_bytes(b"half-written")

        copy = tmp_path / "packed"
        pack(opened, copy, with_images=True, anonymise=anonymise, progress=work_on)
    assert added
    label_one(copy, 0)
    with Project.open(copy) as packed:
        assert packed.notes == []
        images = packed.images()
        for record in images:
            for commit in packed.commits(record.id):
                assert packed.label(record.id, commit.version) is not None
        assert packed.label(images[0].id).sum() == 15 * 22
        assert {record.path for record in images} == set((copy / "scans").iterdir())
    assert not (copy / "labels/.0a1b2c3d.nii.gz").exists()


def test_nothing_is_packed_over_anything(project: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("x")
    assert "not empty" in refused("pack", project, "--out", tmp_path / "full")
    assert "in the project itself" in refused("pack", project, "--out", project / "packed")
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["file"]


@pytest.fixture
def with_round(project: Path, tmp_path: Path) -> Path:
    """A packed copy in which a round was trained."""
    ok("pack", project, "--out", tmp_path / "packed")
    return add_round(tmp_path / "packed")


def test_a_round_comes_back(project: Path, with_round: Path) -> None:
    (made,) = ok("rounds", project, "--take", with_round)["rounds"]
    assert made["number"] == 1 and made["active"]
    for file in with_round.rglob("*"):
        if file.is_file():
            other = project / "rounds/0001" / file.relative_to(with_round)
            assert other.read_bytes() == file.read_bytes()
    assert ok("rank", project)["round"] == 1
    assert "is round 1 of project already" in refused("rounds", project, "--take", with_round)


def test_rounds_trained_in_copies_come_back_one_after_the_other(
    project: Path, tmp_path: Path, forked_rounds: None
) -> None:
    """The copies are elsewhere, and neither the project nor its scans are there."""
    label_one(project, 1)
    for number, elsewhere in ((1, tmp_path / "one"), (2, tmp_path / "two")):
        ok("pack", project, "--out", tmp_path / "packed", "--images")
        (tmp_path / "packed").rename(elsewhere)
        for name in ("scans", "project"):
            (tmp_path / name).rename(tmp_path / f"{name} at home")
        trained = ok("train", elsewhere, *QUICK)["round"]
        for name in ("scans", "project"):
            (tmp_path / f"{name} at home").rename(tmp_path / name)
        assert trained["number"] == number
        carried = Path(trained["folder"]).rename(tmp_path / f"carried {number}")
        made = ok("rounds", project, "--take", carried)["rounds"][-1]
        assert made["number"] == number and made["metrics"] == trained["metrics"]
        assert (made["reason"], made["active"]) == (trained["reason"], trained["active"])
    # It goes on from the first one, which was taken here.
    assert "Dice on 1 held-out case" in made["reason"]


@pytest.mark.parametrize("slice_files_from", [2**21, 1], ids=["one file", "a file a slice"])
def test_a_round_of_a_volume_labelled_slice_by_slice_comes_back(
    slice_files_from: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "SLICE_FILES_FROM", slice_files_from)
    volume = np.random.default_rng(0).normal(size=(5, 40, 50)).astype(np.float32)
    tifffile.imwrite(tmp_path / "volume.tif", volume, imagej=True, metadata={"axes": "ZYX"})
    mine, copy = tmp_path / "mine", tmp_path / "packed"
    ok("new", mine, "--images", tmp_path / "volume.tif", "--classes", "polyp")
    label_slice(mine, 1)
    label_slice(mine, 2)
    ok("pack", mine, "--out", copy)
    (made,) = ok("rounds", mine, "--take", add_round(copy))["rounds"]
    assert made["number"] == 1 and made["active"]
    label_slice(copy, 4)
    line = refused("rounds", mine, "--take", add_round(copy))
    assert "labels that mine does not have" in line


def label_slice(folder: Path, number: int) -> None:
    with Project.open(folder) as opened:
        label = np.zeros((40, 50), np.uint8)
        label[5:20, 8:30] = 1
        opened.commit(opened.images()[0].id, label, plane=Plane(0, number))


def test_a_round_that_was_not_compared_is_taken_and_does_not_become_active(
    project: Path, tmp_path: Path
) -> None:
    """An anonymous copy has no rounds, so that its own start from nothing."""
    add_round(project)
    ok("pack", project, "--out", tmp_path / "packed", "--images", "--anonymise")
    done = here("rounds", project, "--take", add_round(tmp_path / "packed"))
    assert done.returncode == 0, done.stderr
    assert " ".join(done.stdout.split()).startswith(
        "Round 2 was not compared with round 1, which stays active: to use it, make it active "
        "(rounds --promote 2)."
    )
    first, second = ok("rounds", project)["rounds"]
    assert first["active"] and not second["active"]
    assert ok("rounds", project, "--promote", 2)["rounds"][1]["active"]


def test_a_parent_is_the_same_round_under_any_number(project: Path, tmp_path: Path) -> None:
    add_round(project)
    ok("pack", project, "--out", tmp_path / "packed")
    add_round(project)
    second, third = tmp_path / "carried", tmp_path / "carried too"
    shutil.copytree(add_round(tmp_path / "packed"), second)
    # At home another round 2 is active.
    assert not ok("rounds", project, "--take", second)["rounds"][2]["active"]
    ok("rounds", project, "--promote", 3)
    shutil.copytree(add_round(tmp_path / "packed"), third)
    assert ok("rounds", project, "--take", third)["rounds"][3]["active"]


def with_texts(folder: Path) -> list[Path]:
    """Files of every format, each with a name in its header."""
    rng = np.random.default_rng(5)
    grey, colour = (rng.integers(0, 255, s).astype(np.uint8) for s in ((5, 40, 50), (40, 50, 3)))
    folder.mkdir()
    volume = nib.Nifti1Image(grey.T, np.diag([0.5, 0.6, 3, 1]))
    volume.header["descrip"] = volume.header["db_name"] = b"Smith^John"
    volume.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Smith^John"))
    nib.save(volume, folder / "Smith-mr.nii.gz")
    second = nib.Nifti2Image(grey.T[::-1], np.diag([0.5, 0.6, 3, 1]))
    second.header["aux_file"] = b"Smith^John"
    nib.save(second, folder / "Smith-2.nii")
    sizes = {"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    sizes |= {f"PhysicalSize{a}Unit": "mm" for a in "XYZ"} | {"Description": "Smith^John"}
    tifffile.imwrite(folder / "Smith.ome.tif", grey[:3], ome=True, metadata=sizes)
    tifffile.imwrite(folder / "Smith.tif", colour, description="Smith^John", metadata=None)
    info = PngInfo()
    info.add_text("Patient", "Smith^John")
    Image.fromarray(colour[::-1]).save(folder / "Smith.png", pnginfo=info)
    Image.fromarray(colour[:, ::-1]).save(folder / "Smith.jpg", comment=b"Smith^John")
    return sorted(folder.iterdir())


def test_an_anonymous_copy_names_nobody_and_its_labels_come_back(tmp_path: Path) -> None:
    files = with_texts(tmp_path / "Smith scans")
    mine, copy = tmp_path / "Smith trial", tmp_path / "packed"
    with Project.create(mine, ["polyp"]) as opened:
        ids = opened.add_images(files, cases=dict.fromkeys(files[:2], "Smith^John"))
        opened.commit(ids[0], np.ones(opened.image(ids[0]).shape, np.uint8))
        opened.record("note", {"image": ids[0], "text": "Smith^John"})
    add_round(mine)
    assert "add --images" in refused("pack", mine, "--out", copy, "--anonymise")
    packed = ok("pack", mine, "--out", copy, "--images", "--anonymise")
    assert packed["images"] == len(files) and any("burned" in what for what in packed["left_in"])
    for path in copy.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        content += gzip.decompress(content) if path.suffix == ".gz" else b""
        assert "Smith" not in str(path.relative_to(copy)) and b"Smith" not in content, path
    with Project.open(mine, read_only=True) as before, Project.open(copy) as opened:
        assert opened.notes == [] and opened.rounds() == []
        for was, now in zip(before.images(), opened.images(), strict=True):
            assert (now.id, now.path.parent) == (was.id, copy / "scans")
            found, expected = opened.volume(now.id), before.volume(was.id)
            np.testing.assert_array_equal(found.data, expected.data)
            np.testing.assert_allclose(found.affine, expected.affine)
        cases = [record.case for record in opened.images()]
        assert cases[0] == cases[1] != cases[2]
    label_one(copy, 1)
    label_one(copy, 0)
    found = ok("merge", mine, copy)
    assert found["added"] == [] == found["conflicts"] == found["problems"]
    with Project.open(mine, read_only=True) as opened:
        assert sorted(opened.labelled()) == sorted(ids[:2])
        assert opened.label(ids[0]).min() == 0


def test_a_merge_brings_rounds_and_none_becomes_active(
    project: Path, with_round: Path, tmp_path: Path
) -> None:
    own = add_round(project)
    label_one(with_round.parents[1], 1)
    found = ok("merge", project, with_round.parents[1])
    assert found["rounds"] == [2] and found["problems"] == []
    # It was labelled with that round, which is the second one here.
    groups = [group["group"] for group in ok("report", project)["effort"]]
    assert groups == ["before the first round", "round 2"]
    first, second = ok("rounds", project)["rounds"]
    assert first["active"] and not second["active"]
    assert "merged from" in second["reason"] and str(own) == first["folder"]
    for file in with_round.rglob("*"):
        if file.is_file():
            other = project / "rounds/0002" / file.relative_to(with_round)
            assert other.read_bytes() == file.read_bytes()
    assert ok("merge", project, with_round.parents[1])["rounds"] == []
    assert ok("rounds", project, "--promote", 2)["rounds"][1]["active"]
    weights = with_round / "unet.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    ok("new", tmp_path / "third", "--images", tmp_path / "scans", "--classes", "polyp")
    third = ok("merge", tmp_path / "third", with_round.parents[1])
    assert third["rounds"] == [] and "its hash differs" in third["problems"][0]


def test_what_is_not_the_round_that_was_trained_is_refused(
    project: Path, with_round: Path, tmp_path: Path
) -> None:
    weights = with_round / "unet.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + b"x")
    assert "its hash differs" in refused("rounds", project, "--take", with_round)
    weights.write_bytes(content)
    assert "no finished round" in refused("rounds", project, "--take", tmp_path / "scans")
    ok("new", tmp_path / "other", "--images", tmp_path / "scans", "--classes", "polyp")
    line = refused("rounds", tmp_path / "other", "--take", with_round)
    assert "labels that other does not have" in line
    ok("new", tmp_path / "third", "--images", tmp_path / "scans", "--classes", "scar")
    assert "other classes" in refused("rounds", tmp_path / "third", "--take", with_round)
    manifest = json.loads((with_round / "manifest.json").read_text())
    manifest["files"]["../../../secret"] = "0" * 64
    (with_round / "manifest.json").write_text(json.dumps(manifest))
    assert "not what was trained" in refused("rounds", project, "--take", with_round)
    assert not list((project / "rounds").glob("*"))
