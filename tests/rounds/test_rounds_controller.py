"""Rounds as the dock shows them: estimated, interrupted, gone on with, and given up."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from annotation_desk import ManualRunner

from napari_scsam.core.errors import ProjectError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.settings import TrainSettings
from napari_scsam.rounds.background_jobs import BackgroundJob, JobQueue, Timing
from napari_scsam.rounds.controller import RoundsController
from napari_scsam.rounds.shown_rounds import RoundsState, hint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari_scsam.project import Project

SETTINGS = TrainSettings(steps=80, lora_rank=4)


@pytest.fixture
def labelled(project: Project) -> Project:
    (volume, _) = project.images()
    project.commit(volume.id, np.ones((20, 30), np.uint8), plane=Plane(0, 1))
    return project


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Children that wait instead of training."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*_: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", "input()"]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE))
        return started[-1]

    monkeypatch.setattr("napari_scsam.rounds.running_round.start_child", start)
    yield started
    for child in started:
        child.communicate(b"\n")


class Dock:
    """Shows what it is told, and nothing else."""

    def __init__(self, project: Project) -> None:
        self.files = ManualRunner()
        self.said: list[str] = []
        self.jobs = JobQueue()
        self.rounds = RoundsController(project, self.files, self.show, lambda: None, jobs=self.jobs)
        self.files.work()

    def show(self, state: RoundsState) -> None:
        self.said += [text for text in (state.message, state.error) if text]

    @property
    def state(self) -> RoundsState:
        return self.rounds.state


def training(step: int, loss: float, **values: Any) -> dict[str, Any]:
    part = {"step": step, "steps": 80, "fraction": step / 80, "loss_unet": loss, "eta_s": 60.0}
    return {"event": "progress", "phase": "training", "loss_sam": None, **part, **values}


def write(folder: Path, *events: dict[str, Any]) -> None:
    with (folder / "events.jsonl").open("a") as stream:
        stream.writelines(json.dumps(event) + "\n" for event in events)


def interrupt(project: Project, settings: TrainSettings = SETTINGS) -> Path:
    """What a round leaves behind that was killed at step 48 and had kept step 40."""
    folder = project.begin_round(settings)
    (folder / "resume.pt").write_bytes(b"state")
    (folder / "control.json").write_text('{"command": "pause"}')
    dice = {"pair": {"mean": 0.5}}
    write(
        folder,
        {"event": "progress", "phase": "embedding", "step": 4, "steps": 4, "eta_s": 0.0},
        *(training(step, 1 - step / 100) for step in (20, 40)),
        {"event": "kept", "step": 40},
        training(44, 0.5),
        {"event": "validation", "step": 45, "dice": dice},
        training(48, 0.4),
    )
    with (folder / "events.jsonl").open("a") as stream:
        stream.write('{"event": "progr')  # torn by a power cut
    return folder


def test_a_project_without_labels_has_no_estimate_and_one_with_labels_has(project: Project) -> None:
    dock = Dock(project)
    assert dock.state.estimate is None
    assert hint(dock.state).startswith("Commit a few slices")
    (volume, _) = project.images()
    project.commit(volume.id, np.ones((20, 30), np.uint8), plane=Plane(0, 1))
    dock.rounds.labels_changed()
    dock.files.work()
    assert dock.state.estimate is not None
    assert hint(dock.state).startswith("About 1 min, 1.8 GB (assumed for two cores).")
    dock.rounds.plan(TrainSettings(minutes=0.5))  # at once: nothing is counted again
    assert hint(dock.state).startswith("About 30 s,")
    dock.rounds.plan(TrainSettings(minutes=0.05))
    assert "In 0.05 min the U-Net sees about 0 of 1 labelled slices;" in hint(dock.state)


def test_an_interrupted_round_is_said_and_gone_on_with(
    labelled: Project, children: list[subprocess.Popen[bytes]]
) -> None:
    folder = interrupt(labelled)
    dock = Dock(labelled)
    killed = dock.state.interrupted
    assert killed is not None and (killed.number, killed.step) == (1, 40)
    assert killed.settings == SETTINGS
    assert hint(dock.state).startswith("Round 1 was interrupted at step 40. Training resumes it")
    assert "else a new one begins (about" in hint(dock.state)
    assert {"train", "cancel_train"} <= dock.state.enabled

    dock.rounds.start(SETTINGS)
    dock.files.work()
    assert dock.said[-1] == "Round 1 resumes from step 40."
    assert dock.state.interrupted is None and dock.state.text == "Resuming …"
    # As far as it had come, and not held by the pause of the window before.
    assert [step for step, _ in dock.state.loss_unet] == [20, 40, 44, 48]
    assert dock.state.fraction > 0.6 and not (folder / "control.json").exists()

    write(folder, {}, {"event": "started"})  # the first ends the torn line
    write(folder, {"event": "progress", "phase": "embedding", "step": 1, "steps": 4, "eta_s": 9.0})
    dock.rounds.tick()
    assert dock.state.fraction > 0.6 and dock.state.text.startswith("Preparing slices, 1 of 4")
    write(folder, training(42, 0.55))
    dock.rounds.tick()
    # The steps after the kept one are taken once more: their first time is not drawn.
    assert [step for step, _ in dock.state.loss_unet] == [20, 40, 42]
    assert dock.state.dice == ()
    assert dock.state.fraction == pytest.approx(0.25 + 0.7 * 42 / 80)


def test_other_settings_begin_anew(
    labelled: Project, children: list[subprocess.Popen[bytes]]
) -> None:
    folder = interrupt(labelled)
    dock = Dock(labelled)
    dock.rounds.start(TrainSettings(steps=81))
    dock.files.work()
    assert "Round 2 has begun" in dock.said[-1]
    assert dock.state.loss_unet == () and dock.state.fraction == 0
    assert not folder.exists() and dock.state.interrupted is None


def test_an_interrupted_round_is_given_up(labelled: Project) -> None:
    folder = interrupt(labelled)
    dock = Dock(labelled)
    dock.rounds.cancel()
    dock.files.work()
    assert dock.said[-1] == "Round 1 was given up; nothing else changed."
    assert dock.state.interrupted is None and "cancel_train" not in dock.state.enabled
    assert not folder.exists()
    assert Dock(labelled).state.interrupted is None


def test_only_a_killed_round_that_kept_its_state_is_interrupted(labelled: Project) -> None:
    folder = interrupt(labelled)
    write(folder, {}, {"event": "cancelled"})  # with the window gone before it was set aside
    assert labelled.interrupted_round() is None
    assert labelled.begin_round(SETTINGS).name == "0002.partial"
    again = interrupt(labelled)
    (again / "resume.pt").unlink()
    assert labelled.interrupted_round() is None
    other = interrupt(labelled)
    inputs = json.loads((other / "inputs.json").read_text())
    inputs["settings"]["of_a_newer_version"] = 1
    (other / "inputs.json").write_text(json.dumps(inputs))
    assert labelled.interrupted_round() is None


def test_a_round_that_held_images_out_goes_on_with_them(
    labelled: Project, children: list[subprocess.Popen[bytes]]
) -> None:
    (_, other) = labelled.images()
    labelled.commit(other.id, np.ones((16, 18), np.uint8), plane=Plane(0, 1))
    folder = labelled.begin_round(SETTINGS, held_out=[other.id])
    (folder / "resume.pt").write_bytes(b"state")
    dock = Dock(labelled)
    dock.rounds.start(SETTINGS)
    dock.files.work()
    assert dock.said[-1] == "Round 1 resumes from step 0." and folder.is_dir()


def test_a_paused_round_is_found_paused_by_the_next_window(
    labelled: Project, children: list[subprocess.Popen[bytes]]
) -> None:
    first = Dock(labelled)
    first.rounds.start(SETTINGS)
    first.files.work()
    first.rounds.pause_or_resume()
    folder = labelled.folder / "rounds" / "0001.partial"
    write(folder, training(5, 1.0))
    second = Dock(labelled)
    assert second.state.running and second.state.paused
    second.rounds.tick()
    assert second.state.text == "Paused." and second.state.loss_unet == ((5, 1.0),)
    second.rounds.pause_or_resume()
    assert not second.state.paused
    assert json.loads((folder / "control.json").read_text()) == {"command": "run"}


def learning(jobs: JobQueue) -> None:
    """Another job that a round waits for."""
    timing = Timing(45.0, 20.0)
    jobs.ask(BackgroundJob("tuning", lambda: None, lambda: None, lambda: timing))


def test_a_round_waits_for_what_has_nearly_finished_and_says_so(
    labelled: Project, children: list[subprocess.Popen[bytes]]
) -> None:
    dock = Dock(labelled)
    learning(dock.jobs)
    dock.rounds.start(SETTINGS)
    dock.files.work()
    said = "The round starts when learning from your labels has finished: about 20 s."
    assert dock.state.text == said and dock.state.waiting and dock.state.running
    assert dock.state.enabled == {"cancel_train"} and not children
    dock.rounds.tick()
    dock.rounds.start(SETTINGS)  # pressed twice: one round
    dock.jobs.ended("tuning")
    dock.files.work()
    assert len(children) == 1 and not dock.state.waiting
    assert dock.said[-1].startswith("Round 1 has begun")
    assert {"pause_train", "cancel_train"} == dock.state.enabled


def test_a_waiting_round_is_cancelled(
    labelled: Project, children: list[subprocess.Popen[bytes]]
) -> None:
    dock = Dock(labelled)
    learning(dock.jobs)
    dock.rounds.start(SETTINGS)
    dock.rounds.cancel()
    assert dock.said[-1] == "The round will not start; nothing changed."
    assert not dock.state.running and "train" in dock.state.enabled
    dock.jobs.ended("tuning")
    dock.files.work()
    assert not children and not list((labelled.folder / "rounds").glob("*"))


def test_a_waiting_round_is_not_lost_with_the_window(
    labelled: Project, children: list[subprocess.Popen[bytes]]
) -> None:
    dock = Dock(labelled)
    dock.rounds.close()  # nothing waits
    assert not children
    learning(dock.jobs)
    dock.rounds.start(SETTINGS)
    dock.rounds.close()
    assert len(children) == 1 and Dock(labelled).state.running


def test_a_round_frees_the_place_when_it_has_ended_or_could_not_begin(
    labelled: Project, children: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    dock = Dock(labelled)
    dock.rounds.start(SETTINGS)
    dock.rounds.rollback()  # there is none: it fails while the round is about to begin
    dock.files.work()
    assert "no earlier active round" in dock.said[-1] and dock.jobs.running == "round"
    assert dock.state.running
    assert Dock(labelled).jobs.running == "round"  # that of the window before
    children[0].kill()
    children[0].wait()
    dock.rounds.tick()
    dock.files.work()
    assert "ended unexpectedly" in dock.said[-1] and dock.jobs.running is None

    def refuse(*_: Any) -> None:
        raise ProjectError("No.")

    monkeypatch.setattr("napari_scsam.rounds.running_round.start_child", refuse)
    dock.rounds.start(SETTINGS)
    dock.files.work()
    assert dock.said[-1] == "No." and dock.jobs.running is None and not dock.state.running


def test_the_time_left_is_what_the_round_has_measured_and_then_how_fast_it_is(
    labelled: Project, children: list[subprocess.Popen[bytes]]
) -> None:
    dock = Dock(labelled)
    dock.rounds.start(SETTINGS)
    dock.files.work()
    folder = labelled.folder / "rounds" / "0001.partial"
    write(folder, training(8, 1.0, eta_s=20.0))
    dock.rounds.tick()
    assert dock.state.text == "Training, 8 of 80 · about 20 s left"
    measured = {"seconds": 540.0, "pictures": 3200, "seconds_per_picture": 0.169}
    write(folder, {"event": "estimate", **measured})
    dock.rounds.tick()
    assert dock.said[-1] == (
        "On this machine a picture takes 0.17 s: about 9 min for 3,200 pictures, or less if it "
        "stops improving earlier."
    )
    # Three quarters of the training that was measured are left: 405 s, of which a quarter is said
    # by the pace so far.
    write(folder, training(26, 1.0, eta_s=5.0))
    dock.rounds.tick()
    left = (1 - 26 / 80) * 540 * (54 / 80) / 0.9 + 26 / 80 * 5
    assert left == pytest.approx(275, abs=1)
    assert dock.state.text == "Training, 26 of 80 · about 5 min left"
    write(folder, training(79, 1.0, eta_s=5.0, pictures=3160))
    dock.rounds.tick()
    assert dock.state.text == "Training, 3,160 of 3,200 pictures · about 5 s left"


def test_a_round_that_ends_when_it_has_learned_says_so(
    labelled: Project, children: list[subprocess.Popen[bytes]]
) -> None:
    dock = Dock(labelled)
    dock.rounds.start(SETTINGS)
    dock.files.work()
    folder = labelled.folder / "rounds" / "0001.partial"
    write(folder, {"event": "early_stop", "pictures": 2400, "best_pictures": 1800})
    dock.rounds.tick()
    assert dock.said[-1] == (
        "The round no longer improves: it ends after 2,400 pictures. Held-out slices were "
        "best after 1,800."
    )


def test_it_is_said_what_each_round_takes_and_a_pruned_one_is_refused(
    labelled: Project, finish_round: Callable[..., Path]
) -> None:
    for pair, parent in ((0.5, None), (0.6, 0.5), (0.7, 0.6)):
        finish_round(labelled.begin_round(SETTINGS), pair, parent)
        labelled.adopt_rounds()
    labelled.prune_rounds(1)
    dock = Dock(labelled)
    folders = [record.folder for record in dock.state.rounds]
    expected = [sum(f.stat().st_size for f in folder.iterdir()) for folder in folders]
    assert [dock.state.sizes[number] for number in (1, 2, 3)] == expected
    assert [record.pruned for record in dock.state.rounds] == [True, False, False]
    dock.rounds.promote(1)
    dock.files.work()
    assert any(text.startswith("Round 1 was pruned") for text in dock.said)
