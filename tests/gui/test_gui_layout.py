"""How the dock is laid out: its order, its folds and menus, and nothing cut in a narrow dock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from napari.settings import get_settings
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QLabel, QMenu, QPushButton, QScrollArea, QToolButton

from napari_scsam._qt.annotate_panel import AnnotatePanel
from napari_scsam._qt.training_panel import TrainingPanel
from napari_scsam.annotation.view_state import ViewState
from napari_scsam.project.schema import RoundRecord
from napari_scsam.rounds.shown_rounds import RoundsState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gui.conftest import Hand

pytestmark = pytest.mark.gui


@pytest.fixture
def opened(hand: Hand, loop: Any) -> Hand:
    """A hand on a dock with a project."""
    return hand


def top(hand: Hand, name: str) -> int:
    """Where a control begins, from the top of the dock."""
    return int(hand.find(name).mapTo(hand.dock, QPoint(0, 0)).y())


def test_what_the_hand_goes_to_most_often_stands_first_and_the_rest_is_folded(
    opened: Hand,
) -> None:
    names = "heading class_list prompt_kind suggest skip queue rounds_fold tuning_fold project_fold"
    order = [top(opened, name) for name in names.split()]
    assert order == sorted(order) and len(set(order)) == len(order)
    assert top(opened, "suggest") == top(opened, "accept_next")
    check_folds(opened)


def test_commit_and_what_decides_on_all_points_is_in_a_menu(opened: Hand, loop: Any) -> None:
    menu = opened.find("more", QPushButton).menu()
    for name in ("accept_all", "reject", "commit"):
        assert isinstance(opened.find(name, QPushButton).parentWidget(), QMenu), name
        assert not opened.find(name).isVisible(), name
    opened.click(20, 30)
    opened.wait_for_mask()
    more, commit = opened.find("more", QPushButton), opened.find("commit", QPushButton)
    # The menu has a loop of its own, which ends with the press in it.
    menu.aboutToShow.connect(
        lambda: opened.qtbot.waitUntil(commit.isVisible) or commit.click(),
        Qt.ConnectionType.QueuedConnection,
    )
    opened.qtbot.mouseClick(more, Qt.MouseButton.LeftButton)
    opened.until(lambda: loop.now.commits == 1)
    assert not menu.isVisible()


def check_folds(opened: Hand) -> None:
    """Rounds and learning are a line each, which opens."""
    for fold, line, inside in (
        ("rounds_fold", "train_summary", "train"),
        ("tuning_fold", "tuning_line", "use_tuned"),
    ):
        assert not opened.find(inside).isVisible()
        opened.qtbot.mouseClick(opened.find(line), Qt.MouseButton.LeftButton)
        assert opened.find(inside).isVisible()
        opened.qtbot.mouseClick(opened.find(fold, QToolButton), Qt.MouseButton.LeftButton)
        assert not opened.find(inside).isVisible()
    assert opened.find("train_summary").text() == "No round yet"
    assert opened.find("tuning_line").text() == "Learning from your labels: on"


@pytest.mark.parametrize("width", [300, 640])
def test_the_heading_is_never_cut(qtbot: Any, width: int) -> None:
    panel = AnnotatePanel()
    qtbot.addWidget(panel)
    panel.resize(width, 500)
    panel.show()
    qtbot.waitExposed(panel)
    name = "patient_0001_t1_weighted_after_contrast_registered_to_atlas"
    heading = f"{name}, slice 79 (0 to 188)"
    panel.show_state(ViewState(frozenset(), heading, "", "", False, axes=("axial", "coronal")))
    qtbot.wait(50)
    label = panel.findChild(QLabel, "heading")
    assert label.text() == heading
    # As high as all lines need, and no line wider than the label.
    area = label.fontMetrics().boundingRect(
        label.contentsRect(), int(Qt.TextFlag.TextWordWrap), label.shown_text()
    )
    assert area.width() <= label.width() and area.height() <= label.height()
    assert label.visibleRegion().boundingRect() == label.rect()
    assert "slice\u00a079\u00a0(0\u00a0to\u00a0188)" in label.shown_text()


def test_the_bright_button_follows_what_is_on_the_canvas(opened: Hand) -> None:
    accept = opened.find("accept_next", QPushButton)
    assert not accept.property("primary")
    plain = accept.palette().button().color()
    opened.click(20, 30)
    opened.wait_for_mask()
    opened.until(lambda: bool(accept.property("primary")))
    assert accept.palette().button().color() != plain
    opened.press("undo")
    assert not accept.property("primary")


FOLDS = (
    "rounds_fold tuning_fold project_fold train_settings edit_classes progress_fold ranking_fold"
)


def test_nothing_is_cut_at_320_px_and_with_fonts_of_twice_the_size(opened: Hand) -> None:
    style = opened.dock.styleSheet()
    for name in FOLDS.split():
        opened.find(name, QToolButton).setChecked(True)
    for pixels in (12, 24):
        opened.dock.setStyleSheet(f"{style}\n* {{ font-size: {pixels}px; }}")
        opened.qtbot.wait(200)
        check_nothing_is_cut(opened, pixels)


def check_nothing_is_cut(opened: Hand, pixels: int) -> None:
    dock = opened.dock
    view = dock.findChild(QScrollArea)
    assert view is not None
    body = view.widget()
    opened.until(lambda: body.width() <= view.viewport().width())
    assert dock.minimumSizeHint().width() <= (320 if pixels == 12 else 640)
    for made in dock.findChildren(QPushButton):
        if made.isVisible():
            assert made.fontMetrics().horizontalAdvance(made.text()) <= made.width(), made.text()
            right = made.mapTo(body, QPoint(made.width(), 0)).x()
            assert right <= body.width(), made.text()
    for label in dock.findChildren(QLabel):
        if label.isVisible() and label.wordWrap() and label.text():
            assert label.height() >= label.heightForWidth(label.width()), label.text()


@pytest.fixture
def font_size() -> Iterator[Any]:
    """Sets the size in napari's settings; restored afterwards."""
    appearance = get_settings().appearance
    yield lambda points: setattr(appearance, "font_size", points)
    appearance.reset()


