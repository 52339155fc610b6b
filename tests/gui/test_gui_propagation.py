"""Propagation in a real viewer: its buttons, what drafts look like, stopping and closing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gui.conftest import Hand
    from pytestqt.qtbot import QtBot

    from napari_scsam._qt.dock import ScsamDock
    from napari_scsam.inference.process_client import SegmenterProcess

import threading

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QPushButton

from napari_scsam._napari.layers import OUTLINE
from napari_scsam.core.geometry import Plane
from napari_scsam.project import Project
from napari_scsam.propagation.walk import Carried, Trail, label_of

pytestmark = pytest.mark.gui

ROWS, COLS = np.mgrid[:96, :80]
DISC = ((ROWS - 34) ** 2 + (COLS - 58) ** 2 <= 14**2).astype(np.uint8)


class Copier:
    """A carry that copies the neighbour's masks, flags slice 5, and waits or stops as told."""

    def __init__(self) -> None:
        self.hold_at: int | None = None
        self.stop_at: int | None = None
        self.held, self.go_on = threading.Event(), threading.Event()

    def __call__(self, question: Any, trail: Trail) -> Carried:
        index = question.key[1].index
        if index == self.hold_at:
            self.held.set()
            assert self.go_on.wait(60)
        logits = {c: np.where(trail.label == c, 4.0, -4.0) for c in trail.areas}
        areas = {} if index == self.stop_at else dict(trail.areas)
        trail = Trail(label_of(logits, trail.label.shape), areas)
        return Carried(trail, logits, {1: "area doubled"} if index == 5 else {})


