"""napari's own brush, eraser, fill and polygon: what they draw is the label, and is saved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_scsam.annotation.pending import read_back
from napari_scsam.core.geometry import Plane
from napari_scsam.core.patches import Patch
from napari_scsam.core.prompts import PromptSet
from napari_scsam.project import Project
from napari_scsam.project.pending import read_pending

pytestmark = pytest.mark.gui
# Of the volume of `loop` (conftest.py).
LOOP_SHAPE = (8, 60, 70)


def layer(dock: Any, name: str) -> Any:
    return dock.session.canvas.layers[name]


def on_show(dock: Any, name: str = "preview") -> np.ndarray:
    return np.array(layer(dock, name).data[dock.session.annotation.key[1].index])


def take(dock: Any, name: str, mode: str, *, value: int = 1, size: int = 5) -> Any:
    """Take one of napari's own tools, as its layer controls do."""
    chosen = layer(dock, name)
    dock._viewer.layers.selection.active = chosen
    chosen.mode, chosen.selected_label, chosen.brush_size = mode, value, size
    return chosen


def save(hand: Any, dock: Any) -> np.ndarray:
    """Commit, close the project, and read what is in its folder: the plane that was on show."""
    image_id, plane = dock.session.annotation.key
    folder = dock.session.project.folder
    hand.press("commit")
    hand.until(lambda: hand.status().startswith("Saved"))
    dock.close_project()
    with Project.open(folder) as project:
        label = project.label(image_id)
    assert label is not None
    return np.asarray(label[plane.index])


def test_a_brush_stroke_on_an_outline_is_saved_as_drawn(hand: Any, dock: Any, loop: Any) -> None:
    hand.click(20, 20)
    hand.wait_for_mask()
    outlined = on_show(dock)
    take(dock, "preview", "paint")
    hand.trace([(40, 15), (40, 45)])
    painted = on_show(dock)
    assert painted[40, 30] == painted[40, 16] == 1
    np.testing.assert_array_equal(painted[:30], outlined[:30])
    assert "by hand" in hand.find("counts").text()
    saved = save(hand, dock)
    np.testing.assert_array_equal(saved, painted)


def test_a_ring_painted_into_the_committed_layer_is_there_after_reopening(
    hand: Any, dock: Any, loop: Any
) -> None:
    hand.click(20, 20)
    hand.wait_for_mask()
    hand.press("commit")
    hand.until(lambda: hand.status().startswith("Saved"))
    committed = on_show(dock, "committed")
    take(dock, "committed", "paint", value=2, size=3)
    hand.trace([(35, 30), (35, 50), (50, 50), (50, 30), (35, 30)])
    shown = on_show(dock)
    assert shown[35, 40] == shown[50, 40] == 2
    assert shown[42, 40] == 0
    assert not on_show(dock, "committed").any()  # what is solid is what is saved
    hand.press("undo")
    np.testing.assert_array_equal(on_show(dock), committed)
    hand.window_key(Qt.Key.Key_I)
    assert not on_show(dock).any()
    np.testing.assert_array_equal(on_show(dock, "committed"), committed)
    hand.press("redo")
    np.testing.assert_array_equal(save(hand, dock), shown)


def test_eraser_fill_and_polygon_are_steps_that_undo_takes_back(
    hand: Any, dock: Any, loop: Any
) -> None:
    hand.drag((10, 10), (30, 30), Qt.MouseButton.RightButton)
    hand.wait_for_mask()
    states = [on_show(dock)]
    take(dock, "preview", "erase")
    hand.trace([(20, 12), (20, 28)])
    states.append(on_show(dock))
    assert states[-1][20, 20] == 0
    take(dock, "preview", "fill", value=2)
    hand.click(50, 60)
    states.append(on_show(dock))
    assert states[-1][55, 65] == 2
    assert states[-1][12, 12] == 1
    hand.press("undo")
    np.testing.assert_array_equal(on_show(dock), states[1])
    take(dock, "preview", "polygon", value=2)
    for place in [(40, 10), (40, 30), (55, 30)]:
        hand.click(*place)
        hand.qtbot.wait(20)
    hand.key(Qt.Key.Key_Return)
    polygon = on_show(dock)
    assert polygon[44, 26] == 2
    assert polygon[50, 12] == 0
    hand.press("undo")
    np.testing.assert_array_equal(on_show(dock), states[1])
    hand.press("undo")
    hand.until(lambda: np.array_equal(on_show(dock), states[0]))
    hand.press("redo")
    np.testing.assert_array_equal(on_show(dock), states[1])


