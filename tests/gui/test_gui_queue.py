"""The list of images: search, filters, order, ranking, and 10,000 rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QPixmap
from qtpy.QtWidgets import QComboBox, QLabel, QLineEdit

from napari_scsam._qt.queue_delegate import QueueDelegate
from napari_scsam._qt.queue_model import Ranked
from napari_scsam._qt.queue_panel import QueuePanel, progress_text
from napari_scsam.core.geometry import Plane
from napari_scsam.project import Project
from napari_scsam.project.image_queue import QueueRow

if TYPE_CHECKING:
    from pathlib import Path

    from gui.conftest import Hand
    from pytestqt.qtbot import QtBot

    from napari_scsam._qt.dock import ScsamDock

pytestmark = pytest.mark.gui
MANY = 10_000


def shown_panel(qtbot: QtBot, rows: list[QueueRow], **more: Any) -> QueuePanel:
    panel = QueuePanel()
    qtbot.addWidget(panel)
    panel.resize(308, 500)
    panel.show_rows(rows, **more)
    panel.show()
    qtbot.waitExposed(panel)
    return panel


def names(panel: QueuePanel) -> list[str]:
    model = panel.list.model()
    return [model.index(i).data(Qt.ItemDataRole.UserRole) for i in range(model.rowCount())]


def row_height(panel: QueuePanel) -> int:
    return int(panel.list.visualRect(panel.list.model().index(0)).height())


def choose(panel: QueuePanel, name: str, value: str) -> None:
    box = panel.findChild(QComboBox, name)
    box.setCurrentIndex(box.findData(value))


ROWS = [
    QueueRow("a", "Zebra", 0, 9),
    QueueRow("b", "ant_T1", 9, 9),
    QueueRow("c", "ant_t2", 3, 9, skipped=True),
    QueueRow("d", "bee", 2, 9),
]


def test_rows_are_searched_filtered_and_sorted(qtbot: QtBot) -> None:
    panel = shown_panel(qtbot, ROWS, flagged=frozenset({"d"}))
    search = panel.findChild(QLineEdit, "queue_search")
    search.setText("ANT")
    assert names(panel) == ["b", "c"]
    search.setText("")
    for state, expected in (("open", "a"), ("done", "b"), ("skipped", "c"), ("flagged", "d")):
        choose(panel, "queue_filter", state)
        assert names(panel) == [expected], state
    choose(panel, "queue_filter", "")
    choose(panel, "queue_sort", "name")
    assert names(panel) == ["b", "c", "d", "a"]
    choose(panel, "queue_sort", "least")
    assert names(panel) == ["a", "d", "c", "b"]
    choose(panel, "queue_sort", "queue")
    assert names(panel) == ["a", "b", "c", "d"]
    search.setText("whale")
    assert names(panel) == [] and panel.findChild(QLabel, "queue_none").isVisible()


def test_a_commit_keeps_the_search_and_the_open_image(qtbot: QtBot) -> None:
    panel = shown_panel(qtbot, ROWS)
    panel.findChild(QLineEdit, "queue_search").setText("ant")
    panel.show_current("c")
    panel.show_rows([*ROWS[:2], QueueRow("c", "ant_t2", 4, 9), ROWS[3]])
    assert names(panel) == ["b", "c"]
    assert panel.list.currentIndex().data(Qt.ItemDataRole.UserRole) == "c"
    assert panel.list.currentIndex().data().endswith("4 of 9 slices")


def test_a_ranking_gives_order_scores_and_reasons_and_opens_its_slice(qtbot: QtBot) -> None:
    panel = shown_panel(qtbot, ROWS)
    one_line = row_height(panel)
    panel.show_ranking(
        {
            "d": Ranked(0.81, "The two models disagree on 38 % of the outline", 4),
            "gone": Ranked(0.7, "An image that was removed"),
            "a": Ranked(None, "Random check"),
        }
    )
    assert names(panel) == ["d", "a", "b", "c"]
    assert panel.plane_of("d") == 4 and panel.plane_of("b") is None
    tip = panel.list.model().index(0).data(Qt.ItemDataRole.ToolTipRole)
    assert "0.81" in tip and "38 %" in tip
    assert "Score" not in panel.list.model().index(1).data(Qt.ItemDataRole.ToolTipRole)
    assert row_height(panel) > one_line  # a second line for the reason
    panel.show_ranking({})
    assert names(panel) == ["a", "b", "c", "d"] and row_height(panel) == one_line


def test_thumbnails_are_asked_for_where_rows_are_in_sight_only(qtbot: QtBot) -> None:
    panel = shown_panel(qtbot, [QueueRow(str(i), f"case {i}", 0, 1) for i in range(MANY)])
    asked: set[str] = set()
    ready: dict[str, QPixmap] = {}

    def thumbnail(image_id: str) -> QPixmap | None:
        asked.add(image_id)
        return ready.get(image_id)

    panel.show_thumbnails(thumbnail)
    qtbot.waitUntil(lambda: "0" in asked)
    assert len(asked) < 30
    before = panel.list.viewport().grab().toImage()
    ready["0"] = QPixmap(16, 16)
    ready["0"].fill(QColor("#00FF00"))
    panel.model.thumbnail_ready("0")
    qtbot.wait(50)
    after = panel.list.viewport().grab().toImage()
    green = [after.pixelColor(x, 10).getRgb()[:3] for x in range(after.width())]
    assert (0, 255, 0) in green and before != after


def test_of_ten_thousand_rows_only_those_in_sight_are_drawn(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    paint = QueueDelegate.paint

    def counted(self: QueueDelegate, painter: Any, option: Any, index: Any) -> None:
        drawn.append(index.row())
        paint(self, painter, option, index)

    monkeypatch.setattr(QueueDelegate, "paint", counted)
    rows = [QueueRow(str(i), f"case_{i:05d}", i % 3, 9, f"patient {i // 2}") for i in range(MANY)]
    panel = shown_panel(qtbot, rows)
    qtbot.waitUntil(lambda: bool(drawn))
    assert max(drawn) < 30

    search = panel.findChild(QLineEdit, "queue_search")
    for text, count in (("case_09", 1000), ("case_0999", 10), ("case_09999", 1), ("", MANY)):
        search.setText(text)
        assert len(names(panel)) == count
    bar = panel.list.verticalScrollBar()
    for place in np.linspace(0, bar.maximum(), 20):
        drawn.clear()
        bar.setValue(int(place))
        panel.list.viewport().repaint()
        assert 0 < len(set(drawn)) < 30


def test_how_much_is_done_is_said_by_case_and_slice() -> None:
    rows = [
        QueueRow("a", "a", 0, 9, "p1"),
        QueueRow("b", "b", 2, 9, "p1"),
        QueueRow("c", "c", 1, 1),
    ]
    assert progress_text(rows) == "2 of 2 cases, 3 of 19 slices"
    pictures = [QueueRow(str(i), "x", int(i < 3), 1, str(i)) for i in range(8)]
    assert progress_text(pictures) == "3 of 8 images"


def test_a_search_in_the_window_opens_an_image_and_its_letters_are_no_keys(
    hand: Hand, dock: ScsamDock, tmp_path: Path
) -> None:
    paths = []
    for i, name in enumerate(["heart", "liver", "jack", "spleen", "knee", "hip", "lung", "eye"]):
        scan = np.random.default_rng(i).integers(0, 255, (3, 40, 50), np.uint8)
        paths.append(tmp_path / f"{name}.tif")
        tifffile.imwrite(paths[-1], scan, imagej=True, metadata={"axes": "ZYX"})
    with Project.create(tmp_path / "project", ["disc"]) as project:
        ids = project.add_images(paths)
        project.commit(ids[0], np.zeros((40, 50), np.uint8), plane=Plane(0, 1))
    dock.open_project_folder(tmp_path / "project")
    hand.wait_for_image()
    title = hand.find("queue_title")
    hand.until(lambda: title.text() == "1 of 8 cases, 1 of 24 slices")
    search, queue = hand.find("queue_search"), hand.find("queue")
    key = dock.session.annotation.key
    search.setFocus()
    hand.activate()
    hand.qtbot.keyClicks(search, "jack")  # J commits and K skips elsewhere
    assert search.text() == "jack" and dock.session.annotation.key == key
    assert queue.model().rowCount() == 1
    place = queue.visualRect(queue.model().index(0)).center()
    hand.qtbot.mouseClick(queue.viewport(), Qt.MouseButton.LeftButton, pos=place)
    hand.until(lambda: dock.session.annotation.key == (ids[2], Plane(0, 1)))
    assert "skip" not in {event.kind for event in dock.session.project.events()}
