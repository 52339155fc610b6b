"""What nobody should do on the canvas, and somebody will: nothing is lost, nothing is stuck."""

from __future__ import annotations

import tomllib
from typing import Any

import numpy as np
import tomli_w
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QWidget

from napari_scsam._qt.dock import ScsamDock
from napari_scsam.core.geometry import Plane


def shown(dock: Any, name: str = "preview") -> np.ndarray:
    index = dock.session.annotation.key[1].index
    return np.array(dock.session.canvas.layers[name].data[index])


def test_what_is_painted_on_another_slice_is_taken_back(hand: Any, dock: Any, loop: Any) -> None:
    preview = dock.session.canvas.layers["preview"]
    other = loop.key[1].index + 1
    preview.paint((other, 20, 20), 1)
    hand.qtbot.wait(50)
    assert not preview.data[other].any()
    assert "displayed slice" in hand.status()
    assert "undo" not in loop.view_state.enabled


def test_a_stroke_on_a_slice_that_is_being_saved_is_kept(hand: Any, dock: Any, loop: Any) -> None:
    image_id, plane = loop.key
    hand.click(20, 20)
    hand.wait_for_mask()
    hand.window_key(Qt.Key.Key_D)
    loop.commit()  # runs on a thread
    hand.trace([(40, 15), (40, 45)])
    project = dock.session.project
    hand.until(lambda: project.committed_planes(image_id) == [plane.index])
    hand.until(lambda: loop.now.status.busy == "")
    assert shown(dock)[40, 30] == 1
    assert shown(dock)[20, 20] == 1
    loop.commit()
    hand.until(lambda: project.label(image_id)[plane.index][40, 30] == 1)


def test_a_stroke_begun_while_j_saves_stays_on_its_slice(hand: Any, dock: Any, loop: Any) -> None:
    image_id, plane = loop.key
    hand.click(20, 20)
    hand.wait_for_mask()
    hand.window_key(Qt.Key.Key_D)
    hand.window_key(Qt.Key.Key_J)
    project = dock.session.project

    def saved() -> bool:
        return project.committed_planes(image_id) == [plane.index] and not loop.now.status.busy

    places = [(40, 15), (40, 30), (40, 45)]
    hand.trace(places, on_the_way=lambda: hand.until(saved))
    assert loop.key == (image_id, plane)
    assert shown(dock)[40, 20] == shown(dock)[40, 40] == 1
    hand.window_key(Qt.Key.Key_J)
    hand.until(lambda: project.label(image_id)[plane.index][40, 40] == 1)
    hand.until(lambda: loop.key[1].index == plane.index + 1)


def test_a_layer_removed_while_the_model_works_comes_back_with_the_mask(
    hand: Any, dock: Any, loop: Any
) -> None:
    hand.click(20, 20)
    for name in ("preview", "preview outline"):
        hand.viewer.layers.remove(dock.session.canvas.layers[name])
    hand.wait_for_mask()
    ours = dock.session.canvas.layers
    hand.until(lambda: all(layer in hand.viewer.layers for layer in ours.values()))
    assert shown(dock)[20, 20] == 1


def test_undo_while_a_save_runs_leaves_label_and_window_in_step(
    hand: Any, dock: Any, loop: Any
) -> None:
    image_id, plane = loop.key
    project = dock.session.project
    hand.click(20, 20)
    hand.wait_for_mask()
    loop.commit()
    hand.window_key(Qt.Key.Key_U)
    hand.until(lambda: loop.now.status.busy == "" and dock._runners.files.idle)
    committed = project.committed_planes(image_id)
    assert shown(dock, "committed").any() == (committed == [plane.index])
    if committed:
        hand.window_key(Qt.Key.Key_U)
        hand.until(lambda: hand.status() == "Undone.")
        assert project.committed_planes(image_id) == []
    assert len(hand.points()) == 1