def test_a_later_decode_leaves_a_stroke_alone_unless_it_is_clicked(
    hand: Any, dock: Any, loop: Any
) -> None:
    hand.click(20, 20)
    hand.wait_for_mask()
    hand.window_key(Qt.Key.Key_D)
    hand.trace([(40, 15), (40, 45)])
    drawn = on_show(dock)
    hand.window_key(Qt.Key.Key_I)
    hand.click(10, 50)
    hand.until(lambda: on_show(dock)[10, 50] == 1)
    assert (on_show(dock)[drawn > 0] == 1).all()
    hand.click(40, 30, shift=True)  # "not this"
    hand.until(lambda: on_show(dock)[40, 30] == 0)
    assert on_show(dock)[20, 20] == 1


def test_keys_take_brush_and_eraser_and_brackets_size_them(hand: Any, dock: Any, loop: Any) -> None:
    hand.window_key(Qt.Key.Key_D)
    preview = layer(dock, "preview")
    assert hand.viewer.layers.selection.active is preview
    assert str(preview.mode) == "paint"
    assert hand.find("prompt_kind").currentData() == "brush"
    size = preview.brush_size
    hand.key(Qt.Key.Key_BracketRight)
    hand.key(Qt.Key.Key_BracketRight)
    hand.key(Qt.Key.Key_BracketLeft)
    assert preview.brush_size == size + 1
    hand.trace([(30, 20), (30, 50)])
    assert on_show(dock)[30, 35] == 1
    control = Qt.KeyboardModifier.ControlModifier
    QTest.keyClick(hand.native, Qt.Key.Key_Z, control)
    assert not on_show(dock).any()
    QTest.keyClick(hand.native, Qt.Key.Key_Z, control | Qt.KeyboardModifier.ShiftModifier)
    assert on_show(dock)[30, 35] == 1
    hand.key(Qt.Key.Key_2)
    assert preview.selected_label == 2
    hand.key(Qt.Key.Key_1)
    hand.window_key(Qt.Key.Key_R)
    assert str(preview.mode) == "erase"
    hand.trace([(20, 35), (40, 35)])
    assert on_show(dock)[30, 35] == 0
    assert on_show(dock)[30, 22] == 1
    hand.window_key(Qt.Key.Key_I)
    assert hand.viewer.layers.selection.active is layer(dock, "prompts")
    assert hand.find("prompt_kind").currentData() == "inside"
    hand.click(50, 50)
    assert len(hand.points()) == 1


def test_a_committed_slice_is_erased_from_by_key(hand: Any, dock: Any, loop: Any) -> None:
    hand.drag((10, 10), (30, 30), Qt.MouseButton.RightButton)
    hand.wait_for_mask()
    hand.press("commit")
    hand.until(lambda: hand.status().startswith("Saved"))
    hand.window_key(Qt.Key.Key_R)
    hand.trace([(20, 5), (20, 35)])
    assert on_show(dock)[20, 20] == 0
    assert on_show(dock)[12, 12] == 1
    saved = save(hand, dock)
    assert saved[20, 20] == 0
    assert saved[12, 12] == 1


def test_what_is_drawn_goes_into_the_journal_and_is_asked_from(
    hand: Any, dock: Any, loop: Any, monkeypatch: Any
) -> None:
    asked = []
    segmenter = dock.session.segmenter
    decode = segmenter.decode
    monkeypatch.setattr(segmenter, "decode", lambda q: asked.append(q) or decode(q))
    hand.window_key(Qt.Key.Key_D)
    hand.trace([(40, 15), (40, 45)])
    drawn = on_show(dock)
    hand.window_key(Qt.Key.Key_I)
    hand.click(41, 30)
    hand.until(lambda: bool(asked))
    np.testing.assert_array_equal(asked[-1].draft, drawn)  # the mask that the click corrects
    assert asked[-1].included == PromptSet()
    hand.wait_for_mask()
    project = dock.session.project
    hand.press("commit")
    hand.until(lambda: hand.status().startswith("Saved"))
    (event,) = project.events("prompts")
    (patch,) = event.payload["drawn"]
    again = np.zeros_like(drawn)
    Patch.from_json(patch).onto(again)
    np.testing.assert_array_equal(again, drawn)