def test_fields_follow_the_size_of_fonts_in_naparis_settings(opened: Hand, font_size: Any) -> None:
    label = opened.find("counts")
    before = label.fontInfo().pointSizeF()
    font_size(18)
    names = "queue_search annotator keys train_settings images_fold"
    opened.until(lambda: label.fontInfo().pointSizeF() > before + 4)
    for name in names.split():
        made = opened.find(name)
        made.ensurePolished()
        assert made.fontInfo().pointSizeF() == label.fontInfo().pointSizeF(), name
    font_size(9)
    opened.until(lambda: label.fontInfo().pointSizeF() < before + 1)
    assert opened.find("annotator").fontInfo().pointSizeF() == label.fontInfo().pointSizeF()


@pytest.mark.parametrize("pixels", [12, 24])
def test_no_column_of_a_rounds_figures_is_cut(qtbot: Any, tmp_path: Any, pixels: int) -> None:
    members = ("pair", "unet", "sam", "prompted")
    dice = {m: {"myocardium": 0.8, "mean": 0.8} for m in members}
    record = RoundRecord(1, tmp_path, {"dice": dice}, active=True, reason="The first.")
    panel = TrainingPanel()
    qtbot.addWidget(panel)
    panel.setStyleSheet(f"* {{ font-size: {pixels}px; }}")
    panel.show_state(RoundsState(rounds=(record,)))
    panel.fold.open()
    label = panel.findChild(QLabel, "metrics")
    for width in (300, 640, 300):
        panel.resize(width, 1800)
        panel.show()
        qtbot.waitExposed(panel)
        qtbot.waitUntil(lambda width=width: width - 40 < label.width() <= width)
        assert label.text().count("0.80") == 8
        assert ("colspan" in label.text()) == (width == 300 and pixels == 24)
        texts = ["myocardium", "both", "U-Net", "SAM", "prompted"]
        metrics = label.fontMetrics()
        side_by_side = sum(metrics.horizontalAdvance(text) for text in texts)
        assert "colspan" in label.text() or side_by_side <= label.width()
        qtbot.waitUntil(lambda: label.height() >= label.heightForWidth(label.width()))
