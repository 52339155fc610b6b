"""The ranked list in the window: jumping by name, doubtful images, and a ranking's progress."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt

from napari_scsam.core.errors import Cancelled
from napari_scsam.core.geometry import Plane
from napari_scsam.core.jobs import CancelToken, Progress, ProgressFn
from napari_scsam.project import Project
from napari_scsam.project.ranking import QueueEntry, RankedQueue, write_queue
from napari_scsam.workflows import background_ranking

if TYPE_CHECKING:
    from pathlib import Path

    from gui.conftest import Hand

    from napari_scsam._qt.dock import ScsamDock

pytestmark = pytest.mark.gui
NAMES = ("heart", "jack", "liver", "knee", "hip", "lung", "eye", "spleen")


def new_project(place: Path, names: tuple[str, ...]) -> list[str]:
    """Image ids of a project of pictures with these names, in ``place/project``."""
    for seed, name in enumerate(names):
        picture = np.random.default_rng(seed).integers(0, 255, (40, 50), np.uint8)
        tifffile.imwrite(place / f"{name}.tif", picture)
    with Project.create(place / "project", ["disc"]) as project:
        return project.add_images([place / f"{name}.tif" for name in names])


@pytest.mark.parametrize("count", [3, len(NAMES)])
def test_slash_finds_an_image_by_name_and_enter_opens_it(
    hand: Hand, dock: ScsamDock, without_models: None, tmp_path: Path, count: int
) -> None:
    ids = new_project(tmp_path, NAMES[:count])
    dock.open_project_folder(tmp_path / "project")
    hand.wait_for_image()
    queue, search, title = (hand.find(n) for n in ("queue", "queue_search", "queue_title"))
    hand.until(lambda: queue.model().rowCount() == count)
    assert search.isVisible() == (count == len(NAMES))
    hand.find("images_fold").setChecked(False)
    hand.window_key(Qt.Key.Key_Slash)
    hand.until(search.hasFocus)
    hand.qtbot.keyClicks(search, "JACK")  # J commits and K skips elsewhere
    assert search.isVisible() and queue.model().rowCount() == 1
    hand.qtbot.keyClick(search, Qt.Key.Key_Return)
    hand.until(lambda: dock.session.annotation.key == (ids[1], Plane()))
    assert not search.hasFocus()
    hand.window_key(Qt.Key.Key_K)  # is a key of the window again
    hand.until(lambda: dock.session.annotation.key == (ids[2], Plane()))
    hand.window_key(Qt.Key.Key_Slash)
    hand.until(search.hasFocus)
    hand.qtbot.keyClicks(search, "whale")  # in place of what was there
    hand.qtbot.keyClick(search, Qt.Key.Key_Return)
    assert search.hasFocus() and queue.model().rowCount() == 0
    assert dock.session.annotation.key == (ids[2], Plane())
    assert title.text() == f"0 of {count} images"


def test_doubtful_images_of_the_ranking_are_listed_whatever_their_reason(
    hand: Hand, dock: ScsamDock, without_models: None, tmp_path: Path
) -> None:
    ids = new_project(tmp_path, NAMES)
    reasons = {
        ids[0]: ("the U-Net expects Dice 0.99 for its outline", False),
        ids[1]: ("like 9 % of the open slices", True),
    }
    entries = tuple(
        QueueEntry(image, None, 0.5, reason, "hybrid", (), doubtful)
        for image, (reason, doubtful) in reasons.items()
    )
    write_queue(tmp_path / "project", RankedQueue("hybrid", None, entries))
    dock.open_project_folder(tmp_path / "project")
    hand.wait_for_image()
    queue, box = hand.find("queue"), hand.find("queue_filter")
    hand.until(lambda: queue.model().rowCount() == len(NAMES))
    box.setCurrentText("Doubtful")
    (row,) = range(queue.model().rowCount())
    assert queue.model().index(row).data(Qt.ItemDataRole.UserRole) == ids[1]


class Slowly:
    """Is half through with ranking until it is stopped."""

    def __init__(self, *_: Any) -> None:
        self.stopped = Event()

    def run(self, progress: ProgressFn, _cancel: CancelToken) -> dict[str, Any]:
        progress(Progress(0.5, "Reading 2 of 2 images, about 3 min left"))
        self.stopped.wait(60)
        raise Cancelled("Cancelled.")

    def stop(self) -> None:
        self.stopped.set()

    kill = stop


def test_how_far_a_ranking_is_and_the_time_left_are_shown(
    hand: Hand,
    dock: ScsamDock,
    without_models: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    new_project(tmp_path, NAMES[:2])
    monkeypatch.setattr(background_ranking, "ranking_child", Slowly)
    dock.open_project_folder(tmp_path / "project")
    hand.wait_for_image()
    line, text, bar = (hand.find(n) for n in ("ranking_line", "rank_text", "rank_progress"))
    hand.qtbot.mouseClick(line, Qt.MouseButton.LeftButton)
    before = "About 10 s (assumed for two cores): 2 of 2 images to read."
    hand.until(lambda: text.text() == before)
    hand.press("rank_now")
    hand.until(lambda: text.text() == "Reading 2 of 2 images, about 3 min left.")
    assert text.isVisible() and bar.isVisible() and bar.value() == bar.maximum() / 2
    assert line.text() == "Ranking: 50%"
    hand.press("cancel_rank")
    hand.until(lambda: line.text() == "Not ranked")
    assert hand.status() == "Ranking was cancelled; the list stays as it was."
    hand.until(lambda: text.text() == before)
