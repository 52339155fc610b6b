"""A real viewer with the dock, phantoms to annotate, and a mouse."""

from __future__ import annotations

import gc
import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pytest
import tifffile
from napari.utils._proxies import PublicOnlyProxy

pytest.importorskip("qtpy")
pytest.importorskip("napari")

import napari
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QPushButton, QWidget

from napari_scsam._qt.dock import ScsamDock
from napari_scsam.inference.messages import Answer, Question
from napari_scsam.inference.process_client import SegmenterProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari_scsam.core.prompts import PointPrompt

if sys.platform.startswith("linux"):
    if not os.environ.get("DISPLAY"):
        pytest.skip("no display; run under xvfb-run", allow_module_level=True)

WAIT_MS = 90_000
# Between the events of a drag: napari drops moves that follow within 5 ms, and no hand is as fast.
MOVE_MS = 6
# Of the volume that `loop` is about.
LOOP_SHAPE = (8, 60, 70)


def phantom_slice(size: int, row: float, col: float, radius: float, seed: int) -> np.ndarray:
    """A bright disc on a darker, noisy ground, float32."""
    rows, cols = np.mgrid[:size, :size]
    disc = (rows - row) ** 2 + (cols - col) ** 2 <= radius**2
    noise = np.random.default_rng(seed).normal(0, 0.03, (size, size))
    return (0.2 + 0.6 * disc + noise).astype(np.float32)


@pytest.fixture
def volume_path(tmp_path: Path) -> Path:
    """A volume of 6 slices, 96 x 80, with a disc away from the diagonal."""
    slices = [phantom_slice(96, 34, 58, 14, seed)[:, :80] for seed in range(6)]
    path = tmp_path / "volume.tif"
    tifffile.imwrite(path, np.stack(slices), imagej=True, metadata={"axes": "ZYX"})
    return path


@pytest.fixture
def picture_path(tmp_path: Path) -> Path:
    """A colour picture, 72 x 90, with a disc away from the diagonal."""
    grey = phantom_slice(90, 25, 62, 12, 9)[:72]
    rgb = np.clip(np.stack([grey, grey * 0.7, grey * 0.5], -1) * 255, 0, 255).astype(np.uint8)
    path = tmp_path / "picture.tif"
    tifffile.imwrite(path, rgb, photometric="rgb")
    return path


@pytest.fixture(scope="session")
def shared_viewer(qapp: Any) -> Iterator[Any]:
    """One window for all tests: opening and closing one takes seconds."""
    made = napari.Viewer(show=True)
    made.window.resize(900, 700)
    gc.freeze()  # the window stays, too (tests/conftest.py)
    yield made
    made.close()


@pytest.fixture
def viewer(shared_viewer: Any, qtbot: Any) -> Iterator[Any]:
    shared_viewer.window.activate()
    yield shared_viewer
    shared_viewer.layers.clear()
    shared_viewer.dims.ndisplay = 2
    shared_viewer.dims.order = tuple(sorted(shared_viewer.dims.order))