def test_a_value_that_is_no_class_is_not_drawn_and_the_dock_says_so(
    hand: Any, dock: Any, loop: Any
) -> None:
    take(dock, "preview", "paint", value=7)
    hand.trace([(40, 15), (40, 45)])
    assert not on_show(dock).any()
    assert "7 is no class" in hand.status()
    assert not hand.find("undo").isEnabled()


def test_layers_that_are_not_painted_are_locked_and_so_are_all_in_3d(
    hand: Any, dock: Any, loop: Any
) -> None:
    outline, preview = layer(dock, "preview outline"), layer(dock, "preview")
    assert not outline.editable
    hand.viewer.layers.selection.active = outline
    assert "can't be painted on" in hand.status()
    hand.window_key(Qt.Key.Key_D)
    hand.viewer.dims.ndisplay = 3
    assert not preview.editable
    assert "3D" in hand.status()
    assert hand.viewer.cursor.style == "standard"
    hand.window_key(Qt.Key.Key_D)
    assert hand.viewer.dims.ndisplay == 2
    assert preview.editable
    assert str(preview.mode) == "paint"


@pytest.mark.parametrize("mode", ["add", "select", "transform"])
def test_naparis_own_point_tools_leave_the_prompts_alone(
    hand: Any, dock: Any, loop: Any, mode: str
) -> None:
    hand.click(20, 20)
    hand.wait_for_mask()
    prompts = layer(dock, "prompts")
    controls = hand.viewer.window._qt_viewer.controls.widgets[prompts]
    button = next(b for mode_, b in controls._MODE_BUTTONS.items() if str(mode_) == mode)
    hand.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert "point tools are off" in hand.status()
    assert str(prompts.mode) == "pan_zoom"
    assert not button.isChecked()
    hand.click(40, 40)
    assert len(hand.points()) == len(prompts.data) == 2
    hand.trace([(40, 40), (45, 50)])
    assert len(hand.points()) == len(prompts.data) == 2
    assert hand.points()[1].row == pytest.approx(45, abs=1)


@pytest.mark.parametrize("key", [Qt.Key.Key_P, Qt.Key.Key_S])
def test_naparis_keys_for_point_tools_add_no_stray_dot(
    hand: Any, dock: Any, loop: Any, key: Any
) -> None:
    hand.key(key)
    assert str(layer(dock, "prompts").mode) == "pan_zoom"
    assert "point tools are off" in hand.status()
    hand.click(40, 40)
    assert len(hand.points()) == len(layer(dock, "prompts").data) == 1


def test_a_dot_that_is_no_prompt_can_be_grabbed_without_an_error(
    hand: Any, dock: Any, loop: Any
) -> None:
    layer(dock, "prompts").add([[loop.key[1].index, 40, 40]])  # as a script or a paste does
    hand.click(40, 40)
    hand.trace([(40, 40), (45, 50)])
    assert not hand.points()


@pytest.mark.parametrize("name", ["preview", "committed"])
@pytest.mark.parametrize("ndisplay", [2, 3])
def test_painting_in_a_read_only_project_is_refused_with_the_true_reason(
    hand: Any, dock: Any, loop: Any, name: str, ndisplay: int
) -> None:
    folder = dock.session.project.folder
    dock.close_project()
    with Project.open(folder):
        dock.open_project_folder(folder)
        hand.wait_for_image()
        hand.viewer.dims.ndisplay = ndisplay
        hand.viewer.layers.selection.active = layer(dock, name)
        assert hand.status() == "The project is open read-only, so painting is disabled."
        hand.viewer.dims.ndisplay = 2
        hand.trace([(40, 15), (40, 45)])
        assert not on_show(dock, name).any()
        dock.close_project()


def test_a_stroke_that_the_slider_interrupts_stays_on_its_slice(
    hand: Any, dock: Any, loop: Any
) -> None:
    hand.window_key(Qt.Key.Key_D)
    index = loop.key[1].index

    def slide() -> None:
        hand.viewer.dims.set_current_step(0, index + 1)

    hand.trace([(40, 15), (40, 45)], on_the_way=slide)
    assert loop.key[1].index == index + 1
    hand.viewer.dims.set_current_step(0, index)
    assert on_show(dock)[40, 30] == 1
    assert loop.now.working is not None


