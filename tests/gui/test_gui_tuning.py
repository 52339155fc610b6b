"""The switch of tuning in the dock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QCheckBox

from napari_scsam.core.errors import ProjectError
from napari_scsam.core.geometry import Plane
from napari_scsam.project import Project
from napari_scsam.rounds import tuning
from napari_scsam.rounds.tuning import TuningState

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.gui


def test_the_switch_turns_it_off_and_stays_off(
    hand: Any, tmp_path: Path, volume_path: Path
) -> None:
    hand.dock.create_project(tmp_path / "project", ["disc"], [volume_path])
    hand.wait_for_image()
    box, text = hand.find("use_tuned", QCheckBox), hand.find("tuned_text")
    assert box.isChecked() and text.text() == tuning.WAITING
    hand.qtbot.mouseClick(box, Qt.MouseButton.LeftButton, pos=QPoint(8, box.height() // 2))
    hand.until(lambda: text.text() == tuning.OFF)
    assert not hand.dock.session.tuning.state.use
    hand.dock.open_project_folder(tmp_path / "project")
    hand.until(lambda: hand.dock.session is not None and not box.isChecked())
    hand.until(lambda: text.text() == tuning.OFF)


def test_it_says_what_the_last_one_brought(hand: Any) -> None:
    said = "Tuned on 5 slices: first click 0.71 → 0.82 on held-out slices."
    hand.dock.show_tuning(TuningState(text=said))
    assert hand.find("tuned_text").text() == said


def test_opening_a_project_starts_no_tuning_and_a_commit_does(
    hand: Any, tmp_path: Path, volume_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[int] = []

    def start(project: Project, _settings: Any) -> Any:
        began.append(project.commit_count())
        raise ProjectError("It was asked for.")

    monkeypatch.setattr(tuning, "FIRST", 1)
    monkeypatch.setattr(tuning.RunningTuning, "start", start)
    with Project.create(tmp_path / "project", ["disc"]) as project:
        (image,) = project.add_images([volume_path])
        project.commit(image, np.ones((96, 80), np.uint8), plane=Plane(0, 1))
    hand.dock.open_project_folder(tmp_path / "project")
    hand.wait_for_image()
    hand.until(lambda: hand.find("queue_title").text() == "1 of 1 cases, 1 of 6 slices")
    hand.qtbot.wait(300)
    assert began == []
    hand.click(34, 58)
    hand.wait_for_mask()
    hand.press("commit")
    hand.until(lambda: began == [2])


def test_how_far_a_tuning_is_and_its_end_are_shown(hand: Any) -> None:
    bar, line = hand.find("tune_progress"), hand.find("tuning_line")
    hand.find("tuning_fold").setChecked(True)
    hand.dock.show_tuning(TuningState(running=True, fraction=0.4, text="About 20 s left"))
    assert (bar.value(), line.text()) == (40, "Learning from your labels: 40%")
    hand.dock.show_tuning(TuningState(text="Tuned.", message="Learning has ended. Tuned."))
    assert bar.isHidden() and line.text() == "Learning from your labels: on"
    assert hand.status() == "Learning has ended. Tuned."
