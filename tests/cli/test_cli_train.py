"""Training by the command line: who is held out, and how it is ended."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
import tifffile
from command_line import here

from napari_scsam.cli import training
from napari_scsam.core.errors import Cancelled
from napari_scsam.core.settings import TrainSettings
from napari_scsam.project import Project
from napari_scsam.project.process import record_process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CLI = [sys.executable, "-m", "napari_scsam.cli"]
QUICK = (
    "--recipe",
    "supervised",
    "--steps",
    "1",
    "--image-size",
    "32",
    "--unlabelled-planes",
    "0",
    "--unet",
    "pretrained",
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Three pictures of a block: two of one patient, and one of another."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{name}.tif" for name in ("left", "right", "other")]
    for path in paths:
        pixels = rng.integers(0, 60, (40, 48), np.uint8)
        pixels[8:20, 10:30] += 120
        tifffile.imwrite(path, pixels, photometric="minisblack")
    with Project.create(tmp_path / "project", ["block"]) as made:
        ids = made.add_images(paths, cases={paths[0]: "anna", paths[1]: "anna"})
        mask = np.zeros((40, 48), np.uint8)
        mask[8:20, 10:30] = 1
        for image in ids:
            made.commit(image, mask)
    return tmp_path / "project"


def test_images_are_held_out_by_path_or_id(project: Path, forked_rounds: None) -> None:
    with Project.open(project, read_only=True) as opened:
        left, right, other = (image.id for image in opened.images())
    asked = ("--held-out", project.parent / "left.tif", right)
    done = here("train", project, *QUICK, *asked)
    assert done.returncode == 0, done.stderr
    first, changed = done.stdout.splitlines()
    assert first == "Round 1 is the first: now active."
    assert re.fullmatch(r"Round 1: block \d\.\d\d on 1 held-out case\.", changed)
    folder = project / "rounds" / "0001"
    split = json.loads((folder / "split.json").read_text())
    assert split["held_out"] == [f"{left}:0", f"{right}:0"] and split["train"] == [f"{other}:0"]
    assert split["cases"] == {"train": [other], "held_out": ["anna"]}


@pytest.mark.parametrize(
    ("held_out", "message"),
    [
        (["left.tif"], "The case anna would be on both sides: left"),
        (["left.tif", "right.tif", "other.tif"], "Every labelled image is held out"),
        (["nowhere.tif"], "There is no image"),
    ],
)
def test_what_can_not_be_held_out_is_one_line(
    project: Path, held_out: list[str], message: str
) -> None:
    names = (project.parent / name for name in held_out)
    done = here("train", project, *QUICK, "--held-out", *names)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert message in line
    assert not list((project / "rounds").glob("*"))


@pytest.mark.parametrize("command", ["train", "tune"])
@pytest.mark.parametrize(
    ("inside", "job"), [("rounds", "Round 3"), ("tuned", "Learning from your labels")]
)
def test_beside_another_job_of_the_project_none_begins(
    project: Path, command: str, inside: str, job: str
) -> None:
    partial = project / inside / "0003.partial"
    partial.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        record_process(partial, child.pid)
        done = here(command, project)
        child.communicate(b"\n")
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"napari-scsam: {job} is still running")
    assert [p.name for p in (project / inside).iterdir()] == ["0003.partial"]


def test_too_few_minutes_and_what_the_round_measures_stay_on_the_screen(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Running:
        resumed = False

        def run(self, on_event: Callable[[dict[str, Any]], None], stop: Any) -> None:
            measured = {"seconds": 90.0, "pictures": 1200, "seconds_per_picture": 0.08}
            on_event({"event": "estimate", **measured})
            on_event({"event": "early_stop", "pictures": 900, "best_pictures": 600})

    class Controller:
        def __init__(self, project: Project) -> None:
            pass

        def start(self, *_: Any) -> Running:
            return Running()

    monkeypatch.setattr(training, "TrainingController", Controller)
    with pytest.raises(Cancelled):
        training.train(project, settings=TrainSettings(minutes=0.05))
    first, *others = capsys.readouterr().err.splitlines()
    assert first.startswith("About 5 s, ")
    # Of 3 s, loading takes 2 and an embedding 0.6; the two slices of one case are held out.
    assert others == [
        "In 0.05 min the U-Net sees about 0 of 1 labelled slices; 0.5 min are enough to see each "
        "once.",
        "On this machine a picture takes 0.08 s: about 2 min for 1,200 pictures, or less if it "
        "stops improving earlier.",
        "The round no longer improves: it ends after 900 pictures. Held-out slices were best after "
        "600.",
    ]


def wait_until_training(project: Path) -> Path:
    """The folder of the round, once its process has taken a step."""
    end = time.monotonic() + 90
    events = project / "rounds" / "0001.partial" / "events.jsonl"
    while not (events.is_file() and '"phase": "training"' in events.read_text()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
    return events.parent


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
def test_sigterm_cancels_as_ctrl_c_does(project: Path, nothing_runs_on: None) -> None:
    command = [*CLI, "train", str(project), *QUICK[:2], "--steps", "100000", *QUICK[4:]]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True) as running:
        folder = wait_until_training(project)
        child = psutil.Process(json.loads((folder / "process.json").read_text())["pid"])
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 130 and out == ""
    assert err.splitlines()[-1] == "napari-scsam: Cancelled."
    assert not child.is_running()
    # The child ended by itself, and the project is ready for the next round.
    told = (folder.with_suffix(".failed") / "events.jsonl").read_text().splitlines()
    assert json.loads(told[-1])["event"] == "cancelled" and not folder.exists()
    with Project.open(project) as opened:
        assert opened.rounds() == []