def test_j_in_the_middle_of_a_stroke_saves_what_is_drawn(hand: Any, dock: Any, loop: Any) -> None:
    hand.window_key(Qt.Key.Key_D)
    image_id, plane = loop.key
    project = dock.session.project
    window = hand.viewer.window._qt_window

    hand.trace([(40, 15), (40, 45)], on_the_way=lambda: QTest.keyClick(window, Qt.Key.Key_J))
    hand.until(lambda: project.committed_planes(image_id) == [plane.index])
    assert project.label(image_id)[plane.index][40, 30] == 1


def test_where_clicks_do_nothing_the_dock_says_why_and_one_key_brings_the_tool_back(
    hand: Any, dock: Any, loop: Any
) -> None:
    assert hand.viewer.cursor.style == "cross"
    other = hand.viewer.add_image(np.zeros((8, 60, 70)), name="mine")
    assert "mine" in hand.status()
    assert hand.viewer.cursor.style == "standard"
    hand.click(20, 20)
    assert not hand.points()
    hand.window_key(Qt.Key.Key_I)
    assert hand.viewer.layers.selection.active is layer(dock, "prompts")
    assert "mine" not in hand.status()
    hand.click(20, 20)
    assert len(hand.points()) == 1
    hand.viewer.layers.remove(other)
    hand.viewer.layers.selection.active = layer(dock, "prompts")

    hand.viewer.canvas.grid.enabled = True
    assert "grid" in hand.status()
    hand.window_key(Qt.Key.Key_I)
    assert not hand.viewer.canvas.grid.enabled
    assert "grid" not in hand.status()

    hand.viewer.dims.ndisplay = 3
    assert "3D" in hand.status()
    hand.window_key(Qt.Key.Key_I)
    assert hand.viewer.dims.ndisplay == 2
    assert "3D" not in hand.status()
    assert hand.viewer.cursor.style == "cross"
    before = len(hand.points())
    hand.click(40, 40)
    assert len(hand.points()) == before + 1


def test_what_was_not_saved_is_there_after_another_project(hand: Any, dock: Any, loop: Any) -> None:
    hand.click(20, 20)
    hand.wait_for_mask()
    hand.window_key(Qt.Key.Key_D)
    hand.trace([(40, 15), (40, 45)])
    shown, folder = on_show(dock), dock.session.project.folder
    dock.close_project()
    dock.open_project_folder(folder)
    hand.wait_for_image()
    assert "of the last session was restored" in hand.status()
    np.testing.assert_array_equal(on_show(dock), shown)
    assert len(hand.points()) == 1
    np.testing.assert_array_equal(save(hand, dock), shown)
    assert not list((folder / "pending").iterdir())


def test_a_layer_of_ours_that_is_removed_or_renamed_comes_back(
    hand: Any, dock: Any, loop: Any
) -> None:
    hand.click(20, 20)
    hand.wait_for_mask()
    order = [each.name for each in hand.viewer.layers]
    layers = dict(dock.session.canvas.layers)
    layers["preview"].name = "mine now"
    hand.viewer.layers.remove(layers["preview"])
    hand.viewer.layers.remove(layers["prompts"])
    hand.until(lambda: all(each in hand.viewer.layers for each in layers.values()))
    assert [each.name for each in hand.viewer.layers] == [
        "mine now" if name == "preview" else name for name in order
    ]
    hand.until(lambda: hand.viewer.layers.selection.active is layers["prompts"])
    assert on_show(dock)[20, 20] == 1
    hand.click(40, 40)
    hand.until(lambda: on_show(dock)[40, 40] == 1)
    assert len(hand.points()) == 2


def test_the_docks_own_x_closes_the_project_and_frees_it(hand: Any, dock: Any, loop: Any) -> None:
    hand.click(20, 20)
    hand.wait_for_mask()
    folder = dock.session.project.folder
    native = dock.parentWidget()
    hand.qtbot.mouseClick(native.titleBarWidget().close_button, Qt.MouseButton.LeftButton)
    assert dock.session is None
    assert not hand.viewer.layers
    with Project.open(folder) as project:
        assert not project.read_only
    hand.viewer.window.add_dock_widget(dock, name="SC-SAM")
    dock.open_project_folder(folder)
    hand.wait_for_image()
    assert len(hand.points()) == 1


