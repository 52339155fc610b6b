"""The loop in a real viewer, with real mouse clicks and real buttons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from gui.conftest import Hand

    from napari_scsam._qt.dock import ScsamDock

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_scsam.project import Project

pytestmark = pytest.mark.gui


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def disc(shape: tuple[int, int], row: float, col: float, radius: float) -> np.ndarray:
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    return (rows - row) ** 2 + (cols - col) ** 2 <= radius**2


VOLUME_DISC = disc((96, 80), 34, 58, 14)
PICTURE_DISC = disc((72, 90), 25, 62, 12)


def test_a_click_becomes_a_mask_and_a_commit_becomes_a_label(
    hand: Hand, dock: ScsamDock, volume_path: Path, tmp_path: Path
) -> None:
    dock.create_project(tmp_path / "project", ["disc"], [volume_path])
    key = hand.wait_for_image()
    assert key[1].index == 3

    hand.click(34, 58)
    (point,) = hand.points()
    assert (point.row, point.col) == pytest.approx((34, 58), abs=1)
    assert point.positive
    hand.wait_for_mask()
    preview = dock.session.canvas.layers["preview"].data[3].copy()
    assert dice(preview == 1, VOLUME_DISC) > 0.7

    hand.press("commit")
    hand.until(lambda: hand.status().startswith("Saved"))
    assert not dock.session.canvas.layers["preview"].data[3].any()
    np.testing.assert_array_equal(dock.session.canvas.layers["committed"].data[3], preview)
    dock.close_project()
    with Project.open(tmp_path / "project") as project:
        label = project.label(key[0])
        assert project.committed_planes(key[0]) == [3]
    np.testing.assert_array_equal(label[3], preview)
    assert (label[[0, 1, 2, 4, 5]] == 255).all()


def test_undo_takes_back_a_commit_and_redo_makes_it_again(
    hand: Hand, dock: ScsamDock, volume_path: Path, tmp_path: Path
) -> None:
    dock.create_project(tmp_path / "project", ["disc"], [volume_path])
    image_id, plane = hand.wait_for_image()
    project = dock.session.project
    hand.click(34, 58)
    hand.wait_for_mask()
    hand.press("commit")
    hand.until(lambda: hand.status().startswith("Saved"))

    hand.press("undo")
    hand.until(lambda: hand.status() == "Undone.")
    assert project.label(image_id) is None
    assert len(hand.points()) == 1
    hand.until(lambda: dock.session.canvas.layers["preview"].data[plane.index].any())
    hand.press("undo")
    assert hand.points() == ()
    assert not dock.session.canvas.layers["preview"].data[plane.index].any()

    hand.press("redo")
    hand.until(lambda: hand.status() == "Redone.")
    hand.press("redo")
    hand.until(lambda: project.label(image_id) is not None)
    assert project.committed_planes(image_id) == [plane.index]


def test_points_are_moved_flipped_deleted_and_boxes_drawn(
    hand: Hand, dock: ScsamDock, picture_path: Path, tmp_path: Path
) -> None:
    dock.create_project(tmp_path / "project", ["disc"], [picture_path], "rgb")
    hand.wait_for_image()
    hand.click(50, 20)
    hand.drag((50, 20), (25, 62))
    (moved,) = hand.points()
    assert (moved.row, moved.col) == pytest.approx((25, 62), abs=1)
    hand.wait_for_mask()
    assert dice(dock.session.canvas.layers["preview"].data == 1, PICTURE_DISC) > 0.7

    hand.click(60, 10, shift=True)
    assert [p.positive for p in hand.points()] == [True, False]
    hand.window_key(Qt.Key.Key_W)
    assert [p.positive for p in hand.points()] == [True, True]
    hand.key(Qt.Key.Key_Delete)
    assert len(hand.points()) == 1

    hand.click(25, 62)  # on the point: takes hold of it, and adds none
    assert len(hand.points()) == 1
    hand.drag((11, 48), (39, 76), Qt.MouseButton.RightButton)
    box = dock.session.annotation.prompts.boxes[1, 1]
    assert box == pytest.approx((11, 48, 39, 76), abs=1)
    hand.wait_for_mask()
    assert dice(dock.session.canvas.layers["preview"].data == 1, PICTURE_DISC) > 0.8


def test_a_drag_on_empty_ground_moves_the_picture_and_adds_no_point(
    hand: Hand, dock: ScsamDock, picture_path: Path, tmp_path: Path
) -> None:
    dock.create_project(tmp_path / "project", ["disc"], [picture_path], "rgb")
    hand.wait_for_image()
    before = hand.at(50, 20)
    hand.drag((50, 20), (40, 40))
    after = hand.at(50, 20)
    target = (after.x() - before.x(), after.y() - before.y())
    expected = hand.at(40, 40) - hand.at(50, 20)
    assert hand.points() == ()
    assert target == pytest.approx((expected.x(), expected.y()), abs=4)


def test_keys_work_wherever_the_focus_is(
    hand: Hand, dock: ScsamDock, volume_path: Path, tmp_path: Path
) -> None:
    dock.create_project(tmp_path / "project", ["disc", "ring"], [volume_path])
    image_id, plane = hand.wait_for_image()
    hand.click(34, 58)
    hand.wait_for_mask()
    hand.find("queue").setFocus()
    hand.window_key(Qt.Key.Key_J, hand.find("queue"))
    hand.until(lambda: dock.session.annotation.key == (image_id, type(plane)(0, plane.index + 1)))
    assert dock.session.project.committed_planes(image_id) == [plane.index]
    hand.window_key(Qt.Key.Key_K, hand.find("class_list"))
    assert dock.session.annotation.key[1].index == plane.index + 2
    hand.until(lambda: dock.session.project.skipped() == [(image_id, plane.index + 1)])
    hand.key(Qt.Key.Key_2)
    assert dock.session.annotation.now.active_class.name == "ring"


def test_every_slice_of_every_axis_takes_prompts(
    hand: Hand, dock: ScsamDock, volume_path: Path, tmp_path: Path
) -> None:
    dock.create_project(tmp_path / "project", ["disc"], [volume_path])
    hand.wait_for_image()
    hand.viewer.dims.order = (1, 0, 2)
    hand.viewer.dims.set_current_step(1, 34)
    assert dock.session.annotation.key[1].axis == 1
    assert dock.session.annotation.key[1].index == 34
    hand.viewer.reset_view()
    hand.click(2, 58)
    (point,) = hand.points()
    assert (point.row, point.col) == pytest.approx((2, 58), abs=1)
    hand.viewer.dims.ndisplay = 3
    assert dock.session.annotation.key is None
    assert not hand.find("commit").isEnabled()
    hand.viewer.dims.ndisplay = 2
    assert len(hand.points()) == 1


def test_a_committed_outline_is_corrected_after_a_restart_and_beside_another_class(
    hand: Any, dock: Any, volume_path: Any, tmp_path: Any
) -> None:
    dock.create_project(tmp_path / "project", ["disc", "other"], [volume_path])
    hand.wait_for_image()
    hand.drag((18, 42), (50, 74), Qt.MouseButton.RightButton)
    hand.wait_for_mask()
    hand.press("commit")
    hand.until(lambda: hand.status().startswith("Saved slice 3 of volume: disc. other: not there."))
    committed = dock.session.canvas.layers["committed"].data[3] == 1
    dock.close_project()

    dock.open_project_folder(tmp_path / "project")
    image_id, plane = hand.wait_for_image()
    assert plane.index == 3
    hand.key(Qt.Key.Key_2)
    hand.drag((70, 10), (85, 30), Qt.MouseButton.RightButton)
    hand.wait_for_mask()
    shown = dock.session.canvas.layers["preview"].data[3]
    np.testing.assert_array_equal(shown == 1, committed)
    hand.press("commit")
    hand.until(lambda: hand.status().startswith("Saved slice 3 of volume: disc and other."))
    hand.key(Qt.Key.Key_1)
    hand.click(8, 8, shift=True)  # outside: what was committed is what it corrects
    hand.until(lambda: hand.status().startswith("That place is outside disc already"))
    hand.wait_for_mask()
    shown = dock.session.canvas.layers["preview"].data[3].copy()  # it is emptied once saved
    assert dice(shown == 1, committed) > 0.8
    assert (shown == 2).any()
    hand.press("commit")
    hand.until(lambda: dock.session.project.label_version(image_id) == 3)
    label = dock.session.project.label(image_id)[3]
    np.testing.assert_array_equal(label, shown)


def test_layers_are_loaded_ahead_only_before_a_project_makes_its_own(
    hand: Any, dock: Any, loop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # At the same time on two threads, napari found its units half made.
    prepared: list[bool] = []
    monkeypatch.setattr("napari_scsam._qt.dock.prepare_napari", lambda: prepared.append(True))
    dock._prepare_layers()
    hand.qtbot.wait(50)
    assert loop.key is not None and prepared == []
    dock.close_project()
    dock._prepare_layers()
    hand.until(lambda: prepared == [True])
