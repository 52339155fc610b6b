"""A project from a stranger writes, deletes, reads and ends nothing outside, and hangs nobody."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import psutil
import pytest
from hostile import EXPORT, KINDS, everywhere, foreign_embeddings, foreign_process

from napari_scsam.cli.__main__ import main
from napari_scsam.core.errors import ProjectError
from napari_scsam.core.settings import TrainSettings
from napari_scsam.inference.process_client import SegmenterProcess
from napari_scsam.project import Project
from napari_scsam.project.process import PROCESS_FILE, end_process, record_process
from napari_scsam.rounds.child_process import start_child
from napari_scsam.rounds.running_round import RunningRound, TrainingController

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

# Generous: the slowest kind takes below a second on an idle machine.
MOST_S = 60


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    (folder / "0001").mkdir(parents=True)
    (folder / "precious.txt").write_text("a year's work")
    (folder / "precious.sqlite").write_bytes(b"SQLite format 3\0" + bytes(200))
    (folder / "journal-00000001.sqlite").write_bytes(b"not yours")
    (folder / "0001" / "unet.safetensors").write_bytes(bytes(500))
    return folder


@pytest.fixture
def trial(tmp_path: Path, outside: Path) -> Path:
    """A good project of one labelled scan, closed."""
    scan, mask = tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz"
    values = np.random.default_rng(0).integers(0, 900, (9, 7, 5)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.eye(4)), scan)
    nib.save(nib.Nifti1Image((values > 500).astype(np.uint8), np.eye(4)), mask)
    with Project.create(tmp_path / "in" / "trial", ["organ"]) as project:
        (image,) = project.add_images([scan])
        project.commit(image, np.ones((5, 7, 9), np.uint8))
    return tmp_path / "in" / "trial"


@pytest.fixture
def in_time() -> Iterator[None]:
    """A hang becomes a failure."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"it took longer than {MOST_S} s")

    if not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(MOST_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def contents(folder: Path, *but: Path) -> dict[Path, bytes | None]:
    return {
        path: path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if not any(path.is_relative_to(other) for other in but)
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_project_reaches_nothing_outside(
    trial: Path,
    outside: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    in_time: None,
    kind: str,
) -> None:
    spoil, command = KINDS[kind]
    spoil(trial, outside)
    out = tmp_path / "in" / "out"
    places = {"project": trial, "out": out, "scan": tmp_path / "scan.nii.gz"}
    places["mask"] = tmp_path / "mask.nii.gz"
    before = contents(tmp_path, trial, out)
    code = main([word.format(**places) for word in command])
    said = capsys.readouterr().err.strip()
    # It is refused in one line, or done as if nothing were wrong; never a traceback.
    assert code in (0, 2), said
    lines = [line for line in said.splitlines() if not line.startswith("napari-scsam: note: ")]
    assert len(lines) <= (code == 2) and "Traceback" not in said, said
    assert contents(tmp_path, trial, out) == before
    assert all(path.is_relative_to(out) for path in out.rglob("*"))


def test_the_documentation_lists_every_kind() -> None:
    page = Path(__file__).parents[2] / "docs" / "explanation" / "threat-model.md"
    listed = set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", page.read_text("utf-8")))
    assert len(KINDS) >= 25 and set(KINDS) <= listed


def test_an_export_names_what_is_wrong_and_in_which_file(
    trial: Path, outside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    everywhere("../../outside")(trial, outside)
    places = {"project": trial, "out": tmp_path / "out"}
    assert main([word.format(**places) for word in EXPORT]) == 2
    said = capsys.readouterr().err
    assert f"{trial / 'journal.sqlite'} is damaged" in said and "hexadecimal digits" in said
    assert not (tmp_path / "out").exists()


def test_a_log_replaces_a_link_and_leaves_what_it_led_to(trial: Path, outside: Path) -> None:
    log = trial / "rounds" / "0001.log"
    log.parent.mkdir()
    log.symlink_to(outside / "precious.txt")
    start_child("this", trial, log, trial).wait()
    assert (outside / "precious.txt").read_text() == "a year's work"
    assert log.is_file() and not log.is_symlink()


def test_the_model_process_replaces_a_linked_log(
    trial: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = trial / "cache" / "models.log"
    log.parent.mkdir(exist_ok=True)
    log.symlink_to(outside / "precious.txt")
    monkeypatch.setattr(sys, "executable", sys.executable + "-that-is-none")
    segmenter = SegmenterProcess(trial / "cache" / "embeddings")
    with pytest.raises(Exception, match="can't be started"):
        segmenter.describe()
    assert (outside / "precious.txt").read_text() == "a year's work"
    assert not log.is_symlink()


def test_a_project_with_linked_embeddings_does_not_open(trial: Path, outside: Path) -> None:
    foreign_embeddings(trial, outside)
    with pytest.raises(ProjectError, match="embeddings is a link"):
        Project.open(trial)
    assert len(list(outside.glob("*.safetensors"))) == 3


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_cancelling_ends_a_process_only_if_it_trains_this_round(trial: Path, outside: Path) -> None:
    foreign_process(trial, outside)
    partial = trial / "rounds" / "0001.partial"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        record_process(partial, other.pid)
        with Project.open(trial) as project:
            running = TrainingController(project).running
            assert isinstance(running, RunningRound)
            running.kill()
            assert other.poll() is None
            # What named it is gone, so that nobody waits for it any more.
            assert not running.alive and not (partial / PROCESS_FILE).exists()
            project.begin_round(TrainSettings())
        other.communicate(b"\n")


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_round_that_is_ours_is_ended(trial: Path) -> None:
    partial = trial / "rounds" / "0001.partial"
    partial.mkdir(parents=True)
    script = [sys.executable, "-c", "input()", "-m", "scsam_train", str(partial)]
    with subprocess.Popen(script, stdin=subprocess.PIPE) as ours:
        record_process(partial, ours.pid)
        end_process(partial, 5)
        assert not psutil.pid_exists(ours.pid)