def test_a_class_takes_what_is_free_and_t_lets_it_take_the_rest(
    hand: Any, dock: Any, loop: Any
) -> None:
    hand.drag((10, 10), (30, 30), Qt.MouseButton.RightButton)
    hand.until(lambda: on_show(dock)[25, 25] == 1)
    hand.key(Qt.Key.Key_2)
    hand.drag((20, 20), (45, 45), Qt.MouseButton.RightButton)
    hand.until(lambda: on_show(dock)[40, 40] == 2)
    assert on_show(dock)[25, 25] == 1
    choice = hand.find("paint_over")
    assert choice.isVisible()
    assert choice.currentData() == "free"
    hand.window_key(Qt.Key.Key_T)
    hand.until(lambda: on_show(dock)[25, 25] == 2)
    assert choice.currentData() == "all"
    assert on_show(dock)[12, 12] == 1
    hand.press("undo")
    hand.until(lambda: on_show(dock)[25, 25] == 1)
    shown = on_show(dock)
    hand.press("commit")
    hand.until(lambda: hand.status().startswith("Saved slice 4 of scan: one and two."))
    np.testing.assert_array_equal(on_show(dock, "committed"), shown)


def test_a_brush_keeps_other_classes_and_says_so(hand: Any, dock: Any, loop: Any) -> None:
    hand.drag((10, 10), (30, 30), Qt.MouseButton.RightButton)
    hand.until(lambda: on_show(dock)[25, 25] == 1)
    hand.key(Qt.Key.Key_2)
    hand.window_key(Qt.Key.Key_D)
    layer(dock, "preview").preserve_labels = False  # by napari's own check box
    hand.trace([(20, 5), (20, 50)])
    assert on_show(dock)[20, 20] == 1
    assert on_show(dock)[20, 45] == 2
    assert "one was protected" in hand.status()
    hand.window_key(Qt.Key.Key_T)
    hand.trace([(20, 5), (20, 50)])
    assert on_show(dock)[20, 20] == 2


def on_screen(hand: Any, row: float, col: float) -> np.ndarray:
    """Colour of the window's pixel at a place of the displayed slice, RGB."""
    native = hand.viewer.window._qt_viewer.canvas.native
    place, picture = hand.at(row, col), hand.viewer.screenshot(canvas_only=True, flash=False)
    ratio = picture.shape[1] / native.width()
    return np.asarray(picture[int(place.y() * ratio), int(place.x() * ratio), :3]).astype(int)


def test_a_stroke_is_drawn_once_except_for_the_pixels_that_were_protected(
    hand: Any, dock: Any, loop: Any
) -> None:
    hand.drag((10, 10), (30, 30), Qt.MouseButton.RightButton)
    hand.until(lambda: on_show(dock)[25, 25] == 1)
    hand.key(Qt.Key.Key_2)
    take(dock, "preview", "paint", value=2)
    layer(dock, "preview").preserve_labels = False  # by napari's own check box
    outline, inside = layer(dock, "preview outline"), on_screen(hand, 18, 25)
    drawn: list[Any] = []
    layer(dock, "preview").events.set_data.connect(drawn.append)
    hand.trace([(45, 10), (45, 50)])
    assert on_show(dock)[45, 40] == 2
    # By napari, for each event of the stroke; the finished stroke is on the screen already.
    assert not drawn
    hand.until(lambda: bool((outline.data[:, 0, 1] > 40).any()))
    assert not np.array_equal(on_screen(hand, 45, 30), on_screen(hand, 55, 30))
    hand.trace([(18, 15), (18, 28)])
    assert on_show(dock)[18, 25] == 1
    hand.until(lambda: np.array_equal(on_screen(hand, 18, 25), inside))
    assert drawn


def test_clicks_are_heard_where_napari_hands_the_plugin_a_guarded_viewer(
    guarded_hand: Any, viewer: Any, volume_path: Any, tmp_path: Any
) -> None:
    """Layers of a proxy are other objects at every access."""
    hand = guarded_hand
    hand.dock.create_project(tmp_path / "project", ["disc"], [volume_path])
    hand.wait_for_image()
    assert "Clicks go to" not in hand.status()
    viewer.layers.selection.active = viewer.layers[0]
    hand.until(lambda: "Clicks go to" in hand.status())
    viewer.layers.selection.active = viewer.layers["prompts"]
    hand.until(lambda: "Clicks go to" not in hand.status())
    viewer.layers.remove("prompts")
    hand.until(lambda: "prompts" in viewer.layers)


