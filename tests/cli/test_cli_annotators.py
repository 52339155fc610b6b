"""Who labelled what: named with each commit, kept by a merge, and compared in the report."""

from __future__ import annotations

import getpass
import shutil
from typing import TYPE_CHECKING

import imageio.v3 as imageio
import numpy as np
import pytest
from command_line import ok

from napari_scsam.core.geometry import Plane
from napari_scsam.project import Project
from napari_scsam.project.opinions import add_opinion, restore_first

if TYPE_CHECKING:
    from pathlib import Path

AS_IT_IS = {255: 255}
CLICK = {"row": 8.0, "col": 7.0, "class_id": 1, "origin": "person"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures and a mask of a square of 10 x 10 pixels."""
    (tmp_path / "scans").mkdir()
    for number in range(3):
        picture = np.random.default_rng(number).integers(0, 255, (40, 40)).astype(np.uint8)
        imageio.imwrite(tmp_path / f"scans/p{number}.png", picture)
    imageio.imwrite(tmp_path / "mask.png", square(10))
    ok("new", tmp_path / "trial", "--images", tmp_path / "scans", "--classes", "cyst")
    return tmp_path / "trial"


def square(cols: int) -> np.ndarray:
    label = np.zeros((40, 40), np.uint8)
    label[5:15, 5 : 5 + cols] = 1
    return label


def by(folder: Path) -> dict[str, str]:
    with Project.open(folder, read_only=True) as project:
        return {r.name: c.by for r in project.images() for c in project.commits(r.id)}


def test_a_name_is_given_taken_from_the_environment_or_from_the_login(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = folder.parent / "mask.png"
    ok("label", folder, "--image", "p0", "--mask", mask, "--annotator", "  Anna\n Karenina ")
    monkeypatch.delenv("NAPARI_SCSAM_ANNOTATOR", raising=False)
    monkeypatch.setattr(getpass, "getuser", lambda: "login")
    ok("label", folder, "--image", "p1", "--mask", mask)
    monkeypatch.setenv("NAPARI_SCSAM_ANNOTATOR", "ben")
    ok("label", folder, "--image", "p2", "--mask", mask)
    assert by(folder) == {"p0": "Anna Karenina", "p1": "login", "p2": "ben"}
    groups = {g["group"]: g for g in ok("report", folder, "--by", "annotator")["effort"]}
    assert {name: g["commits"] for name, g in groups.items()} == {
        "Anna Karenina": 1, "login": 1, "ben": 1,
    }  # fmt: skip
    images = {one["name"]: one["annotators"] for one in ok("report", folder)["images"]}
    assert images["p2"] == ["ben"]


def test_a_user_without_a_name_labels_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nameless() -> str:
        raise KeyError("uid not found: 1234")

    monkeypatch.delenv("NAPARI_SCSAM_ANNOTATOR", raising=False)
    monkeypatch.setattr(getpass, "getuser", nameless)
    ok("label", folder, "--image", "p0", "--mask", folder.parent / "mask.png")
    assert by(folder) == {"p0": ""}
    (group,) = ok("report", folder, "--by", "annotator")["effort"]
    assert group["group"] == "nobody named"


def test_a_merge_keeps_names_and_reports_where_two_people_agree(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    narrow = tmp_path / "narrow.png"
    imageio.imwrite(narrow, square(5))
    mask = tmp_path / "mask.png"
    ok("label", folder, "--image", "p0", "--mask", mask, "--annotator", "anna")
    ok("label", tmp_path / "copy", "--image", "p0", "--mask", narrow, "--annotator", "ben")
    ok("label", tmp_path / "copy", "--image", "p1", "--mask", mask, "--annotator", "ben")
    merged = ok("merge", folder, tmp_path / "copy")
    assert len(merged["conflicts"]) == 1 and len(merged["taken"]) == 1
    report = ok("report", folder, "--out", tmp_path / "report.html")
    (pair,) = report["agreement"]
    assert pair["annotators"] == ["anna", "ben"] and pair["slices"] == 1
    assert pair["classes"] == [{"class": "cyst", "slices": 1, "dice": pytest.approx(2 / 3)}]
    assert pair["compared"][0]["current"] == 1 and pair["compared"][0]["beside"] == 2
    images = {one["name"]: one["annotators"] for one in report["images"]}
    assert images["p0"] == ["anna", "ben"] and images["p1"] == ["ben"]
    assert "Agreement between annotators" in (tmp_path / "report.html").read_text("utf-8")


def test_a_second_opinion_is_kept_beside_the_label_that_stays_current(folder: Path) -> None:
    with Project.open(folder) as project:
        image = project.images()[0].id
        project.sign("anna")
        project.commit(image, square(10))
        project.sign("ben")
        opinion = add_opinion(project, image, square(4), Plane(), None, {"plane": 0}, AS_IT_IS)
        assert np.array_equal(project.label(image), square(10))
        assert np.array_equal(project.label(image, opinion.version), square(4))
        later = add_opinion(project, image, square(6), Plane(), None, {"plane": 0}, AS_IT_IS)
        assert restore_first(project) == []
    (pair,) = ok("report", folder)["agreement"]
    assert pair["slices"] == 1 and pair["classes"][0]["dice"] == pytest.approx(12 / 16)
    with Project.open(folder) as project:
        project.revert(image, later.version)  # as if it had been killed before the last step
        assert restore_first(project) == []  # a revert is a person's choice
        project.revert(image, 1)
        project.commit(image, square(7), source=("second_opinion", {"plane": 0}))
        assert restore_first(project) == [image]
        assert np.array_equal(project.label(image), square(10))


def add_as(folder: Path, who: str, cols: int, points: int = 0) -> None:
    """A second opinion on the first picture, as the dock saves it."""
    origin = {"plane": 0, "points": [dict(CLICK) for _ in range(points)]}
    with Project.open(folder) as project:
        project.sign(who)
        image = project.image("p0").id
        add_opinion(project, image, square(cols), Plane(), None, origin, AS_IT_IS)


def test_second_opinions_given_in_a_copy_come_back_once(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    mask = tmp_path / "mask.png"
    ok("label", folder, "--image", "p0", "--mask", mask, "--annotator", "anna")
    add_as(folder, "cara", 8)
    shutil.copytree(folder, copy)
    add_as(copy, "ben", 4)
    add_as(copy, "ben", 6, points=2)
    found = ok("merge", folder, copy)
    assert [(c["name"], c["planes"]) for c in found["opinions"]] == [("p0", [0])] * 2
    report = ok("report", folder)
    ben, cara = report["agreement"]
    assert ben["annotators"] == ["anna", "ben"] and cara["annotators"] == ["anna", "cara"]
    assert ben["classes"][0]["dice"] == pytest.approx(12 / 16)
    assert {g["group"]: g["actions"] for g in ok("report", folder, "--by", "annotator")["effort"]}[
        "ben"
    ] == 2
    with Project.open(folder) as project:
        image = project.image("p0").id
        np.testing.assert_array_equal(project.label(image), square(10))
        count = len(project.commits(image))
    assert ok("merge", folder, copy)["opinions"] == []
    assert ok("merge", copy, folder)["opinions"] == []
    with Project.open(folder) as project:
        assert len(project.commits(image)) == count
    assert ok("report", copy)["agreement"][0]["classes"] == ben["classes"]


def test_labels_that_are_the_same_by_two_people_count_as_agreement(
    folder: Path, tmp_path: Path
) -> None:
    copy, mask = tmp_path / "copy", tmp_path / "mask.png"
    ok("label", folder, "--image", "p2", "--mask", mask, "--annotator", "anna")
    shutil.copytree(folder, copy)
    ok("label", copy, "--image", "p2", "--mask", mask, "--annotator", "ben")  # saw anna's
    for name in ("p0", "p1"):
        ok("label", folder, "--image", name, "--mask", mask, "--annotator", "anna")
    ok("label", copy, "--image", "p0", "--mask", mask, "--annotator", "ben")
    ok("label", copy, "--image", "p1", "--mask", mask, "--annotator", "anna")
    found = ok("merge", folder, copy)
    assert [c["name"] for c in found["alike"]] == ["p0"] and found["conflicts"] == []
    (pair,) = ok("report", folder)["agreement"]
    assert pair["annotators"] == ["anna", "ben"] and pair["slices"] == 1
    assert pair["classes"] == [{"class": "cyst", "slices": 1, "dice": 1}]
    assert ok("merge", folder, copy)["alike"] == ok("merge", copy, folder)["alike"] == []


def test_conflicts_that_an_earlier_version_kept_count_as_agreement(folder: Path) -> None:
    with Project.open(folder) as project:
        image = project.image("p0").id
        project.sign("anna")
        project.commit(image, square(10))
        project.sign("ben")
        project.commit(image, square(5), source=("merge", {"from": "copy", "conflicts": [0]}))
        project.revert(image, 1)
    (pair,) = ok("report", folder)["agreement"]
    assert pair["annotators"] == ["anna", "ben"]
    assert pair["classes"][0]["dice"] == pytest.approx(2 / 3)
