"""Rounds: what goes in, what comes out, and which one is active."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_scsam.core.errors import InputError, ProjectError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.settings import TrainSettings
from napari_scsam.project import Project
from napari_scsam.project.process import record_process
from napari_scsam.project.promotion import judge

Finish = Callable[..., Path]
SETTINGS = TrainSettings(steps=7)


@pytest.fixture
def labelled(project: Project) -> Project:
    image = project.images()[0].id
    project.commit(image, np.ones((7, 9), np.uint8), plane=Plane(0, 2))
    return project


def run_round(project: Project, finish: Finish, pair: float, parent: float | None) -> str:
    finish(project.begin_round(SETTINGS), pair, parent)
    (record,) = project.adopt_rounds()
    return record.reason


def test_a_round_needs_a_label(project: Project) -> None:
    with pytest.raises(ProjectError, match="no label to learn from"):
        project.begin_round(SETTINGS)
    image = project.images()[0].id
    project.commit(image, np.ones((7, 9), np.uint8), plane=Plane(0, 2))
    project.revert(image, None)
    with pytest.raises(ProjectError, match="no label to learn from"):
        project.begin_round(SETTINGS)


def test_inputs_name_every_image_and_the_label_that_counts(labelled: Project) -> None:
    folder = labelled.begin_round(SETTINGS)
    assert folder == labelled.folder / "rounds" / "0001.partial"
    inputs = json.loads((folder / "inputs.json").read_text())
    assert inputs["schema"] == 1
    assert (inputs["round"], inputs["project"], inputs["modality"]) == (1, "trial", "mr")
    assert inputs["classes"][1] == {"id": 2, "name": "tumour", "colour": "#56B4E9"}
    assert inputs["parent_round"] is None
    assert TrainSettings.from_dict(inputs["settings"]) == SETTINGS
    volume, picture = inputs["images"]
    assert picture["label"] is None
    assert (volume["shape"], volume["rgb"], picture["rgb"]) == ([5, 7, 9], False, True)
    for item in (volume, picture, volume["label"]):
        content = Path(item["path"]).read_bytes()
        assert Path(item["path"]).is_absolute()
        assert hashlib.sha256(content).hexdigest() == item["sha256"]
    labelled.commit(volume["id"], np.zeros((7, 9), np.uint8), plane=Plane(0, 3))
    assert volume["label"]["version"] == 1
    content = Path(volume["label"]["path"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == volume["label"]["sha256"]


def test_images_are_held_out_by_id_or_path_and_written_down(
    labelled: Project, scans: list[Path]
) -> None:
    volume, picture = labelled.images()
    labelled.commit(picture.id, np.ones((6, 8), np.uint8))
    for given in (volume.id, scans[0]):
        folder = labelled.begin_round(SETTINGS, held_out=[given, volume.id])
        assert json.loads((folder / "inputs.json").read_text())["held_out"] == [volume.id]
    folder = labelled.begin_round(SETTINGS)
    assert json.loads((folder / "inputs.json").read_text())["held_out"] == []


def test_an_interrupted_round_with_another_split_is_begun_anew(labelled: Project) -> None:
    volume, picture = labelled.images()
    labelled.commit(picture.id, np.ones((6, 8), np.uint8))
    first = labelled.begin_round(SETTINGS, held_out=[volume.id])
    (first / "resume.pt").write_bytes(b"state")
    assert labelled.begin_round(SETTINGS, held_out=[volume.id]) == first
    assert labelled.begin_round(SETTINGS, held_out=[picture.id]) != first


def test_what_can_not_be_held_out_begins_no_round(tmp_path: Path, scans: list[Path]) -> None:
    with Project.create(tmp_path / "cases", ["prostate"]) as project:
        ids = project.add_images(scans, cases=dict.fromkeys(scans, "anna"))
        project.commit(ids[0], np.ones((5, 7, 9), np.uint8))
        for held_out, message in (
            (["nowhere"], "no image nowhere"),
            ([ids[1]], rf"picture \({ids[1]}\) can't be held out: it has no label"),
            ([ids[0]], "Every labelled image is held out"),
        ):
            with pytest.raises(InputError, match=message):
                project.begin_round(SETTINGS, held_out=held_out)
        project.commit(ids[1], np.ones((6, 8), np.uint8))
        with pytest.raises(InputError, match=r"case anna .* volume .* held out, but picture"):
            project.begin_round(SETTINGS, held_out=[ids[0]])
        assert not list((project.folder / "rounds").glob("*"))


def test_images_that_are_gone_are_left_out(labelled: Project, scans: list[Path]) -> None:
    scans[1].unlink()
    inputs = json.loads((labelled.begin_round(SETTINGS) / "inputs.json").read_text())
    assert [Path(i["path"]).name for i in inputs["images"]] == ["volume.nii.gz"]
    scans[0].unlink()
    with pytest.raises(ProjectError, match="files of all labelled images are gone"):
        labelled.begin_round(SETTINGS)


def test_better_rounds_become_active_and_worse_ones_do_not(
    labelled: Project, finish_round: Finish
) -> None:
    assert labelled.active_round() is None
    assert run_round(labelled, finish_round, 0.8, None) == "Round 1 is the first: now active."
    assert run_round(labelled, finish_round, 0.83, 0.8) == (
        "Round 2 is better by 0.03 Dice on 6 held-out cases: now active."
    )
    assert run_round(labelled, finish_round, 0.7, 0.83) == (
        "Round 3 was not better (0.70 against 0.83 Dice on 6 held-out cases); round 2 stays active."
    )
    active = labelled.active_round()
    assert active is not None
    assert (active.number, active.folder.name) == (2, "0002")
    assert active.metrics["dice"]["pair"]["mean"] == 0.83
    assert [(r.number, r.active) for r in labelled.rounds()] == [(1, False), (2, True), (3, False)]
    inputs = json.loads((labelled.begin_round(SETTINGS) / "inputs.json").read_text())
    manifest = hashlib.sha256((active.folder / "manifest.json").read_bytes()).hexdigest()
    parent = {"number": 2, "folder": str(active.folder), "manifest": manifest}
    assert inputs["parent_round"] == parent


@pytest.mark.parametrize(
    ("pair", "parent", "promoted", "words"),
    [
        (0.9, 0.9, True, "as good as before"),
        (0.9, 0.9 + 5e-7, True, "as good as before"),
        (0.9, 0.9 + 5e-6, False, "not better"),
        (0.9012, 0.9, True, "better by 0.0012 Dice"),
        (0.1, None, False, "could not be compared"),
        (float("nan"), 0.5, False, "could not be compared"),
        (0.5, float("nan"), False, "could not be compared"),
    ],
)
def test_the_gate(pair: float, parent: float | None, promoted: bool, words: str) -> None:
    metrics = {
        "gated": True,
        "dice": {"pair": {"prostate": pair, "mean": pair}},
        "parent": None if parent is None else {"pair": {"prostate": parent, "mean": parent}},
        "validation": {"cases": 1},
    }
    verdict, reason = judge(4, metrics, 3)
    assert verdict is promoted
    assert words in reason
    assert "1 held-out case" in reason
    assert "cases" not in reason


@pytest.mark.parametrize(
    ("difference", "error", "promoted"),
    [
        (-0.07, 0.05, True),  # nine polyps on which a better round was worse
        (-0.07, 0.034, False),
        (-0.1, 0.0, False),
        (-0.1, None, False),  # a single slice says nothing of its error
    ],
)
def test_a_round_is_refused_only_if_it_is_clearly_worse(
    difference: float, error: float | None, promoted: bool
) -> None:
    metrics = {
        "gated": True,
        "dice": {"pair": {"prostate": 0.80, "mean": 0.80}},
        "parent": {"pair": {"prostate": 0.87, "mean": 0.87}},
        "comparison": {
            "unit": "case",
            "count": 9,
            "difference": difference,
            "standard_error": error,
        },
        "validation": {"cases": 9},
    }
    verdict, reason = judge(4, metrics, 3)
    assert verdict is promoted
    assert ("not clearly worse (0.80 against 0.87 Dice" in reason) is promoted
    assert ("round 3 stays active" in reason) is not promoted


def test_a_class_that_appears_late_wins_nothing_by_itself(
    labelled: Project, finish_round: Finish
) -> None:
    run_round(labelled, finish_round, 0.8, None)
    dice = {"pair": {"prostate": 0.7, "tumour": 0.95, "mean": 0.825}}
    finish_round(labelled.begin_round(SETTINGS), 0.7, 0.8, dice=dice)
    (record,) = labelled.adopt_rounds()
    assert not record.active
    assert record.reason == (
        "Round 2 was not better (0.70 against 0.80 Dice on 6 held-out cases); "
        "round 1 stays active. New, so not compared: tumour."
    )


def test_an_ungated_round_is_promoted_and_says_why(labelled: Project, finish_round: Finish) -> None:
    run_round(labelled, finish_round, 0.8, None)
    finish_round(labelled.begin_round(SETTINGS), 0.1, 0.9, gated=False)
    (record,) = labelled.adopt_rounds()
    assert record.active
    assert "not checked against round 1 (there is one labelled case)" in record.reason


def test_promote_by_hand_and_roll_back(labelled: Project, finish_round: Finish) -> None:
    with pytest.raises(ProjectError, match="no earlier active round"):
        labelled.rollback()
    run_round(labelled, finish_round, 0.8, None)
    run_round(labelled, finish_round, 0.7, 0.8)
    with pytest.raises(ProjectError, match="no earlier active round"):
        labelled.rollback()
    assert labelled.promote(2).active
    with pytest.raises(ProjectError, match=r"no round 9; there are \[1, 2\]"):
        labelled.promote(9)
    assert labelled.rollback().number == 1
    active = labelled.active_round()
    assert active is not None
    assert active.number == 1
    assert "set aside" in labelled.rounds()[1].reason


@pytest.mark.parametrize("victim", ["unet.safetensors", "metrics.json", "inputs.json"])
def test_a_damaged_round_is_listed_but_never_used(
    labelled: Project, finish_round: Finish, victim: str
) -> None:
    folder = finish_round(labelled.begin_round(SETTINGS), 0.8, None)
    with (folder / victim).open("ab") as stream:
        stream.write(b" ")
    (record,) = labelled.adopt_rounds()
    assert not record.active
    assert f"{victim} is not what was trained" in record.reason
    assert labelled.active_round() is None
    with pytest.raises(ProjectError, match="Round 1 can't be used"):
        labelled.promote(1)
    assert labelled.adopt_rounds() == []


def test_a_round_that_lost_a_file_says_which(labelled: Project, finish_round: Finish) -> None:
    folder = finish_round(labelled.begin_round(SETTINGS), 0.8, None)
    (folder / "unet.safetensors").unlink()
    (record,) = labelled.adopt_rounds()
    assert "unet.safetensors can't be read: No such file" in record.reason


@pytest.mark.parametrize(
    "manifest",
    ["", "{}", "[1]", '{"files": {}, "data": ""}', '{"files": {"metrics.json": 1}}'],
)
def test_a_manifest_that_is_none_is_noticed(
    labelled: Project, finish_round: Finish, manifest: str
) -> None:
    folder = finish_round(labelled.begin_round(SETTINGS), 0.8, None)
    (folder / "manifest.json").write_text(manifest)
    (record,) = labelled.adopt_rounds()
    assert "can't be used" in record.reason


def test_a_manifest_can_not_reach_outside_its_folder(
    labelled: Project, finish_round: Finish
) -> None:
    folder = finish_round(labelled.begin_round(SETTINGS), 0.8, None)
    manifest = json.loads((folder / "manifest.json").read_text())
    outside = labelled.folder / "project.toml"
    manifest["files"]["../../project.toml"] = hashlib.sha256(outside.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (record,) = labelled.adopt_rounds()
    assert "outside its folder" in record.reason


def test_opening_adopts_what_finished_meanwhile(labelled: Project, finish_round: Finish) -> None:
    partial = labelled.begin_round(SETTINGS)
    labelled.close()
    finish_round(partial, 0.8, None)
    with Project.open(labelled.folder, read_only=True) as reader:
        assert reader.rounds() == []
    with Project.open(labelled.folder) as again:
        active = again.active_round()
        assert active is not None
        assert active.number == 1


def test_only_one_round_is_trained_at_a_time(labelled: Project) -> None:
    folder = labelled.begin_round(SETTINGS)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with child:
        record_process(folder, child.pid)
        with pytest.raises(ProjectError, match="Round 1 is being trained"):
            labelled.begin_round(SETTINGS)
        child.kill()
    assert labelled.begin_round(SETTINGS).name == "0002.partial"
    assert not folder.exists()


def test_a_discarded_round_stays_to_be_looked_at_until_the_next_begins(labelled: Project) -> None:
    folder = labelled.begin_round(SETTINGS)
    labelled.discard_partial(folder)
    failed = folder.with_suffix(".failed")
    assert (failed / "inputs.json").is_file()
    labelled.discard_partial(folder)
    assert labelled.adopt_rounds() == []
    shutil.rmtree(failed)
    assert labelled.begin_round(SETTINGS).name == "0002.partial"
