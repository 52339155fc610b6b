"""What is made in a child process when a button is pressed: the report, two rounds compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from qtpy.QtWidgets import QLabel, QWidget

from napari_scsam.core.geometry import Plane
from napari_scsam.core.jobs import Progress
from napari_scsam.core.settings import TrainSettings
from napari_scsam.project import Project
from napari_scsam.workflows.comparing import ClassDice, Compared

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gui.conftest import Hand

    from napari_scsam._qt.dock import ScsamDock

pytestmark = pytest.mark.gui
SIDES = (96, 80)


@pytest.fixture
def folder(volume_path: Path, tmp_path: Path, finish_round: Callable[..., Path]) -> Path:
    """A project with one labelled slice and two rounds, the second of which is active."""
    with Project.create(tmp_path / "project", ["disc <b>"]) as project:
        (image,) = project.add_images([volume_path])
        label = np.zeros(SIDES, np.uint8)
        label[20:48, 44:72] = 1
        project.commit(image, label, plane=Plane(0, 1))
        for dice, parent in ((0.7, None), (0.8, 0.7)):
            finish_round(project.begin_round(TrainSettings()), dice, parent)
            project.adopt_rounds()
    return tmp_path / "project"


def test_the_report_is_made_opened_and_cancelled(
    hand: Hand,
    dock: ScsamDock,
    folder: Path,
    without_models: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(
        "napari_scsam._qt.report_presenter.QDesktopServices.openUrl",
        lambda url: opened.append(url.toLocalFile()) or True,
    )
    dock.open_project_folder(folder)
    hand.wait_for_image()
    hand.find("progress_fold").click()
    made = hand.find("report")
    hand.press("report")
    assert made.text() == "Cancel the report"
    hand.press("report")
    assert (made.text(), hand.status()) == ("Report", "The report was cancelled.")
    hand.press("report")
    hand.until(lambda: hand.status().startswith("The report is open: "))
    place = folder / "cache" / "report.html"
    assert made.text() == "Report"
    assert opened == [str(place)] and hand.status().endswith(str(place))
    assert "1 of 6 slices" in place.read_text()
    monkeypatch.setattr("napari_scsam._qt.report_presenter.PROCESS", "napari_scsam.no_such_module")
    hand.press("report")
    hand.until(lambda: "ended unexpectedly (exit code 1)" in hand.status())
    assert made.text() == "Report"


class Child:
    """Answers at once with two rectangles, in place of models."""

    started: ClassVar[list[list[str]]] = []

    def __init__(self, _module: str, arguments: list[str], _ended: str) -> None:
        self.started.append(arguments)

    def run(self, progress: Any, _cancel: Any) -> dict[str, Any]:
        progress(Progress(0.5, "Predicting with round 1"))
        first, second = np.zeros(SIDES, np.uint8), np.zeros(SIDES, np.uint8)
        first[10:30, 10:30] = second[10:30, 40:70] = 1
        rows = (ClassDice("disc <b>", 0.25, (0.5, None)),)
        return Compared((first, second), rows, committed=True).to_json()

    def kill(self) -> None:
        pass


def test_two_rounds_are_shown_beside_each_other(
    hand: Hand,
    dock: ScsamDock,
    folder: Path,
    without_models: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("napari_scsam._qt.round_comparison.QuietChild", Child)
    dock.open_project_folder(folder)
    image_id, plane = hand.wait_for_image()
    hand.find("rounds_fold").click()
    rounds = hand.find("rounds")
    assert rounds.currentRow() == 1  # the active one
    hand.press("compare_rounds")
    assert "other than the active one" in hand.status()
    rounds.setCurrentRow(0)
    hand.press("compare_rounds")
    window = hand.find("comparison")
    text = window.findChild(QLabel, "comparison_text")
    hand.until(lambda: text.text().startswith("Dice of the two: disc <b> 0.25."))
    assert Child.started[-1] == [str(folder), image_id, str(plane.index), "1", "2"]
    assert "Round 1 with the label: disc <b> 0.50." in text.text()
    assert "Round 2 with the label: disc <b> on neither." in text.text()
    titles = [found.text() for found in window.findChildren(QLabel, "comparison_title")]
    assert titles == ["Round 1", "Round 2, active"]
    colour = dock.session.project.classes[0].colour
    pictures = window.findChildren(QWidget, "comparison_picture")
    corners = ((10, 10), (10, 40))
    for picture, inside, outside in zip(pictures, corners, corners[::-1], strict=True):
        pixels = picture._pixmap.toImage()
        assert pixels.pixelColor(*inside[::-1]).name() == colour.lower()
        assert pixels.pixelColor(*outside[::-1]).name() != colour.lower()
    window.close()
    hand.until(lambda: dock.findChild(type(window), "comparison") is None)