def test_an_object_of_one_pixel_is_saved_and_one_of_none_is_nothing(
    hand: Any, dock: Any, loop: Any
) -> None:
    image_id, plane = loop.key
    before = np.zeros(loop.now.plane_shape, np.uint8)
    after = before.copy()
    after[7, 9] = 2
    loop.painting.paint(plane, before, before.copy())
    assert loop.now.is_untouched
    loop.painting.paint(plane, before, after)
    loop.commit()
    project = dock.session.project
    hand.until(lambda: project.committed_planes(image_id) == [plane.index])
    np.testing.assert_array_equal(project.label(image_id)[plane.index], after)
    hand.until(lambda: hand.status().startswith("Saved slice 4 of scan: two. one: not there."))


def test_a_stroke_that_ends_outside_the_canvas_is_one_step(hand: Any, dock: Any, loop: Any) -> None:
    hand.window_key(Qt.Key.Key_D)
    hand.trace([(40, 15), (40, 400)])
    assert shown(dock)[40, 20] == 1
    hand.qtbot.mouseMove(hand.native, hand.at(10, 10))
    assert not shown(dock)[10, 10]
    hand.press("undo")
    assert not shown(dock).any()
    hand.pick_tool("box")
    hand.trace([(20, 20), (400, 400)])
    hand.wait_for_mask()
    assert len(loop.prompts.boxes) == 1


def test_a_second_dock_opens_nothing_and_leaves_the_first_working(
    hand: Any, dock: Any, loop: Any, viewer: Any
) -> None:
    folder, layers = dock.session.project.folder, list(viewer.layers)
    second = ScsamDock(viewer, segmenter=dock._make_segmenter)
    viewer.window.add_dock_widget(second, name="SC-SAM 2")
    try:
        second.open_project_folder(folder)
        status = second.findChild(QWidget, "status")
        hand.until(lambda: "Another SC-SAM panel" in status.text())
        assert second.session is None
        assert list(viewer.layers) == layers
        loop.navigation.open_image(loop.key[0], Plane(0, 3))
        hand.window_key(Qt.Key.Key_I)
        hand.click(20, 20)
        hand.until(lambda: shown(dock)[20, 20] == 1)
        hand.window_key(Qt.Key.Key_U)
        hand.until(lambda: not hand.points())
    finally:
        second.shut_down()
        viewer.window.remove_dock_widget(second)
        second.deleteLater()
    hand.window_key(Qt.Key.Key_I)
    hand.click(20, 20)
    hand.until(lambda: shown(dock)[20, 20] == 1)


def test_a_class_that_left_the_table_is_grey_and_can_not_be_committed(
    hand: Any, dock: Any, loop: Any
) -> None:
    project = dock.session.project
    image_id, plane = loop.key
    loop.editor.set_class(2)
    hand.click(30, 30)
    hand.wait_for_mask()
    loop.commit()
    hand.until(lambda: project.committed_planes(image_id) == [plane.index])
    hand.until(lambda: not loop.now.status.busy)
    dock.session.canvas.go_to(Plane(0, 0))
    hand.click(20, 20)
    hand.wait_for_mask()
    dock.close_project()
    table = project.folder / "project.toml"
    info = tomllib.loads(table.read_text())
    del info["classes"][1]
    table.write_text(tomli_w.dumps(info))

    dock.open_project_folder(project.folder)
    hand.wait_for_image()
    session = dock.session
    assert [c.name for c in session.project.classes] == ["one"]
    session.annotation.navigation.open_image(image_id, Plane(0, 0))
    hand.wait_for_mask()
    grey = [128 / 255] * 3
    layers = session.canvas.layers
    np.testing.assert_allclose(layers["prompts"].face_color[0][:3], grey, atol=0.01)
    np.testing.assert_allclose(layers["committed"].colormap.map(2)[:3], grey, atol=0.01)
    hand.window_key(Qt.Key.Key_J)
    hand.until(lambda: "2" in hand.status() and "one" in hand.status())
    assert session.project.committed_planes(image_id) == [plane.index]
    assert len(hand.points()) == 1  # what was clicked is there
