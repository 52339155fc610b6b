"""The switch of tuning in the dock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QCheckBox

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
