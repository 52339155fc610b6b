"""``napari-scsam pack`` and ``rounds --take``: to another machine, and back."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import imageio.v3 as imageio
import numpy as np
import pytest
from command_line import ok, process, refused
from untrained_round import add_round

from napari_scsam.project import Project

if TYPE_CHECKING:
    from pathlib import Path


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
    # A second time it goes on from no round, while one is active.
    assert "goes on from no round, but round 1" in refused("rounds", project, "--take", with_round)


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