def test_a_drag_with_the_outline_tool_is_a_freehand_outline(
    hand: Any, dock: Any, loop: Any
) -> None:
    hand.pick_tool("outline")
    hand.trace([(10, 10), (10, 40), (40, 40), (40, 10), (11, 10)])
    drawn = on_show(dock)
    assert drawn[25, 25] == drawn[12, 12] == drawn[38, 38] == 1
    assert not drawn[:9].any()
    assert not drawn[42:].any()
    assert layer(dock, "preview")._overlays["polygon"].points == []
    hand.press("undo")
    assert not on_show(dock).any()
    # Clicks set vertices, and a drag after them goes on with the outline.
    hand.click(10, 10)
    hand.trace([(10, 40), (25, 45), (40, 40)])
    assert not on_show(dock).any()
    assert len(layer(dock, "preview")._overlays["polygon"].points) > 4


def test_one_key_cleans_up_islands_and_holes(hand: Any, dock: Any, loop: Any) -> None:
    take(dock, "preview", "paint", size=1)
    hand.click(50, 60)
    hand.pick_tool("outline")
    hand.trace([(10, 10), (10, 40), (40, 40), (40, 10), (11, 10)])
    before = on_show(dock)
    assert before[50, 60] == 1
    hand.window_key(Qt.Key.Key_O)
    assert on_show(dock)[50, 60] == 0
    assert on_show(dock)[25, 25] == 1
    hand.press("undo")
    np.testing.assert_array_equal(on_show(dock), before)


def test_undo_after_reopening_takes_back_the_commit_before(hand: Any, dock: Any, loop: Any) -> None:
    hand.click(20, 20)
    hand.wait_for_mask()
    image_id, plane = loop.key
    hand.press("commit")
    hand.until(lambda: hand.status().startswith("Saved"))
    folder = dock.session.project.folder
    dock.close_project()
    dock.open_project_folder(folder)
    hand.wait_for_image()
    project = dock.session.project
    assert project.committed_planes(image_id) == [plane.index]
    hand.press("undo")
    hand.until(lambda: hand.status() == "Undone.")
    assert project.committed_planes(image_id) == []
    hand.press("redo")
    hand.until(lambda: hand.status() == "Redone.")
    assert project.committed_planes(image_id) == [plane.index]


def test_a_smooth_outline_goes_through_the_clicks(hand: Any, dock: Any, loop: Any) -> None:
    drawn = layer(dock, "boxes and strokes")
    hand.click(12, 50)
    hand.wait_for_mask()
    clicked, zoom = on_show(dock), dock._viewer.scene.camera.zoom

    def undo() -> None:
        hand.press("undo")
        hand.until(lambda: np.array_equal(on_show(dock), clicked))

    hand.window_key(Qt.Key.Key_2)
    hand.window_key(Qt.Key.Key_Y)
    assert "Enter" in hand.status()
    around = [(15.4, 30.3), (25.4, 43.6), (40.4, 39.4), (40.4, 21.4), (25.4, 16.6)]
    for place in around:
        hand.click(*place)
        hand.qtbot.wait(20)
    assert len(hand.points()) == 1  # vertices are no prompts
    assert len(drawn.data) > 100
    hand.click(50, 60)
    hand.qtbot.mouseClick(hand.native, Qt.MouseButton.RightButton, pos=hand.at(50, 60))
    assert len(drawn.data) > 100
    hand.click(50, 60)
    hand.window_key(Qt.Key.Key_U)
    assert len(hand.points()) == 1
    hand.key(Qt.Key.Key_Return)
    shown = on_show(dock)
    rows, cols = np.mgrid[:60, :70]
    away = np.hypot(rows - 29.5, cols - 30)
    assert (shown[away < 12] == 2).all()
    assert not (shown[away > 16] == 2).any()
    np.testing.assert_array_equal(shown == 1, clicked == 1)
    assert len(drawn.data) == 0
    undo()
    # The first vertex completes it, too, and so does a double click, which does not zoom.
    for place in [*around, around[0]]:
        hand.click(*place)
        hand.qtbot.wait(20)
    np.testing.assert_array_equal(on_show(dock), shown)
    undo()
    for place in around:
        hand.click(*place)
        hand.qtbot.wait(20)
    for place in ((50, 60), (55, 50)):
        hand.click(*place)
        hand.qtbot.wait(20)
    # As from a mouse: the second click of two comes as a double click.
    hand.qtbot.mouseClick(hand.native, Qt.MouseButton.RightButton, pos=hand.at(55, 50))
    hand.qtbot.mouseDClick(hand.native, Qt.MouseButton.RightButton, pos=hand.at(55, 50))
    hand.qtbot.mouseDClick(hand.native, Qt.MouseButton.LeftButton, pos=hand.at(*around[-1]))
    np.testing.assert_array_equal(on_show(dock), shown)
    assert dock._viewer.scene.camera.zoom == zoom
    # Escape drops one, another slice keeps it for later, and J saves it.
    undo()
    for place in around:
        hand.click(*place)
    hand.key(Qt.Key.Key_Escape)
    hand.key(Qt.Key.Key_Return)
    np.testing.assert_array_equal(on_show(dock), clicked)
    for place in around:
        hand.click(*place)
        hand.qtbot.wait(20)
    plane = loop.key[1]
    dock.session.canvas.go_to(Plane(0, plane.index + 1))
    assert not on_show(dock).any()
    dock.session.canvas.go_to(plane)
    np.testing.assert_array_equal(on_show(dock), clicked)
    # The status has other lines than before, so the clicks are off by a part of a pixel.
    assert (save(hand, dock) != shown).sum() < 20


