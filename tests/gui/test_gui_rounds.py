"""Rounds by mouse: what one takes, pause, resume and cancel, promote and roll back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gui.conftest import Hand

    from napari_scsam._qt.dock import ScsamDock

import json
import os
from pathlib import Path

import numpy as np
import pytest

from napari_scsam._qt.training_panel import TICK_MS
from napari_scsam.core.geometry import Plane
from napari_scsam.core.settings import TrainSettings
from napari_scsam.project import Project
from napari_scsam.rounds.assumed_costs import Past, Planes
from napari_scsam.rounds.background_jobs import BackgroundJob, Timing
from napari_scsam.rounds.machine_speed import SpeedController, small_round
from napari_scsam.rounds.measured_costs import remember

pytestmark = pytest.mark.gui
WANTED = SpeedController.wanted  # which the dock of these tests does without
# Of small steps, and without an end.
ENDLESS = TrainSettings(
    steps=100_000, unet="pretrained", image_size=32, unlabelled_planes=0, holdout=0.0
)


@pytest.fixture
def folder(volume_path: Path, tmp_path: Path, nothing_runs_on: None) -> Path:
    """A project with one labelled slice."""
    with Project.create(tmp_path / "project", ["disc"]) as project:
        (image,) = project.add_images([volume_path])
        label = np.zeros((96, 80), np.uint8)
        label[20:48, 44:72] = 1
        project.commit(image, label, plane=Plane(0, 1))
    return tmp_path / "project"


def hint(hand: Hand) -> str:
    return hand.find("train_text").text()


def test_what_a_round_takes_is_said_before_it_and_follows_settings_and_labels(
    hand: Hand, dock: ScsamDock, folder: Path
) -> None:
    dock.open_project_folder(folder)
    hand.wait_for_image()
    hand.until(lambda: hint(hand).startswith("About 1 min, 1.7 GB (assumed for two cores)."))
    assert "views of slices" in hand.find("train_text").toolTip()
    hand.find("train_settings").click()
    hand.find("setting_minutes").setValue(0.5)
    assert hint(hand).startswith("About 30 s, ")
    hand.find("setting_minutes").setValue(0)
    recipe = hand.find("setting_recipe")
    recipe.setCurrentIndex(recipe.findData("supervised"))
    assert hint(hand).startswith("About 40 s, 1.3 GB")
    recipe.setCurrentIndex(recipe.findData("scsam"))
    before = hand.find("train_text").toolTip()
    hand.click(34, 58)
    hand.wait_for_mask()
    hand.press("commit")
    hand.until(lambda: hand.find("train_text").toolTip() != before)


def test_a_first_round_is_announced_by_what_this_machine_was_measured_at(
    hand: Hand, dock: ScsamDock, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {"device": "cpu", "seconds_per_embedding": 0.5, "seconds_per_step": 0.25}
    small = Past(None, small_round(), Planes(1, 0, 1, 1), rates)
    monkeypatch.setattr("napari_scsam.rounds.machine_speed.measure", lambda cancel: remember(small))
    monkeypatch.setattr(SpeedController, "wanted", WANTED)
    monkeypatch.setattr("napari_scsam.rounds.machine_speed.wait_until_idle", lambda cancel: True)
    dock.open_project_folder(folder)
    hand.wait_for_image()
    hand.until(lambda: "(measured on this machine)" in hint(hand))


def test_a_round_says_what_it_waits_for_and_is_called_off(
    hand: Hand, dock: ScsamDock, folder: Path
) -> None:
    dock.open_project_folder(folder)
    hand.wait_for_image()
    rounds = dock.session.rounds
    # A tuning of which more than half is done.
    job = BackgroundJob("tuning", lambda: None, lambda: None, lambda: Timing(45, 20))
    rounds._turn._jobs.ask(job)
    hand.press("train")
    said = "The round starts when learning from your labels has finished: about 20 s."
    assert hint(hand) == said
    assert not hand.find("train_progress").isVisible()
    assert not hand.find("pause_train").isVisible() and not hand.find("train").isEnabled()
    assert hand.find("cancel_train").text() == "Cancel"
    hand.press("cancel_train")
    assert hand.status() == "The round will not start; nothing changed."
    assert hand.find("train").isEnabled() and not hand.find("cancel_train").isVisible()
    assert not (folder / "rounds").exists()


def test_a_round_is_paused_resumed_and_cancelled(
    hand: Hand, dock: ScsamDock, folder: Path, endless_rounds: None
) -> None:
    dock.open_project_folder(folder)
    hand.wait_for_image()
    panel = dock._parts.training
    panel.form.show_settings(ENDLESS)
    hand.press("train")
    plot = hand.find("train_plot")
    hand.until(lambda: plot.point_count > 0)
    hand.press("pause_train")
    assert hand.find("pause_train").text() == "Resume" and hint(hand) == "Paused."
    events = folder / "rounds" / "0001.partial" / "events.jsonl"
    hand.until(lambda: "Paused." in events.read_text())  # the step under way has ended
    hand.qtbot.wait(2 * TICK_MS)  # its event is read
    held = plot.point_count
    hand.qtbot.wait(1000)  # twice as long as between two reports of progress
    assert plot.point_count == held and hint(hand) == "Paused."

    hand.press("pause_train")
    assert hand.find("pause_train").text() == "Pause"
    hand.until(lambda: plot.point_count > held)
    assert hint(hand).startswith("Training, ")
    hand.press("cancel_train")
    hand.until(lambda: hand.status() == "Round 1 was cancelled; nothing changed.")
    assert not hand.find("cancel_train").isVisible() and hand.find("train").isEnabled()
    assert dock.session.project.rounds() == []
    assert not list((folder / "rounds").glob("*.partial"))


def test_rounds_are_made_active_and_rolled_back(
    hand: Hand, dock: ScsamDock, folder: Path, finish_round: Callable[..., Path]
) -> None:
    with Project.open(folder) as project:
        finish_round(project.begin_round(ENDLESS), 0.8, None)
        project.adopt_rounds()
        finish_round(project.begin_round(ENDLESS), 0.7, 0.8)
        project.adopt_rounds()
    dock.open_project_folder(folder)
    hand.wait_for_image()
    rows, summary = hand.find("rounds"), hand.find("train_summary")
    assert [rows.item(i).text()[0] for i in range(rows.count())] == ["●", "○"]
    assert summary.text() == "Round 1 active  ·  Dice 0.80"

    rows.setCurrentRow(1)
    assert "was not better" in hand.find("metrics").text()
    hand.press("promote")
    hand.until(lambda: summary.text() == "Round 2 active  ·  Dice 0.70")
    assert [rows.item(i).text()[0] for i in range(rows.count())] == ["○", "●"]
    assert dock.session.project.active_round().number == 2
    hand.press("rollback")
    hand.until(lambda: summary.text() == "Round 1 active  ·  Dice 0.80")
    assert dock.session.project.active_round().number == 1
    hand.press("rollback")  # there was none before it
    hand.until(lambda: "no earlier active round" in hand.status())
    assert "\n" not in hand.status()


def test_what_a_round_changed_is_said_when_it_ends(
    hand: Hand,
    dock: ScsamDock,
    folder: Path,
    finish_round: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    monkeypatch.setattr("napari_scsam.rounds.running_round.ROUND_MODULE", "round_stand_in")
    with Project.open(folder) as project:
        finish_round(project.begin_round(ENDLESS), 0.8, None)
        project.adopt_rounds()
    dock.open_project_folder(folder)
    hand.wait_for_image()
    hand.press("train")
    hand.until(lambda: hand.status().startswith("Round 2 is better by 0.03 Dice"))
    assert hand.status().endswith(": now active. disc 0.83 (+0.03).")


def test_the_line_of_progress_says_when_fewer_suggestions_are_accepted(
    hand: Hand, dock: ScsamDock, folder: Path
) -> None:
    def commit(project: Project, state: str) -> None:
        point = {"row": 1, "col": 2, "class_id": 1, "origin": "model", "state": state}
        source = ("prompts", {"points": [point], "boxes": [], "strokes": [], "drawn": []})
        label = np.ones((96, 80), np.uint8)
        project.commit(project.images()[0].id, label, plane=Plane(0, 1), source=source)

    with Project.open(folder) as project:
        for number in range(39):
            commit(project, "accepted" if number < 20 else "edited")
    dock.open_project_folder(folder)
    hand.wait_for_image()
    line = "Fewer suggestions are accepted unedited: 100% before, 5% of the last 20"
    hand.until(lambda: hand.find("progress_line").text() == line)
    assert not hand.find("acceptance_fall").isVisible()  # in the panel, which is folded
    hand.find("progress_fold").click()
    assert hand.find("acceptance_fall").text().startswith(f"{line}. Train a round")
    assert hand.find("acceptance_fall").isVisible()


def test_an_interrupted_round_is_offered_and_given_up(
    hand: Hand, dock: ScsamDock, folder: Path
) -> None:
    with Project.open(folder) as project:
        partial = project.begin_round(ENDLESS)
    (partial / "resume.pt").write_bytes(b"state")
    (partial / "events.jsonl").write_text(json.dumps({"event": "kept", "step": 40}) + "\n")
    dock.open_project_folder(folder)
    hand.wait_for_image()
    assert "Round 1 was interrupted at step 40." in hint(hand)
    assert hand.find("train").text() == "Go on training"
    # So that Train goes on with it: its settings are in the form, those without an editor, too.
    assert dock._parts.training.form.settings() == ENDLESS
    hand.press("cancel_train")
    hand.until(lambda: hand.status() == "Round 1 was given up; nothing else changed.")
    assert hand.find("train").text() == "Train round"
    assert not hand.find("cancel_train").isVisible() and not partial.exists()
    assert dock._parts.training.form.settings().image_size == TrainSettings().image_size


def test_that_a_round_can_not_be_judged_is_said_before_the_press(
    hand: Hand, dock: ScsamDock, folder: Path, picture_path: Path
) -> None:
    with Project.open(folder) as project:
        (other,) = project.add_images([picture_path])
    dock.open_project_folder(folder)
    hand.wait_for_image()
    hand.until(lambda: "can't be judged: label a second case" in hint(hand))
    assert hand.find("train").isEnabled()
    assert hand.find("train_summary").text() == "No round yet  ·  about 1 min to train"
    dock.session.annotation.navigation.open_image(other)
    hand.until(lambda: dock.session.annotation.key == (other, Plane(0, 0)))
    hand.click(25, 62)
    hand.wait_for_mask()
    hand.press("commit")
    hand.until(lambda: "can't be judged" not in hint(hand))


def test_a_round_has_a_time_limit_unless_it_is_taken_away(
    hand: Hand, dock: ScsamDock, folder: Path
) -> None:
    limit = hand.find("setting_minutes")
    assert limit.value() == 15
    remember(Past(None, small_round(), Planes(1, 0, 1, 1), {"device": "cpu", **SLOW}))
    dock.open_project_folder(folder)
    hand.wait_for_image()
    hand.until(lambda: hint(hand).startswith("About 15 min, "))
    limit.setValue(0)
    assert hint(hand).startswith("About 10 h, ")


# Of a machine on which 480 pictures take ten hours.
SLOW = {"seconds_per_embedding": 0.5, "seconds_per_picture": 75.0}
