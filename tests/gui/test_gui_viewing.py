"""Aids for viewing: overlays hidden by a key, points of constant size, and the slice strip."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QListView, QWidget

from napari_scsam._napari.masks import FLASH_MS
from napari_scsam._napari.outlines import OUTLINE_PX
from napari_scsam.annotation.work import Draft
from napari_scsam.core.geometry import Plane


@pytest.mark.parametrize("tool", ["inside", "brush", "outline", "lasso"])
def test_one_key_hides_all_but_the_picture_while_it_is_held(
    hand: Any, dock: Any, loop: Any, tool: Any
) -> None:
    layers = dock.session.canvas.layers
    loop.pick_tool(tool)
    layers["committed"].visible = False
    before = {name: layer.visible for name, layer in layers.items()}
    hand.activate()
    hand.native.setFocus()
    QTest.keyPress(hand.native, Qt.Key.Key_B)
    assert {name for name, layer in layers.items() if layer.visible} == {"image"}
    QTest.keyRelease(hand.native, Qt.Key.Key_B)
    assert {name: layer.visible for name, layer in layers.items()} == before
    layers["committed"].visible = True


def test_points_keep_their_size_on_the_screen_and_have_the_colour_of_their_class(
    hand: Any, dock: Any, loop: Any
) -> None:
    hand.click(20, 20)
    hand.window_key(Qt.Key.Key_W)  # outside
    points, camera = dock.session.canvas.layers["prompts"], hand.viewer.scene.camera
    size, zoom = float(points.size[0]), camera.zoom
    camera.zoom = 2 * zoom
    hand.until(lambda: np.isclose(points.size[0], size / 2))
    colour = dock.session.project.classes[0].colour
    expected = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    np.testing.assert_allclose(points.face_color[0][:3], expected, atol=0.01)
    assert str(points.symbol[0]) == "cross"


def test_the_strip_marks_slices_and_goes_to_the_clicked_one(
    hand: Any, dock: Any, loop: Any
) -> None:
    image_id, plane = loop.key
    strip = hand.viewer.window._qt_window.findChild(QWidget, "slice_strip")
    hand.click(20, 20)
    hand.wait_for_mask()
    assert dict(strip.marks.marks) == {plane.index: "draft"}
    hand.press("commit")
    hand.until(lambda: hand.status().startswith("Saved"))
    label = np.zeros(loop.now.plane_shape, np.uint8)
    label[20, 20] = 1
    store = loop._store
    drafts = {(image_id, Plane(0, 0)): Draft(label), (image_id, Plane(0, 1)): Draft(label, "why")}
    store.step(replace(store.now, work=store.now.work.with_drafts(drafts)))

    assert strip.isVisible()
    marks = {0: "draft", 1: "flagged", plane.index: "committed"}
    hand.until(lambda: dict(strip.marks.marks) == marks)
    assert strip.marks.current == plane.index
    shown = strip.grab().toImage()

    def colour(index: int) -> str:
        column = strip.column(index)
        x, y = round(column.center().x()), strip.height() - 1
        return str(shown.pixelColor(x, y).name())

    assert len({colour(0), colour(1), colour(5)}) == 3
    at = QPoint(round(strip.column(1).center().x()), 3)
    hand.qtbot.mouseClick(strip, Qt.MouseButton.LeftButton, pos=at)
    hand.until(lambda: loop.key == (image_id, Plane(0, 1)))
    assert strip.marks.current == 1
    dock.close_project()
    assert hand.viewer.window._qt_window.findChild(QWidget, "slice_strip") is None


def on_screen(hand: Any, colour: str) -> int:
    """Length in screen pixels of the first run of a colour in a row just below the middle."""
    shown = hand.viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    like = np.abs(shown[len(shown) // 2 + 8] - wanted).max(axis=1) < 40
    first = int(like.argmax())
    return int(np.argmin(like[first:])) if like.any() else 0


def test_outlines_are_as_thin_on_the_screen_at_every_zoom(hand: Any, dock: Any, loop: Any) -> None:
    hand.click(20, 20)
    hand.wait_for_mask()
    hand.qtbot.wait(FLASH_MS + 80)
    outline, camera = dock.session.canvas.layers["preview outline"], hand.viewer.scene.camera
    colour = dock.session.project.classes[0].colour
    before = len(outline.data)
    for zoom in (4.0, 40.0):
        camera.zoom = zoom
        camera.center = (0.0, 20.0, 20.0)
        hand.until(lambda zoom=zoom: np.isclose(outline.edge_width * zoom, OUTLINE_PX))
        hand.qtbot.wait(50)
        assert 1 <= on_screen(hand, colour) <= 3
    assert len(outline.data) == before == 4  # a square


def listed(hand: Any) -> list[str]:
    """The names in napari's list of layers, from its bottom."""
    (view,) = [
        found
        for found in hand.viewer.window._qt_window.findChildren(QListView)
        if type(found).__name__ == "QtLayerList"
    ]
    rows = range(view.model().rowCount())
    return [view.model().index(row, 0).data() for row in rows if not view.isRowHidden(row)][::-1]