# Vertices around the middle of a slice, as (row, col).
ROUND = [(15.4, 30.3), (25.4, 43.6), (40.4, 39.4), (40.4, 21.4), (25.4, 16.6)]


def set_vertices(hand: Any, places: Any) -> None:
    for place in places:
        hand.click(*place)
        hand.qtbot.wait(20)


def hint(hand: Any) -> str:
    return str(hand.find("counts").text())


def undo_is_possible(hand: Any) -> bool:
    return bool(hand.find("undo").isEnabled())


def test_undo_and_the_hint_are_true_while_vertices_are_set(hand: Any, dock: Any, loop: Any) -> None:
    drawn = layer(dock, "boxes and strokes")
    hand.window_key(Qt.Key.Key_2)
    hand.window_key(Qt.Key.Key_Y)
    assert hint(hand).startswith("Click along the border")
    assert not undo_is_possible(hand)
    set_vertices(hand, ROUND[:2])
    assert undo_is_possible(hand)
    assert hint(hand).startswith("Outline of two. Click along its border.")
    assert "Enter" not in hint(hand)  # two points enclose nothing
    hand.key(Qt.Key.Key_Return)
    set_vertices(hand, ROUND[2:3])
    assert "Enter closes it, U takes the last point back, Esc gives the outline up" in hint(hand)
    for _ in range(3):
        hand.press("undo")
    assert not undo_is_possible(hand)
    assert len(drawn.data) == 0
    set_vertices(hand, ROUND)
    hand.window_key(Qt.Key.Key_1)  # the class of the outline that is being set
    assert hint(hand).startswith("Outline of one.")
    hand.key(Qt.Key.Key_Escape)
    assert hint(hand).startswith("Click along the border")
    assert len(drawn.data) == 0
    set_vertices(hand, ROUND)
    hand.key(Qt.Key.Key_Return)
    assert hint(hand) == "Painted by hand."
    assert (on_show(dock)[20:35, 25:35] == 1).all()
    # An outline that is begun beside something says so, too.
    set_vertices(hand, ROUND[:3])
    assert "Enter closes it" in hint(hand)
    hand.window_key(Qt.Key.Key_J)
    hand.until(lambda: hand.status().startswith("Saved"))


