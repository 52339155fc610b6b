"""What becomes of an open project when its window closes, and how it opens again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
import tifffile
from conftest import Hand, Squares
from qtpy.QtCore import Qt

from napari_scsam._qt.dock import ScsamDock
from napari_scsam.core.geometry import Plane
from napari_scsam.core.prompts import PointPrompt, PromptSet
from napari_scsam.project import Project

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from napari_scsam.inference.messages import Answer, Question


def test_closing_naparis_window_closes_the_project(
    qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_scsam.rounds.machine_speed.SpeedController.wanted", lambda _: None)
    tifffile.imwrite(tmp_path / "a.tif", np.random.default_rng(0).random((40, 50), np.float32))
    viewer = napari.Viewer(show=True)
    dock = ScsamDock(viewer, segmenter=lambda _folder, _gb: Squares())
    viewer.window.add_dock_widget(dock, name="SC-SAM")
    hand = Hand(viewer, dock, qtbot)
    dock.create_project(tmp_path / "project", ["one"], [tmp_path / "a.tif"])
    hand.wait_for_image()
    hand.click(20, 20)
    hand.wait_for_mask()
    viewer.window.close()
    assert dock.session is None
    with Project.open(tmp_path / "project") as project:
        assert not project.read_only
        assert project.images()


def test_class_and_zoom_come_back_with_the_slice(hand: Any, dock: Any, loop: Any) -> None:
    folder = dock.session.project.folder
    dock.session.canvas.go_to(Plane(0, 2))
    hand.key(Qt.Key.Key_2)
    camera = hand.viewer.scene.camera
    zoom, centre = 2.5 * camera.zoom, (0.0, 21.0, 33.0)
    camera.center, camera.zoom = centre, zoom
    dock.close_project()
    camera.zoom = zoom / 7

    dock.open_project_folder(folder)
    hand.wait_for_image()
    again = dock.session.annotation
    assert again.key[1] == Plane(0, 2)
    assert again.now.active_class.name == "two"
    assert hand.find("class_list").currentRow() == 1
    np.testing.assert_allclose(camera.zoom, zoom)
    np.testing.assert_allclose(camera.center[1:], centre[1:])


def test_an_image_comes_with_suggestions_from_the_list_and_with_its_project(
    hand: Any, dock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / f"s{i}.tif" for i in range(2)]
    for i, path in enumerate(paths):
        scan = np.random.default_rng(i).integers(0, 255, (4, 40, 50), np.uint8)
        tifffile.imwrite(path, scan, imagej=True, metadata={"axes": "ZYX"})
    with Project.create(tmp_path / "project", ["disc"]) as project:
        first, second = project.add_images(paths)

    def suggest(squares: Any, question: Question, _class_ids: Any) -> Answer:
        point = PointPrompt(20, 25, 1, origin="model", state="proposed")
        prompts = PromptSet((*question.prompts.points, point))
        return squares.decode(replace(question, prompts=prompts))

    monkeypatch.setattr(Squares, "suggest", suggest)
    dock._make_segmenter = lambda _folder, _gb: Squares()
    monkeypatch.setattr(
        "napari_scsam.annotation.suggestions._has_source", lambda now: now.image is not None
    )
    dock.open_project_folder(tmp_path / "project")
    hand.wait_for_image()
    loop = dock.session.annotation
    assert loop.key[0] == first
    hand.until(lambda: [p.state for p in loop.prompts.points] == ["proposed"])
    queue = hand.find("queue")
    hand.until(lambda: queue.model().rowCount() == 2)
    place = queue.visualRect(queue.model().index(1)).center()
    hand.qtbot.mouseClick(queue.viewport(), Qt.MouseButton.LeftButton, pos=place)
    hand.until(lambda: loop.key[0] == second and len(loop.prompts.points) == 1)
    # Whoever only scrolls makes no work.
    dock.session.canvas.go_to(Plane(0, 0))
    hand.qtbot.wait(400)
    assert not loop.prompts.points
