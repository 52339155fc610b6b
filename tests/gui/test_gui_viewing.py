"""Aids for viewing: overlays hidden by a key, points of constant size, and the slice strip."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QWidget

from napari_scsam.annotation.work import Draft
from napari_scsam.core.geometry import Plane


def test_one_key_hides_all_but_the_picture_while_it_is_held(
    hand: Any, dock: Any, loop: Any
) -> None:
    layers = dock.session.canvas.layers
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
    hand.click(20, 20)
    hand.wait_for_mask()
    hand.press("commit")
    hand.until(lambda: hand.status().startswith("Saved"))
    label = np.zeros(loop.now.plane_shape, np.uint8)
    label[20, 20] = 1
    store = loop._store
    drafts = {(image_id, Plane(0, 0)): Draft(label), (image_id, Plane(0, 1)): Draft(label, "why")}
    store.step(replace(store.now, work=store.now.work.with_drafts(drafts)))

    strip = hand.viewer.window._qt_window.findChild(QWidget, "slice_strip")
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
