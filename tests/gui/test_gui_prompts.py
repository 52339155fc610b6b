"""Scribbles, lassos, objects and planes by mouse and key; all but one test without a model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt

from napari_scsam._napari.masks import FLASH_MS
from napari_scsam.core.geometry import Plane
from napari_scsam.core.prompts import PointPrompt, PromptSet

if TYPE_CHECKING:
    from napari_scsam.inference.messages import Answer, Question

pytestmark = pytest.mark.gui

RIGHT = Qt.MouseButton.RightButton


def lines(dock: Any) -> Any:
    return dock.session.canvas.layers["boxes and strokes"]


def test_scribbles_and_lassos_of_both_signs_are_drawn_shown_and_undone(
    hand: Any, dock: Any, loop: Any
) -> None:
    hand.pick_tool("scribble")
    hand.trace([(10, 10), (10, 30), (20, 30)])
    (scribble,) = loop.prompts.strokes
    assert (scribble.kind, scribble.positive, len(scribble.path)) == ("scribble", True, 3)
    assert np.allclose(scribble.path, [(10, 10), (10, 30), (20, 30)], atol=1)
    assert len(lines(dock).data) == 2
    hand.trace([(40, 10), (40, 40)], shift=True)
    assert not loop.prompts.strokes[1].positive
    assert len(lines(dock).data) > 4  # in dashes
    hand.key(Qt.Key.Key_2)
    hand.pick_tool("lasso")
    hand.trace([(30, 50), (30, 60), (40, 60), (40, 50)])
    lasso = loop.prompts.strokes[2]
    assert (lasso.kind, lasso.class_id) == ("lasso", 2)
    hand.click(50, 20)  # a click is a point with every tool
    assert len(hand.points()) == 1
    assert hand.find("counts").text().startswith("1 point by you, 2 scribbles, 1 lasso")
    for left in (3, 2, 1, 0):
        hand.press("undo")
        assert len(loop.prompts.strokes) == left
    assert not len(lines(dock).data)


def test_a_stroke_runs_within_a_screen_pixel_of_the_hand_on_thick_slices(
    hand: Any, dock: Any, loop: Any
) -> None:
    hand.find("plane_axis").setCurrentIndex(2)
    hand.qtbot.wait(50)
    hand.pick_tool("scribble")
    # Up and down by three screen pixels, in rows that are four times as high as columns are wide.
    step = 3 / (4 * hand.viewer.scene.camera.zoom)
    hand.trace([(3, 5), (3 + step, 18), (3, 31), (3 + step, 44), (3, 55)])
    (stroke,) = loop.prompts.strokes
    rows = [row for row, _ in stroke.path]
    assert np.ptp(rows) >= 0.6 * step
    assert len(stroke.path) >= 5


def test_a_new_scene_repaints_only_what_it_changes(
    hand: Any, dock: Any, loop: Any, monkeypatch: Any
) -> None:
    hand.click(30, 30)
    hand.wait_for_mask()
    hand.qtbot.wait(FLASH_MS + 80)
    layers, repainted = dock.session.canvas.layers, set()
    named = {id(layer): name for name, layer in layers.items()}
    for kind in {type(layer) for layer in layers.values()}:
        was = kind.refresh

        def refresh(layer: Any, *args: Any, was: Any = was, **how: Any) -> Any:
            repainted.add(named.get(id(layer)))
            return was(layer, *args, **how)

        monkeypatch.setattr(kind, "refresh", refresh)
    loop.editor.set_tool("lasso")
    loop.set_window("volume")  # has the outline asked for again
    loop.set_window("auto")
    assert repainted <= {"image"}
    repainted.clear()
    loop.editor.select_point(None)
    assert repainted == {"prompts"}
    repainted.clear()
    hand.press("commit")
    hand.until(lambda: hand.status().startswith("Saved slice 4 of scan: one."))
    assert repainted == {"prompts", "preview", "preview outline", "committed"}


def test_a_click_in_a_suggested_outline_replaces_it_and_undo_brings_it_back(
    hand: Any, dock: Any, loop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    squares = dock._make_segmenter(None, 0)

    def suggest(_self: Any, question: Question, _class_ids: Any) -> Answer:
        points = [PointPrompt(30, 30, 1, origin="model", state="proposed")]
        prompts = PromptSet((*question.prompts.points, *points))
        answer = squares.decode(replace(question, prompts=prompts))
        label = answer.preview
        label[20:41, 20:41] = 1  # an outline of its own, larger than a square
        return replace(answer, preview=label)

    monkeypatch.setattr(type(squares), "suggest", suggest)
    loop.use_tuned(dock.session.project.folder)
    hand.press("suggest")
    hand.until(lambda: hand.status().startswith("Suggested"))
    shown = np.array(dock.session.canvas.layers["preview"].data[loop.key[1].index])
    assert shown[22, 22] == 1
    hand.click(24, 36)
    hand.until(lambda: "replaced" in hand.status())
    hand.wait_for_mask()
    assert [p.state for p in loop.prompts.points] == ["rejected", "accepted"]
    hand.until(lambda: not dock.session.canvas.layers["preview"].data[loop.key[1].index][30, 30])
    assert dock.session.canvas.layers["preview"].data[loop.key[1].index][24, 36] == 1
    hand.press("undo")
    hand.until(lambda: dock.session.canvas.layers["preview"].data[loop.key[1].index][30, 30] == 1)
    assert [p.state for p in loop.prompts.points] == ["proposed"]


def test_escape_stops_a_stroke_and_another_slice_ends_it(hand: Any, dock: Any, loop: Any) -> None:
    hand.trace([(5, 5), (20, 20)], RIGHT)
    shown = lines(dock).data.copy()
    hand.pick_tool("scribble")
    under_way = []

    def escape() -> None:
        under_way.append(len(lines(dock).data))
        hand.key(Qt.Key.Key_Escape)

    hand.trace([(30, 10), (30, 40)], on_the_way=escape)
    assert under_way[0] > len(shown)
    np.testing.assert_array_equal(lines(dock).data, shown)
    hand.trace([(30, 10), (30, 40)], on_the_way=lambda: dock.session.canvas.go_to(Plane(0, 6)))
    assert loop.prompts.is_empty
    dock.session.canvas.go_to(Plane(0, 4))
    assert loop.prompts.strokes == ()
    np.testing.assert_array_equal(lines(dock).data, shown)


def test_boxes_begin_objects_and_a_click_on_a_line_selects_it_for_delete(
    hand: Any, dock: Any, loop: Any
) -> None:
    hand.trace([(5, 5), (20, 20)], RIGHT)
    hand.trace([(35, 40), (50, 55)], RIGHT)
    assert set(loop.prompts.boxes) == {(1, 1), (1, 2)}
    assert "2 objects, now number 2" in hand.find("counts").text()
    hand.wait_for_mask()
    preview = dock.session.canvas.layers["preview"].data[4]
    assert preview[10, 10] == preview[45, 45] == 1
    hand.click(5, 12)  # on the edge of the first
    assert hand.points() == ()
    assert hand.find("counts").text().startswith("A box of one is selected")
    assert loop.now.active_object == (1, 1)
    hand.key(Qt.Key.Key_Delete)
    assert set(loop.prompts.boxes) == {(1, 2)}
    hand.window_key(Qt.Key.Key_A)
    hand.click(10, 10)
    assert hand.points()[0].object_key == (1, 3)
    hand.pick_tool("box")
    hand.click(30, 20)
    assert len(hand.points()) == 2  # a box without an area is a click


def test_what_is_drawn_beside_the_image_is_said_and_not_shown(
    hand: Any, dock: Any, loop: Any
) -> None:
    hand.click(-4, 30)
    assert hand.status().startswith("That is outside the image")
    hand.trace([(20, 74), (40, 78)], RIGHT)
    assert "no area" in hand.status()
    assert loop.prompts.is_empty
    assert not len(lines(dock).data)


def test_any_axis_is_picked_annotated_committed_and_undone(hand: Any, dock: Any, loop: Any) -> None:
    axis = hand.find("plane_axis")
    names = [axis.itemText(i) for i in range(axis.count())]
    assert names == ["Axial", "Coronal", "Sagittal"]
    hand.click(22, 33)
    axis.setCurrentIndex(2)
    assert loop.key[1] == Plane(2, 33)
    assert loop.prompts.is_empty
    hand.qtbot.wait(50)
    hand.trace([(2, 10), (5, 30)], RIGHT)
    assert loop.prompts.boxes[1, 1] == pytest.approx((2, 10, 5, 30), abs=1)
    hand.wait_for_mask()
    hand.pick_tool("scribble")
    hand.trace([(3, 12), (4, 25), (3, 40)], shift=True)
    assert not loop.prompts.strokes[0].positive
    hand.wait_for_mask()
    hand.press("commit")
    hand.until(lambda: hand.status().startswith("Saved slice 33 of scan: one. two: decided on "))
    axis.setCurrentIndex(0)
    assert loop.key[1].axis == 0
    assert hand.viewer.dims.range[0].step == 4  # the slider goes from slice to slice
    committed = dock.session.canvas.layers["committed"].data
    assert (committed[3, 12:28, 33] == 1).all()  # a line across the other views
    assert dock.session.project.committed_planes(loop.now.image_id) == []
    hand.press("undo")
    hand.until(lambda: hand.status() == "Undone.")
    assert loop.key[1] == Plane(2, 33)
    assert axis.currentIndex() == 2
    assert dock.session.project.label(loop.now.image_id) is None


def test_every_kind_together_gives_the_union_of_two_classes(
    hand: Any, dock: Any, tmp_path: Any
) -> None:
    rows, cols = np.mgrid[:96, :80]
    scan = np.random.default_rng(1).normal(0.2, 0.03, (3, 96, 80)).astype(np.float32)
    for row, col in ((25, 22), (25, 60), (70, 40)):
        scan[:, (rows - row) ** 2 + (cols - col) ** 2 <= 12**2] += 0.6
    scan[2] = 0.5
    tifffile.imwrite(tmp_path / "scan.tif", scan, imagej=True, metadata={"axes": "ZYX"})
    dock.create_project(tmp_path / "project", ["one", "two"], [tmp_path / "scan.tif"])
    hand.wait_for_image()
    hand.trace([(12, 9), (38, 35)], RIGHT)
    hand.trace([(12, 47), (38, 73)], RIGHT)
    dock.session.annotation.editor.set_class(2)
    hand.pick_tool("lasso")
    around = np.linspace(0, 2 * np.pi, 9)[:-1]
    hand.trace([(70 + 11 * np.sin(a), 40 + 11 * np.cos(a)) for a in around])
    hand.wait_for_mask()
    preview = dock.session.canvas.layers["preview"].data[1]
    assert preview[25, 22] == preview[25, 60] == 1
    assert preview[70, 40] == 2
    assert "outline:" in hand.find("counts").text()

    dock.session.canvas.go_to(Plane(0, 2))  # of one value
    hand.click(50, 40)
    hand.until(lambda: hand.status().startswith("⚠"))
    assert "\n" not in hand.status()
    dock.session.canvas.go_to(Plane(0, 0))
    hand.click(70, 40)
    hand.wait_for_mask()


def test_the_hint_says_what_a_click_outside_does(hand: Any, loop: Any) -> None:
    hand.pick_tool("outside")
    assert hand.find("counts").text() == "Click what does not belong to the structure."
    hand.pick_tool("inside")
    assert hand.find("counts").text().startswith("Click the structure")