@pytest.fixture(autouse=True)
def kept(qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Widgets that a test has handed to qtbot, which holds none of them itself.

    A panel in a cycle of references was collected while it was being painted, after its test.
    """
    widgets: list[Any] = []
    add = qtbot.addWidget

    def add_and_keep(widget: Any, **more: Any) -> None:
        widgets.append(widget)
        add(widget, **more)

    monkeypatch.setattr(qtbot, "addWidget", add_and_keep)
    return widgets


class SharedProcess(SegmenterProcess):
    """The real model process, kept from one dock to the next: it takes seconds to start."""

    def close(self) -> None:
        pass


@pytest.fixture(scope="session")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SegmenterProcess]:
    shared = SharedProcess(tmp_path_factory.mktemp("cache") / "embeddings")
    yield shared
    SegmenterProcess.close(shared)


@pytest.fixture
def dock(
    viewer: Any, qtbot: Any, segmenter: SegmenterProcess, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ScsamDock]:
    # What begins by itself in the background would take the cores from what is tested.
    monkeypatch.setattr("napari_scsam.rounds.machine_speed.SpeedController.wanted", lambda _: None)
    monkeypatch.setattr("napari_scsam.rounds.tuning.FIRST", 10**6)
    ranking = "napari_scsam.workflows.background_ranking.RankingController"
    monkeypatch.setattr(f"{ranking}.rounds_changed", lambda *_: None)
    widget = ScsamDock(viewer, segmenter=lambda _folder, _gb: segmenter)
    viewer.window.add_dock_widget(widget, name="SC-SAM")
    yield widget
    widget.shut_down()
    viewer.window.remove_dock_widget(widget)
    widget.deleteLater()


@pytest.fixture
def endless_rounds(monkeypatch: pytest.MonkeyPatch, nothing_runs_on: None) -> None:
    """Rounds are a process that never ends by itself and trains nothing, but obeys at once."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    monkeypatch.setattr("napari_scsam.rounds.running_round.ROUND_MODULE", "endless_stand_in")


class Hand:
    """Presses buttons by object name and clicks on the canvas with Qt's own mouse events."""

    def __init__(self, viewer: Any, dock: ScsamDock, qtbot: Any) -> None:
        self.viewer, self.dock, self.qtbot = viewer, dock, qtbot
        self.native = viewer.window._qt_viewer.canvas.native

    def find(self, name: str, kind: type = QWidget) -> Any:
        found = self.dock.findChild(kind, name)
        assert found is not None, name
        return found

    def press(self, name: str) -> None:
        button = self.find(name, QPushButton)
        assert button.isEnabled(), f"{name} is disabled"
        self.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    def status(self) -> str:
        return str(self.find("status").text())

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait, and say on failure what the window showed instead."""
        try:
            self.qtbot.waitUntil(condition, timeout=WAIT_MS)
        except self.qtbot.TimeoutError:
            pytest.fail(f"waited {WAIT_MS / 1000:.0f} s in vain; the status was {self.status()!r}")

    def key(self, key: Any) -> None:
        """Press a key on the canvas."""
        self.activate()
        QTest.keyClick(self.native, key)

    def activate(self) -> None:
        """Make the viewer the active window: keys of other windows do nothing."""
        window = self.viewer.window._qt_window

        def active() -> bool:
            # On a bare screen the focus comes late, or another test's window takes it.
            window.activateWindow()
            return bool(window.isActiveWindow())

        self.until(active)

    def window_key(self, key: Any, where: QWidget | None = None) -> None:
        """Press a key of the window, with the focus on `where`."""
        self.activate()
        window = self.viewer.window._qt_window
        QTest.keyClick(window if where is None else where, key)

    def pick_tool(self, tool: str) -> None:
        box = self.find("prompt_kind")
        box.setCurrentIndex(box.findData(tool))

    def points(self) -> tuple[PointPrompt, ...]:
        assert self.dock.session is not None
        return self.dock.session.annotation.prompts.points

    def wait_for_image(self) -> Any:
        """(image id, Plane) once an image is open and painted."""
        self.until(lambda: self.dock.session is not None and bool(self.dock.session.annotation.key))
        self.qtbot.wait(50)
        return self.dock.session.annotation.key

    def wait_for_mask(self) -> None:
        self.until(lambda: self.dock.session.annotation.preview is not None)

    def at(self, row: float, col: float) -> QPoint:
        """Where pixel (row, col) of the shown plane is on the canvas."""
        layer = self.dock.session.canvas.layers["prompts"]
        canvas = self.viewer.window._qt_viewer.canvas
        shown = list(self.viewer.dims.displayed)
        world = np.asarray([row, col]) * np.asarray(layer.scale)[shown]
        transform = canvas.view.scene.transform
        x, y = transform.map([world[1], world[0], 0, 1])[:2]
        return QPoint(round(x), round(y))

    def click(self, row: float, col: float, *, shift: bool = False) -> None:
        modifier = Qt.KeyboardModifier.ShiftModifier if shift else Qt.KeyboardModifier.NoModifier
        self.qtbot.mouseClick(self.native, Qt.MouseButton.LeftButton, modifier, self.at(row, col))

    def drag(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        button: Any = Qt.MouseButton.LeftButton,
    ) -> None:
        """Press, move in steps and release, as a hand does."""
        self.trace([start, end], button)

    def trace(
        self,
        path: Sequence[tuple[float, float]],
        button: Any = Qt.MouseButton.LeftButton,
        *,
        shift: bool = False,
        on_the_way: Callable[[], None] = lambda: None,
    ) -> None:
        """Press, move along `path` in steps, and release; `on_the_way` comes before that."""
        modifier = Qt.KeyboardModifier.ShiftModifier if shift else Qt.KeyboardModifier.NoModifier

        def send(kind: Any, where: QPoint, pressed: Any) -> None:
            none = Qt.MouseButton.NoButton
            which = none if kind == QEvent.Type.MouseMove else button
            event = QMouseEvent(
                kind,
                QPointF(where),
                QPointF(self.native.mapToGlobal(where)),
                which,
                pressed,
                modifier,
            )
            QApplication.sendEvent(self.native, event)
            for _ in range(3):  # one wait may be filled by one repaint
                QTest.qWait(MOVE_MS)

        corners = [self.at(*place) for place in path]
        send(QEvent.Type.MouseButtonPress, corners[0], button)
        for a, b in pairwise(corners):
            for step in range(1, 6):
                x, y = (u + (v - u) * step / 5 for u, v in ((a.x(), b.x()), (a.y(), b.y())))
                send(QEvent.Type.MouseMove, QPoint(round(x), round(y)), button)
        on_the_way()
        send(QEvent.Type.MouseButtonRelease, corners[-1], Qt.MouseButton.NoButton)


@pytest.fixture
def hand(viewer: Any, dock: ScsamDock, qtbot: Any) -> Hand:
    return Hand(viewer, dock, qtbot)


@pytest.fixture
def guarded_hand(viewer: Any, qtbot: Any, segmenter: SegmenterProcess) -> Iterator[Hand]:
    """A hand on a dock with the proxy of the viewer that napari gives to plugins."""
    dock = ScsamDock(PublicOnlyProxy(viewer), segmenter=lambda _folder, _gb: segmenter)
    viewer.window.add_dock_widget(dock, name="SC-SAM")
    yield Hand(viewer, dock, qtbot)
    dock.shut_down()
    viewer.window.remove_dock_widget(dock)
    dock.deleteLater()


class Squares:
    """Paints a square round every inside point, box and stroke of a class."""

    def prepare(self, _round: Any, *_more: Any) -> None:
        pass

    def describe(self) -> str:
        return "Squares"

    def embed(self, _question: Question) -> None:
        pass

    def prefetch(self, _questions: Any) -> None:
        pass

    def decode(self, question: Question) -> Answer:
        label = np.zeros(question.pixels.shape[:2], np.uint8)
        prompts = question.prompts
        for point in prompts.points:
            if point.positive and point.state != "rejected":
                row, col = round(point.row), round(point.col)
                label[max(row - 2, 0) : row + 3, max(col - 2, 0) : col + 3] = point.class_id
        for (class_id, _), box in prompts.boxes.items():
            r0, c0, r1, c1 = (round(v) for v in box)
            label[r0 : r1 + 1, c0 : c1 + 1] = class_id
        return Answer(prompts, label, "points", 0.7)

    def suggest(self, question: Question, _class_ids: Any) -> Answer:
        return self.decode(question)

    def close(self) -> None:
        pass


@pytest.fixture
def without_models(dock: ScsamDock) -> None:
    """The dock's masks are squares."""
    dock._make_segmenter = lambda _folder, _gb: Squares()  # type: ignore[return-value]


@pytest.fixture
def loop(hand: Any, dock: Any, tmp_path: Path) -> Any:
    """The annotation of a noisy volume whose slices are four times as thick as its pixels."""
    scan = np.random.default_rng(0).normal(size=LOOP_SHAPE).astype(np.float32)
    nib.save(nib.Nifti1Image(scan.T, np.diag([1.0, 1.0, 4.0, 1.0])), tmp_path / "scan.nii.gz")
    dock._make_segmenter = lambda _folder, _gb: Squares()
    dock.create_project(tmp_path / "project", ["one", "two"], [tmp_path / "scan.nii.gz"], "mr")
    hand.wait_for_image()
    return dock.session.annotation