def test_only_layers_that_a_person_can_use_are_listed(hand: Any, dock: Any, loop: Any) -> None:
    assert listed(hand) == ["scan", "committed", "preview"]
    hand.viewer.layers.remove(dock.session.canvas.layers["prompts"])
    hand.until(lambda: dock.session.canvas.layers["prompts"] in hand.viewer.layers)
    assert listed(hand) == ["scan", "committed", "preview"]

    dock.close_project()
    assert listed(hand) == []


def slider(hand: Any, axis: int) -> tuple[str, str, str]:
    """What napari shows at the slider of an axis: name, number and last number of the slice."""
    sliders = hand.viewer.window._qt_window.findChildren(QWidget, "axis_label")
    (name,) = [found for found in sliders if found.parent().axis == axis]
    number, last = name.parent().findChildren(QWidget, "slice_label")
    return (name.text(), number.text(), last.text())


def test_slices_are_numbered_as_by_the_slider_which_begins_at_0(
    hand: Any, dock: Any, loop: Any
) -> None:
    assert slider(hand, 0) == ("axial", "4", "7")
    assert hand.find("heading").text() == "scan, slice 4 (0 to 7)"
    hand.viewer.scene.camera.zoom = 2
    hand.trace([(0, 0), (20, 69)], Qt.MouseButton.RightButton)
    loop.editor.select_line((1, 1))  # its handles lie outside the image
    hand.viewer.dims.set_current_step(0, 0)
    assert slider(hand, 0)[1:] == ("0", "7")
    loop.set_axis(2)
    index = loop.key[1].index
    assert slider(hand, 2) == ("sagittal", str(index), "69")
    hand.viewer.dims.set_current_step(2, 0)
    assert hand.find("heading").text() == "scan, slice 0 (0 to 69)"
    assert slider(hand, 2)[1] == "0"


def test_layers_of_labels_are_drawn_only_where_they_show_something(
    hand: Any, dock: Any, loop: Any
) -> None:
    layers, viewer = dock.session.canvas.layers, hand.viewer
    nodes = viewer.window._qt_viewer.canvas.layer_to_visual

    def drawn() -> list[bool]:
        return [nodes[layers[name]].node.visible for name in ("committed", "preview")]

    def picture() -> Any:
        return viewer.screenshot(canvas_only=True, flash=False)

    assert drawn() == [False, False]
    assert layers["committed"].visible and layers["preview"].visible
    blank = picture()
    hand.click(20, 20)
    hand.wait_for_mask()
    assert drawn() == [False, True]
    hand.press("commit")
    hand.until(lambda: hand.status().startswith("Saved"))
    assert drawn() == [True, False]
    assert (picture() != blank).any()
    here = viewer.dims.current_step
    viewer.dims.set_current_step(0, 5)
    hand.until(lambda: drawn() == [False, False])
    viewer.dims.current_step = here
    hand.until(lambda: drawn() == [True, False])
    layers["committed"].visible = False
    assert drawn() == [False, False]
    layers["committed"].visible = True
    assert drawn() == [True, False]
    loop.pick_tool("brush")  # napari draws the overlays of its tools with the layer
    assert drawn()[1]
    loop.pick_tool("inside")
    assert not drawn()[1]
    viewer.dims.ndisplay = 3
    hand.until(lambda: drawn() == [True, True])
    viewer.dims.ndisplay = 2
    hand.until(lambda: drawn() == [True, False])