def test_undo_and_the_hint_are_true_for_an_exact_outline(hand: Any, dock: Any, loop: Any) -> None:
    hand.pick_tool("outline")
    assert "corner by corner" in hint(hand)
    assert not undo_is_possible(hand)
    set_vertices(hand, [(10, 10), (10, 40), (40, 40)])
    assert undo_is_possible(hand)
    assert "Enter closes it" in hint(hand)
    hand.press("undo")
    assert "Enter" not in hint(hand)
    hand.window_key(Qt.Key.Key_U)
    hand.press("undo")
    assert not undo_is_possible(hand)
    assert not on_show(dock).any()
    # The slice that is left keeps what was outlined there.
    set_vertices(hand, [(10, 10), (10, 40), (40, 40), (40, 10)])
    plane = loop.key[1]
    dock.session.canvas.go_to(Plane(0, plane.index + 1))
    assert not undo_is_possible(hand) or "Outline" not in hint(hand)
    assert not on_show(dock).any()
    dock.session.canvas.go_to(plane)
    assert on_show(dock)[25, 25] == 1
    # So does J.
    hand.press("undo")
    assert not on_show(dock).any()
    set_vertices(hand, [(10, 10), (10, 40), (40, 40), (40, 10)])
    assert save(hand, dock)[25, 25] == 1


def test_unfinished_outlines_come_back_with_their_slices_and_the_project(
    hand: Any, dock: Any, loop: Any
) -> None:
    image_id, plane = loop.key
    beside = Plane(0, plane.index + 1)
    hand.window_key(Qt.Key.Key_2)
    hand.window_key(Qt.Key.Key_Y)
    set_vertices(hand, ROUND)
    dock.session.canvas.go_to(beside)
    hand.window_key(Qt.Key.Key_1)
    set_vertices(hand, ROUND[:2])
    dock.session.canvas.go_to(plane)
    assert hint(hand).startswith("Outline of two.")
    lines = len(layer(dock, "boxes and strokes").data)
    folder = dock.session.project.folder
    for _ in range(2):  # what was read is written again
        dock.close_project()
        assert (folder / "pending" / f"{image_id}.json").exists()
        dock.open_project_folder(folder)
        hand.wait_for_image()
    assert "restored on 2 slices" in hand.status()
    dock.session.canvas.go_to(plane)
    assert len(layer(dock, "boxes and strokes").data) == pytest.approx(lines, rel=0.2)
    # It waits while the tool is another one.
    assert hint(hand) == "Unfinished outline of two: Y goes on with it."
    hand.key(Qt.Key.Key_Escape)
    assert not undo_is_possible(hand)
    hand.window_key(Qt.Key.Key_Y)
    assert "Enter closes it" in hint(hand)
    hand.key(Qt.Key.Key_Return)
    assert (on_show(dock)[20:35, 25:35] == 2).all()
    assert hint(hand) == "Painted by hand."
    assert (save(hand, dock)[20:35, 25:35] == 2).all()
    dock.open_project_folder(folder)
    hand.wait_for_image()
    dock.session.canvas.go_to(plane)
    assert "nfinished" not in hint(hand)
    dock.session.canvas.go_to(beside)
    assert hint(hand) == "Unfinished outline of one: Y goes on with it."
    hand.window_key(Qt.Key.Key_Y)
    hand.key(Qt.Key.Key_Escape)
    hand.until(lambda: not (folder / "pending" / f"{image_id}.json").exists())


def test_closing_the_window_keeps_unfinished_outlines(hand: Any, dock: Any, loop: Any) -> None:
    image_id, plane = loop.key
    folder = dock.session.project.folder
    hand.window_key(Qt.Key.Key_Y)
    set_vertices(hand, ROUND[:4])
    dock.session.canvas.go_to(Plane(0, plane.index + 1))
    hand.pick_tool("outline")
    set_vertices(hand, [(10, 10), (10, 40), (40, 40), (40, 10)])
    dock.shut_down()
    with Project.open(folder) as project:
        found = read_back(read_pending(project, image_id), LOOP_SHAPE)
    assert found[plane].outline is not None and len(found[plane].outline.vertices) == 4
    working = found[Plane(0, plane.index + 1)].working
    assert working is not None and working.label[25, 25] == 1


def test_an_exact_outline_that_is_open_when_the_project_closes_is_kept(
    hand: Any, dock: Any, loop: Any
) -> None:
    folder = dock.session.project.folder
    hand.pick_tool("outline")
    set_vertices(hand, [(10, 10), (10, 40), (40, 40), (40, 10)])
    dock.close_project()
    dock.open_project_folder(folder)
    hand.wait_for_image()
    assert on_show(dock)[25, 25] == 1
