"""The dock's panels by themselves: what they show, at 320 px, and what they let through."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest
from napari.layers import Labels, Vectors
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication, QComboBox, QPushButton

from napari_scsam._napari.committed import CommittedPainter
from napari_scsam._napari.masks import FLASH_MS, PreviewPainter
from napari_scsam._napari.outlines import OutlinePainter
from napari_scsam._napari.plane_vectors import PlaneVectors
from napari_scsam._qt.annotate_panel import AnnotatePanel
from napari_scsam._qt.project_panel import NewProjectForm, ProjectBar
from napari_scsam._qt.queue_model import Ranked
from napari_scsam._qt.queue_panel import QueuePanel
from napari_scsam._qt.settings_form import DOCK_MINUTES, SettingsForm
from napari_scsam._qt.training_panel import TrainingPanel
from napari_scsam.annotation.scene import ShownMask
from napari_scsam.core.geometry import Plane
from napari_scsam.core.labels import make_classes
from napari_scsam.core.settings import Recipe, TrainSettings
from napari_scsam.project.image_queue import QueueRow
from napari_scsam.project.schema import RoundRecord
from napari_scsam.rounds.shown_rounds import RoundsState

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot

pytestmark = pytest.mark.gui
WIDTH = 308  # of a panel in a dock of 320 px


def show(qtbot: QtBot, panel: Any) -> Any:
    qtbot.addWidget(panel)
    panel.resize(WIDTH, 400)
    panel.show()
    qtbot.waitExposed(panel)
    return panel


def test_a_project_is_created_once_everything_is_named(qtbot: QtBot, tmp_path: Path) -> None:
    form = show(qtbot, NewProjectForm())
    create = form.findChild(QPushButton, "create_project")
    needed = form.findChild(object, "new_needed")
    assert not create.isEnabled()
    form.folder.setText(str(tmp_path))
    form.images.setText(" a.nii ; b.nii;")
    assert needed.text() == "Still needed: a class."
    form.classes.setText("one, two,")
    assert needed.isHidden()
    with qtbot.waitSignal(form.submitted) as sent:
        qtbot.mouseClick(create, Qt.MouseButton.LeftButton)
    wanted = sent.args[0]
    assert wanted.images == (Path("a.nii"), Path("b.nii"))
    assert wanted.classes == ("one", "two")


def test_every_class_name_is_seen_whole(qtbot: QtBot) -> None:
    panel = show(qtbot, AnnotatePanel())
    panel.set_classes(make_classes(["left ventricle", "right ventricle", "myocardium", "scar"]))
    view = panel.classes
    for position in range(view.count()):
        place = view.visualItemRect(view.item(position))
        assert view.viewport().rect().contains(place), view.item(position).text()


def test_the_list_tells_what_is_done_without_colour(qtbot: QtBot) -> None:
    panel = show(qtbot, QueuePanel())
    long = "a_very_long_case_name_that_no_dock_has_room_for_" * 2
    panel.show_rows([QueueRow("1", long, 3, 9), QueueRow("2", "b", 1, 1), QueueRow("3", "c", 0, 1)])
    rows = panel.list.model()
    texts = [rows.index(i).data() for i in range(3)]
    assert [t[0] for t in texts] == ["◐", "●", "○"]
    assert texts[0].endswith("3 of 9 slices")
    assert long in rows.index(0).data(Qt.ItemDataRole.ToolTipRole)
    with qtbot.waitSignal(panel.picked) as sent:  # by keyboard, too
        panel.list.setCurrentIndex(rows.index(2))
        panel.list.setFocus()
        qtbot.keyClick(panel.list, Qt.Key.Key_Return)
    assert sent.args == ["3"]


def test_a_long_project_name_does_not_widen_the_dock(qtbot: QtBot) -> None:
    bar = show(qtbot, ProjectBar())
    bar.show_project("n" * 200)
    assert bar.minimumSizeHint().width() <= WIDTH
    assert bar.findChild(object, "project_name").toolTip() == "n" * 200


def test_the_metrics_are_a_table_that_no_class_name_can_break(qtbot: QtBot, tmp_path: Path) -> None:
    dice = {m: {"<b>x": 0.8, "mean": 0.8} for m in ("pair", "unet")}
    metrics = {"dice": dice}
    record = RoundRecord(1, tmp_path, metrics, active=True, reason="Round 1 is the first.")
    panel = show(qtbot, TrainingPanel())
    panel.show_state(RoundsState(rounds=(record,)))
    text = panel.findChild(object, "metrics").text()
    assert "&lt;b&gt;x" in text
    assert text.count("0.80") == 4
    assert panel.findChild(object, "train_summary").text() == "Round 1 active  ·  Dice 0.80"
    assert "rompted" not in text  # no such column for a round without it


def test_the_metrics_tell_sam_alone_from_sam_prompted_by_the_unet(
    qtbot: QtBot, tmp_path: Path
) -> None:
    figures = {"unet": 0.91, "sam": 0.72, "prompted": 0.93, "pair": 0.94}
    dice = {member: {"heart": value, "mean": value} for member, value in figures.items()}
    record = RoundRecord(1, tmp_path, {"dice": dice}, active=True, reason="")
    panel = show(qtbot, TrainingPanel())
    panel.show_state(RoundsState(rounds=(record,)))
    text = panel.findChild(object, "metrics").text()
    heads = [text.index(f">{head}<") for head in ("both", "U-Net", "SAM", "prompted")]
    values = [text.index(value) for value in ("0.94", "0.91", "0.72", "0.93")]
    assert heads == sorted(heads) and values == sorted(values)
    assert panel.minimumSizeHint().width() <= WIDTH


def test_the_list_of_rounds_says_what_each_takes_and_which_are_pruned(
    qtbot: QtBot, tmp_path: Path
) -> None:
    records = (
        RoundRecord(1, tmp_path, {}, active=False, reason="The first.", pruned=True),
        RoundRecord(2, tmp_path, {}, active=True, reason="Better."),
    )
    panel = show(qtbot, TrainingPanel())
    panel.show_state(RoundsState(rounds=records, sizes={1: 21_000, 2: 34_500_000}))
    rows = panel.findChild(object, "rounds")
    first, second = rows.item(0), rows.item(1)
    assert first.text() == "○  Round 1  ·  not checked  ·  pruned"
    assert first.toolTip() == "The first.\n21.0 kB on the disk; its weights were pruned."
    assert second.text() == "●  Round 2  ·  not checked  ·  active"
    assert second.toolTip() == "Better.\n34.5 MB on the disk."


def test_the_form_shows_what_a_person_changes_and_keeps_the_rest(qtbot: QtBot) -> None:
    form = show(qtbot, SettingsForm())
    shown = {w.objectName() for w in form.findChildren(object) if "setting_" in w.objectName()}
    names = "recipe pictures minutes device holdout unlabelled_planes mirror turn"
    assert shown == {f"setting_{name}" for name in names.split()}
    assert form.settings() == TrainSettings(minutes=DOCK_MINUTES)
    recipe = form.findChild(object, "setting_recipe")
    assert [recipe.itemData(i) for i in range(recipe.count())] == list(get_args(Recipe))
    for i in range(recipe.count()):  # each is read whole in a dock of 320 px
        assert recipe.fontMetrics().horizontalAdvance(recipe.itemText(i)) < 0.7 * recipe.width()

    killed = TrainSettings(recipe="cps", minutes=0.333, holdout=0.125, lora_rank=4, seed=7)
    with qtbot.waitSignal(form.changed):
        form.show_settings(killed)
    assert form.settings() == killed  # also what its editors can't show to the last digit
    assert recipe.currentText() == "Two U-Nets"
    assert form.findChild(object, "setting_holdout").text() == "12 %"
    with qtbot.waitSignal(form.changed):
        form.findChild(object, "setting_holdout").stepUp()
    assert form.settings().holdout == pytest.approx(0.17)
    form.forget_untitled()
    assert (form.settings().recipe, form.settings().lora_rank) == ("cps", 8)


def test_scrolling_past_a_setting_does_not_change_it(qtbot: QtBot) -> None:
    form = show(qtbot, SettingsForm())
    spin = form.findChild(object, "setting_pictures")
    before = spin.value()
    form.setFocus()
    wheel = QWheelEvent(
        QPointF(5, 5),
        QPointF(spin.mapToGlobal(QPoint(5, 5))),
        QPoint(),
        QPoint(0, 120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(spin, wheel)
    assert spin.value() == before


def preview() -> tuple[Labels, Vectors, PreviewPainter]:
    """The layers of fill and outline, and what draws on them at a zoom of 4."""
    fill = Labels(np.zeros((3, 20, 30), np.uint8))
    lines = Vectors(ndim=3, vector_style="line")
    colours = {1: "#ff0000", 2: "#0000ff"}
    outline = OutlinePainter(PlaneVectors(lines, (1.0, 1.0, 1.0)), colours, lambda: 4.0)
    return fill, lines, PreviewPainter(fill, outline, 3)


def length(lines: Vectors) -> float:
    """How long all segments are together, in pixels."""
    return float(np.abs(lines.data[:, 1]).sum())


def test_what_changed_is_lit_once_and_then_only_outlined(qtbot: QtBot) -> None:
    fill, outline, painter = preview()
    first = np.zeros((20, 30), np.uint8)
    first[4:14, 6:20] = 2
    painter.show({Plane(0, 1): ShownMask(first)}, Plane(0, 1))
    np.testing.assert_array_equal(fill.data[1], first)
    assert length(outline) > 2 * 48  # all of it is new, so its outline is thick
    qtbot.wait(FLASH_MS + 80)
    assert length(outline) == 48  # 10 x 14 pixels
    np.testing.assert_allclose(outline.edge_color, np.tile([0, 0, 1, 1], (4, 1)))

    less = first.copy()
    less[4:8] = 0
    painter.show({Plane(0, 1): ShownMask(less)}, Plane(0, 1))
    rows = outline.data[:, 0, 1]
    assert ((rows > 3.5) & (rows < 4.5)).any()  # round what was lost, in its colour
    painter.show({}, Plane(0, 1))
    assert not fill.data.any()
    assert length(outline) == 0


def test_nothing_is_repainted_where_there_was_and_is_no_draft(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (fill, outline, painter), repaints = preview(), []
    monkeypatch.setattr(Labels, "refresh", lambda layer, **how: repaints.append(layer))
    painter.show({}, Plane(0, 1))
    assert not repaints
    painter.show({Plane(0, 1): ShownMask(np.ones((20, 30), np.uint8), True)}, Plane(0, 1))
    assert repaints and fill.data[1].all()
    repaints.clear()
    painter.show({}, Plane(0, 1))
    assert repaints and not fill.data.any() and length(outline) == 0


def test_the_committed_layer_is_repainted_only_where_it_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    committed, repaints = np.zeros((3, 20, 30), np.uint8), []
    committed[1, 5:15, 6:20] = 1
    layer = Labels(committed.copy())
    painter = CommittedPainter(layer, 3, committed)
    monkeypatch.setattr(Labels, "refresh", lambda layer, **how: repaints.append(layer))
    painter.show(committed, {Plane(0, 0)})  # a preview beside it: nothing to hide there
    assert not repaints
    painter.show(committed, {Plane(0, 1)})
    assert repaints and not layer.data.any()
    repaints.clear()
    layer.data[1, 2, 3] = 1  # of a stroke that goes on
    painter.show(committed, {Plane(0, 1)})
    assert not repaints and layer.data[1, 2, 3] == 1
    painter.show(committed, set())
    assert repaints
    np.testing.assert_array_equal(layer.data, committed)


def test_a_plane_that_crosses_drafts_takes_nothing_of_them_away_when_it_is_left(
    qtbot: QtBot,
) -> None:
    fill, outline, painter = preview()
    square = np.zeros((20, 30), np.uint8)
    square[5:15, 6:20] = 1
    drafts = {Plane(0, i): ShownMask(square.copy(), True) for i in range(3)}
    painter.show(drafts, Plane(0, 0))
    dashed = outline.data.copy()
    assert 0 < length(outline) < 48
    crossing = ShownMask(np.stack([square[10]] * 3), True)
    painter.show(drafts, Plane(1, 10), crossing)
    assert set(outline.data[:, 0, 1]) == {10}
    painter.show(drafts, Plane(0, 0))
    np.testing.assert_array_equal(fill.data, [square] * 3)
    np.testing.assert_array_equal(outline.data, dashed)


def test_doubtful_images_and_those_with_a_tag_are_listed(qtbot: QtBot) -> None:
    panel = show(qtbot, QueuePanel())
    rows = [QueueRow(name, name, 0, 9) for name in "abcd"]
    ranking = {
        "a": Ranked(0.9, "like 9 % of the open slices"),
        "c": Ranked(0.5, "the two models disagree on 38 % of the outline", doubtful=True),
    }
    panel.show_rows(rows, frozenset({"d"}), ranking)
    state, tag = (panel.findChild(QComboBox, f"queue_{kind}") for kind in ("filter", "tag"))
    assert not tag.isVisible()

    def listed() -> list[str]:
        model = panel.list.model()
        return [model.index(i).data(Qt.ItemDataRole.UserRole) for i in range(model.rowCount())]

    state.setCurrentText("Doubtful")
    assert listed() == ["c", "d"]
    tagged = [replace(row, tags=("ward A",) if row.name in "ad" else ()) for row in rows]
    panel.show_rows(tagged, frozenset({"d"}))
    tag.setCurrentText("ward A")
    assert tag.isVisible() and listed() == ["d"]
    more = [*tagged, QueueRow("e", "e", 0, 9, tags=("ward B",))]
    panel.show_rows(more, frozenset({"d"}))
    assert tag.currentText() == "ward A" and listed() == ["d"]
    panel.show_rows(rows, frozenset({"d"}))  # no image has a tag any more
    assert listed() == ["c", "d"] and not tag.isVisible()
