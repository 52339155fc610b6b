"""The list of images: search, filters, order, ranking, and 10,000 rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QColor, QPixmap
from qtpy.QtWidgets import QComboBox, QLabel, QLineEdit

from napari_scsam._qt import queue_model
from napari_scsam._qt.queue_delegate import QueueDelegate
from napari_scsam._qt.queue_model import ITEM_ROLE, Ranked
from napari_scsam._qt.queue_panel import QueuePanel, progress_text
from napari_scsam.core.geometry import Plane
from napari_scsam.project import Project
from napari_scsam.project.image_queue import QueueRow
from napari_scsam.project.ranking import QueueEntry, RankedQueue, picks, write_queue

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


def test_of_ten_thousand_rows_a_commit_changes_one(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [QueueRow(str(i), f"case_{i:05d}", i % 3, 9) for i in range(MANY)]
    ranking = {str(i): Ranked(0.5, "unlike the others", 2) for i in range(0, MANY, 2)}
    panel = shown_panel(qtbot, rows, ranking=ranking)
    model = panel.list.model()
    made, resets, changed = [], [], []
    make = queue_model._item

    def counted(row: QueueRow, *arguments: Any, **more: Any) -> queue_model.QueueItem:
        made.append(row)
        return make(row, *arguments, **more)

    monkeypatch.setattr(queue_model, "_item", counted)
    model.modelReset.connect(lambda: resets.append(1))
    model.dataChanged.connect(lambda first, last, _roles: changed.append((first.row(), last.row())))
    panel.show_rows([*rows], ranking={**ranking})  # the same
    assert changed == resets == []

    counts: list[int] = []
    count = queue_model.QueueModel.rowCount

    def asked(self: queue_model.QueueModel, parent: Any = None) -> int:
        counts.append(1)
        return count(self, parent)

    monkeypatch.setattr(queue_model.QueueModel, "rowCount", asked)
    rows[4] = QueueRow("4", "case_00004", 2, 9)
    panel.show_rows([*rows], frozenset({"6", "8"}), ranking)
    assert (changed, resets) == ([(2, 4)], [])  # of the ranked ones, which come first
    assert "2 of 9" in model.index(2).data() and "flagged" in model.index(3).data()
    panel.show_rows([*rows], ranking={**ranking, "0": Ranked(0.9, "unlike the others", 2)})
    assert (changed[1:], resets) == ([(0, 0), (3, 4)], [])
    qtbot.wait(50)
    assert len(made) < 60 and len(counts) < 300  # for those in sight; no other is laid out anew

    place = panel.list.verticalScrollBar().maximum() // 2
    panel.list.verticalScrollBar().setValue(place)
    del ranking["0"]  # is done, and so drops out
    panel.show_rows([*rows], ranking=ranking)
    assert resets == [1] and names(panel)[:2] == ["2", "4"]
    assert names(panel)[MANY // 2 - 1 :][:2] == ["0", "1"]


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


def ranked(image: str, planes: tuple[int, ...], strategy: str = "hybrid") -> QueueEntry:
    score = None if strategy == "random" else 0.5
    return QueueEntry(image, planes[0], score, f"because of {image}", strategy, planes)


def test_j_follows_the_ranked_queue_and_each_pick_is_journalled(
    hand: Hand, dock: ScsamDock, without_models: None, tmp_path: Path
) -> None:
    paths = []
    for i in range(3):
        scan = np.random.default_rng(i).integers(0, 255, (4, 40, 50), np.uint8)
        paths.append(tmp_path / f"s{i}.tif")
        tifffile.imwrite(paths[-1], scan, imagej=True, metadata={"axes": "ZYX"})
    folder = tmp_path / "project"
    with Project.create(folder, ["disc"]) as project:
        a, b, c = project.add_images(paths)
    entries = (ranked(c, (3, 1)), ranked("00000000", (0,)), ranked(b, (2,), "random"))
    write_queue(folder, RankedQueue("hybrid", None, entries))
    dock.open_project_folder(folder)
    assert hand.wait_for_image() == (c, Plane(0, 3))  # the best slice of all
    queue, session = hand.find("queue"), dock.session
    hand.until(lambda: queue.model().rowCount() == 3)
    rows = [queue.model().index(i).data(Qt.ItemDataRole.UserRole) for i in range(3)]
    assert rows == [c, b, a]  # ranked ones first, in their order
    tip = queue.model().index(0).data(Qt.ItemDataRole.ToolTipRole)
    assert f"because of {c}" in tip and "0.50" in tip

    def commit_and_go_on(expected: tuple[str, Plane]) -> None:
        hand.click(20, 25)
        hand.wait_for_mask()
        hand.window_key(Qt.Key.Key_J)
        hand.until(lambda: session.annotation.key == expected)

    commit_and_go_on((c, Plane(0, 1)))  # the other ranked slice of the same volume
    commit_and_go_on((b, Plane(0, 2)))
    hand.window_key(Qt.Key.Key_H)  # back to where it came from
    hand.until(lambda: session.annotation.key == (c, Plane(0, 1)))
    first = queue.model().index(0)
    hand.until(lambda: first.data(Qt.ItemDataRole.UserRole) == b)  # what is done drops out
    place = queue.visualRect(queue.model().index(0)).center()
    hand.qtbot.mouseClick(queue.viewport(), Qt.MouseButton.LeftButton, pos=place)
    hand.until(lambda: session.annotation.key == (b, Plane(0, 2)))
    hand.window_key(Qt.Key.Key_K)
    # Nothing of the queue is left: the order of the list goes on.
    hand.until(lambda: session.annotation.key == (b, Plane(0, 3)))
    hand.until(lambda: len(picks(session.project)) == 2)
    assert [(p.entry.image, p.position) for p in picks(session.project)] == [(c, 0), (b, 1)]
    assert [p.entry for p in picks(session.project)] == [entries[0], entries[2]]


def test_rank_now_orders_the_list_and_names_what_can_not_be_read(
    hand: Hand, dock: ScsamDock, without_models: None, tmp_path: Path
) -> None:
    paths = [tmp_path / f"s{i}.tif" for i in range(3)]
    for i, path in enumerate(paths):
        scan = np.random.default_rng(i).integers(0, 255, (4, 40, 50), np.uint8)
        tifffile.imwrite(path, scan, imagej=True, metadata={"axes": "ZYX"})
    with Project.create(tmp_path / "project", ["disc"]) as project:
        ids = project.add_images(paths)
    paths[1].unlink()
    dock.open_project_folder(tmp_path / "project")
    hand.wait_for_image()
    line, text, queue = hand.find("ranking_line"), hand.find("rank_text"), hand.find("queue")
    assert line.text() == "Not ranked"
    hand.qtbot.mouseClick(line, Qt.MouseButton.LeftButton)
    assert not hand.find("forget_ranking").isVisible()
    hand.until(lambda: text.text().endswith("2 of 3 images to read."))
    box = hand.find("rank_strategy")
    box.setCurrentIndex(box.findData("sequential"))
    box.activated.emit(box.currentIndex())
    hand.until(lambda: text.text() == "About 10 s: 3 images, all read before.")
    hand.press("rank_now")
    assert hand.find("cancel_rank").isVisible() and not hand.find("rank_now").isEnabled()
    hand.until(lambda: line.text() == "Ranked: As added  ·  2 left")
    assert hand.status() == "Ranked 2 images. Not readable, and passed over: s1."
    rows = [queue.model().index(i).data(ITEM_ROLE) for i in range(3)]
    assert [r.image_id for r in rows] == [ids[0], ids[2], ids[1]]
    assert [r.reason for r in rows] == ["next in the list", "next in the list", ""]

    # A thumbnail of each image that can be read, which the list shows.
    kept = tmp_path / "project/cache/thumbnails"
    hand.until(lambda: len(list(kept.glob("*.png"))) >= 2)
    first = queue.model().index(0)
    hand.until(lambda: first.data(Qt.ItemDataRole.DecorationRole) is not None)
    hand.qtbot.wait(300)
    assert queue.model().index(2).data(Qt.ItemDataRole.DecorationRole) is None

    hand.press("forget_ranking")
    hand.until(lambda: line.text() == "Not ranked")
    assert [queue.model().index(i).data(ITEM_ROLE).image_id for i in range(3)] == ids
    assert dock.session.annotation.navigation.queue.order.first() is None


def test_progress_shows_who_labels_hides_labels_of_others_and_trains_by_itself(
    hand: Hand, dock: ScsamDock, without_models: None, volume_path: Path, tmp_path: Path
) -> None:
    with Project.create(tmp_path / "project", ["disc"]) as project:
        (image,) = project.add_images([volume_path])
        project.sign("anna")
        project.commit(image, np.ones((96, 80), np.uint8), plane=Plane(0, 3))
    dock.open_project_folder(tmp_path / "project")
    hand.wait_for_image()
    project = dock.session.project
    hand.find("progress_fold").setChecked(True)
    assert hand.find("progress_line").text() == "Suggestions are not checked yet"
    name = hand.find("annotator")
    assert name.text() == project.sign() != ""
    name.setText("  ben ")
    name.editingFinished.emit()
    assert name.text() == "ben" == project.sign()

    box, layers = hand.find("second_opinion"), dock.session.canvas.layers
    hand.until(lambda: (layers["committed"].data[3] == 1).all())
    dock.session.canvas.go_to(Plane(0, 3))
    hand.until(lambda: dock.session.annotation.key == (image, Plane(0, 3)))
    hand.qtbot.mouseClick(box, Qt.MouseButton.LeftButton, pos=QPoint(8, box.height() // 2))
    hand.until(lambda: not (layers["committed"].data[3] == 1).any())
    hand.until(lambda: hand.find("queue_title").text() == "0 of 1 cases, 0 of 6 slices")
    hand.until(lambda: dock.session.annotation.key == (image, Plane(0, 3)))
    hand.click(34, 58)
    hand.wait_for_mask()
    hand.press("commit")
    hand.until(lambda: hand.status().startswith("Saved"))
    assert project.label(image)[3].all() and project.label_version(image) == 1
    hand.until(lambda: "second_opinion" in {e.kind for e in project.events()})
    hand.until(lambda: hand.find("queue_title").text() == "1 of 1 cases, 1 of 6 slices")

    started: list[bool] = []
    dock.progress.start_round = lambda: started.append(True)  # type: ignore[method-assign]
    dock.session.background.automatic._start = dock.progress.start_round
    assert hand.find("round_every").text() == "Only when I press Train"
    hand.find("round_every").setValue(2)
    hand.qtbot.mouseClick(box, Qt.MouseButton.LeftButton, pos=QPoint(8, box.height() // 2))
    hand.until(lambda: (layers["committed"].data[3] == 1).all())
    dock.session.canvas.go_to(Plane(0, 2))
    hand.until(lambda: dock.session.annotation.key == (image, Plane(0, 2)))
    hand.click(34, 58)
    hand.wait_for_mask()
    hand.press("commit")
    hand.until(lambda: bool(started))