@pytest.fixture
def copier(segmenter: SegmenterProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[Copier]:
    made = Copier()
    monkeypatch.setattr(segmenter, "carry", made)
    yield made
    made.go_on.set()


@pytest.fixture
def folder(tmp_path: Path, volume_path: Path) -> Path:
    """A project whose slice 3 is committed."""
    with Project.create(tmp_path / "project", ["disc"]) as project:
        (image,) = project.add_images([volume_path])
        project.commit(image, DISC, plane=Plane(0, 3))
    return tmp_path / "project"


def open_at(hand: Hand, dock: ScsamDock, folder: Path, index: int) -> str:
    dock.open_project_folder(folder)
    image, _ = hand.wait_for_image()
    dock.session.canvas.go_to(Plane(0, index))
    return str(image)


def test_a_volume_is_filled_looked_through_and_committed_at_once(
    hand: Hand, dock: ScsamDock, folder: Path, copier: Copier
) -> None:
    image = open_at(hand, dock, folder, 1)
    assert not hand.find("propagate").isEnabled()
    assert hand.find("commit_drafts").isHidden()
    dock.session.canvas.go_to(Plane(0, 3))
    hand.press("propagate")
    hand.until(lambda: hand.status().startswith("Drafts on 5 slices."))
    layers = dock.session.canvas.layers
    np.testing.assert_array_equal(layers["preview"].data[0], DISC)
    hand.viewer.dims.set_current_step(0, 0)
    dashes = np.abs(layers[OUTLINE].data[:, 1]).sum()
    perimeter = sum(np.count_nonzero(np.diff(DISC, axis=axis)) for axis in (0, 1))
    assert 0.3 * perimeter < dashes < 0.7 * perimeter
    hand.viewer.dims.set_current_step(0, 3)

    button = hand.find("commit_drafts", QPushButton)
    assert button.isVisible()
    assert button.text().startswith("Commit all 4 drafts")
    hand.key(Qt.Key.Key_N)
    hand.until(lambda: dock.session.annotation.key == (image, Plane(0, 5)))
    assert "area doubled" in hand.find("counts").text()
    hand.press("commit_drafts")
    hand.until(lambda: hand.status().startswith("Saved 4 slices."))
    assert dock.session.project.committed_planes(image) == [0, 1, 2, 3, 4]
    hand.key(Qt.Key.Key_J)
    hand.until(lambda: dock.session.project.committed_planes(image) == [0, 1, 2, 3, 4, 5])
    hand.until(button.isHidden)

    hand.press("undo")
    hand.until(lambda: hand.status() == "Undone.")
    hand.press("undo")
    hand.until(lambda: dock.session.project.committed_planes(image) == [3])
    hand.until(lambda: np.array_equal(layers["preview"].data[0], DISC))
    assert button.text().startswith("Commit all 4 drafts")
    hand.press("undo")
    hand.until(button.isHidden)
    assert not layers["preview"].data.any()
    assert not len(layers[OUTLINE].data)


def test_the_same_button_stops_it_and_keeps_what_was_made(
    hand: Hand, dock: ScsamDock, folder: Path, copier: Copier
) -> None:
    open_at(hand, dock, folder, 3)
    copier.hold_at = 1
    hand.activate()
    window, shift = hand.viewer.window._qt_window, Qt.KeyboardModifier.ShiftModifier
    QTest.keyClick(window, Qt.Key.Key_G, shift)
    hand.until(copier.held.is_set)
    hand.until(lambda: hand.find("propagate").text() == "Stop   ·   1 of 5 slices")
    assert hand.status() == "Propagating: 1 of 5 slices."
    dock.session.canvas.go_to(Plane(0, 4))  # elsewhere, and still to be stopped
    hand.press("propagate")
    copier.go_on.set()
    hand.until(lambda: hand.status().startswith("Stopped."))
    assert hand.find("propagate").text() == "Propagate"
    assert [p.index for p in dock.session.annotation.now.drafts] == [1, 2]


def test_n_goes_to_where_it_stopped_and_shift_g_goes_on_from_there(
    hand: Hand, dock: ScsamDock, folder: Path, copier: Copier
) -> None:
    image = open_at(hand, dock, folder, 3)
    copier.stop_at = 1
    hand.activate()
    window, shift = hand.viewer.window._qt_window, Qt.KeyboardModifier.ShiftModifier
    QTest.keyClick(window, Qt.Key.Key_G, shift)
    stop = "Stopped at slice 1, 1 slice left: N goes there; outline it, then Shift+G goes on."
    hand.until(lambda: stop in hand.status())
    hand.window_key(Qt.Key.Key_N)  # before the flagged slice 5
    assert dock.session.annotation.key == (image, Plane(0, 1))
    assert stop in hand.status()
    copier.stop_at = None
    hand.drag((20, 44), (48, 72), Qt.MouseButton.RightButton)
    hand.wait_for_mask()
    QTest.keyClick(window, Qt.Key.Key_G, shift)
    hand.until(lambda: Plane(0, 0) in dock.session.annotation.now.drafts)
    assert "Stopped" not in hand.status()
    hand.window_key(Qt.Key.Key_N)  # nothing has stopped any more
    assert dock.session.annotation.key == (image, Plane(0, 5))


def test_closing_the_project_meanwhile_leaves_no_trace(
    hand: Hand, dock: ScsamDock, folder: Path, copier: Copier, qtbot: QtBot
) -> None:
    open_at(hand, dock, folder, 3)
    copier.hold_at = 1
    hand.press("propagate")
    hand.until(copier.held.is_set)
    dock.close_project()
    copier.go_on.set()
    hand.until(lambda: dock._runners.carrier.idle)
    image = open_at(hand, dock, folder, 3)
    assert dock.session.project.committed_planes(image) == [3]
    assert hand.find("commit_drafts").isHidden()


def test_the_real_models_carry_a_disc(hand: Hand, dock: ScsamDock, folder: Path) -> None:
    open_at(hand, dock, folder, 3)
    hand.press("propagate")
    hand.until(lambda: hand.status().startswith("Drafts on"))
    preview = dock.session.canvas.layers["preview"].data
    for index in (0, 1, 2, 4, 5):
        overlap = 2 * (preview[index] & DISC).sum() / (preview[index].sum() + DISC.sum())
        assert overlap > 0.85, index
