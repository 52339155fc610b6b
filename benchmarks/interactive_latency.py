"""How fast the real dock answers a click, and how long it keeps the window from breathing.

Opens napari with the dock on a generated scan, clicks, steps through slices while they
are embedded, and trains a short round. The last line is one JSON object, in milliseconds:

* ``click_to_mask``: from the press of the mouse to the repainted mask, embedding cached;
* ``longest_block``: the longest gap between ticks of a 5 ms timer in each phase, beside
  the same viewer and the same steps without the plugin (``without_plugin``).

Run it with a display, for example ``xvfb-run -a python benchmarks/interactive_latency.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
import tifffile
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_scsam._qt.dock import ScsamDock

TICK_MS = 5
SHAPE = (24, 256, 224)


class Heartbeat:
    """Notes the gaps between the ticks of a timer in the Qt event loop."""

    def __init__(self) -> None:
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._last = 0.0
        self.gaps: list[float] = []
        self._timer.start(TICK_MS)

    def _tick(self) -> None:
        now = time.perf_counter()
        if self._last:
            self.gaps.append((now - self._last) * 1000)
        self._last = now

    def reset(self) -> None:
        """Begin a new phase."""
        self.gaps.clear()
        self._last = 0.0

    def report(self) -> dict[str, float]:
        """Longest gap, 99th percentile, and how many were over 50 ms."""
        gaps = np.asarray(self.gaps or [0.0])
        return {
            "longest": round(float(gaps.max()), 1),
            "p99": round(float(np.percentile(gaps, 99)), 1),
            "over_50": int((gaps > 50).sum()),
            "ticks": len(gaps),
        }


def run_until(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    """Run the event loop until `condition` holds."""
    app, end = QApplication.instance(), time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("The benchmark waited in vain.")
        app.processEvents()
        time.sleep(0.0005)


def run_for(seconds: float) -> None:
    """Run the event loop for a while."""
    end = time.monotonic() + seconds
    run_until(lambda: time.monotonic() > end)


def write_scan(folder: Path) -> Path:
    """A volume with a bright ellipsoid, float32."""
    z, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    inside = ((z - 12) / 14) ** 2 + ((y - 90) / 40) ** 2 + ((x - 140) / 30) ** 2 <= 1
    scan = 0.2 + 0.6 * inside + np.random.default_rng(0).normal(0, 0.03, SHAPE)
    path = folder / "scan.tif"
    tifffile.imwrite(path, scan.astype(np.float32), imagej=True, metadata={"axes": "ZYX"})
    return path


def step_through(viewer: Any, seconds: float) -> None:
    """Move the slice slider every 300 ms, as a person looking for something does."""
    end, index = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        index = (index + 1) % SHAPE[0]
        viewer.dims.set_current_step(0, index)
        run_for(0.3)


def without_plugin(folder: Path, seconds: float) -> dict[str, float]:
    """The same viewer, scan and steps, with three layers and no plugin."""
    viewer = napari.Viewer()
    scan = tifffile.imread(folder / "scan.tif")
    viewer.add_image(scan)
    for _ in range(3):
        viewer.add_labels(np.zeros(SHAPE, np.uint8))
    viewer.add_points(np.array([[12.0, 90.0, 140.0]]))
    run_for(1.0)
    beat = Heartbeat()
    step_through(viewer, seconds)
    report = beat.report()
    viewer.close()
    return report


def to_canvas(viewer: Any, row: float, col: float) -> QPoint:
    """Where a pixel of the shown slice is on the canvas."""
    canvas = viewer.window._qt_viewer.canvas
    x, y = canvas.view.scene.transform.map([col, row, 0, 1])[:2]
    return QPoint(round(x), round(y))


def time_clicks(viewer: Any, dock: ScsamDock, count: int) -> list[float]:
    """Milliseconds from each press to the repaint that shows its mask."""
    annotation, native = dock.session.annotation, viewer.window._qt_viewer.canvas.native
    times = []
    rng = np.random.default_rng(1)
    for _ in range(count):
        row, col = 90 + rng.uniform(-25, 25), 140 + rng.uniform(-18, 18)
        where = to_canvas(viewer, row, col)
        began = time.perf_counter()
        QTest.mouseClick(native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, where)
        run_until(lambda: annotation.preview is not None)
        viewer.window._qt_viewer.canvas._scene_canvas.update()
        QApplication.processEvents()
        times.append((time.perf_counter() - began) * 1000)
        run_for(0.1)
        annotation.undo()
        run_for(0.1)
    return times


def with_plugin(folder: Path, clicks: int, seconds: float, steps: int) -> dict[str, Any]:
    """Open the dock, then measure each phase."""
    viewer = napari.Viewer()
    began = time.perf_counter()
    dock = ScsamDock(viewer)
    viewer.window.add_dock_widget(dock, name="SC-SAM")
    result: dict[str, Any] = {"dock_opens": round((time.perf_counter() - began) * 1000, 1)}
    blocks: dict[str, Any] = {}
    beat = Heartbeat()

    dock.create_project(folder / "project", ["object"], [folder / "scan.tif"])
    run_until(lambda: dock.session is not None and dock.session.annotation.key is not None)
    dock.session.annotation.add_point(90, 140)
    run_until(lambda: dock.session.annotation.preview is not None)
    blocks["opening_and_loading_models"] = beat.report()
    dock.session.annotation.undo()
    run_for(1.0)

    beat.reset()
    step_through(viewer, seconds)
    blocks["embedding"] = beat.report()
    viewer.dims.set_current_step(0, 12)
    run_until(lambda: dock.session.annotation.key[1].index == 12)
    run_for(3.0)

    beat.reset()
    times = time_clicks(viewer, dock, clicks)
    blocks["decoding"] = beat.report()
    result["click_to_mask"] = {
        "median": round(float(np.median(times)), 1),
        "p95": round(float(np.percentile(times, 95)), 1),
        "clicks": clicks,
    }
    blocks["training"] = train(viewer, dock, beat, steps)
    dock.shut_down()
    viewer.close()
    return result | {"longest_block": blocks}


def train(viewer: Any, dock: ScsamDock, beat: Heartbeat, steps: int) -> dict[str, Any]:
    """Commit one slice and train a short round while stepping through slices."""
    annotation = dock.session.annotation
    annotation.add_point(90, 140)
    run_until(lambda: annotation.preview is not None)
    annotation.commit()
    run_until(lambda: annotation.commits > 0)
    form = dock._parts.training.form
    form.set_value("steps", steps)
    form.set_value("unlabelled_planes", 4)
    beat.reset()
    dock._press_training("train")
    run_until(lambda: dock.session.rounds.state.running)
    while dock.session.rounds.state.running:
        step_through(viewer, 1.0)
    if not dock.session.rounds.state.rounds:
        raise RuntimeError(f"The round failed: {dock.session.rounds.state.error}")
    return beat.report()


def main() -> None:
    """Run all phases and write one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clicks", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=15.0, help="of stepping through slices")
    parser.add_argument("--steps", type=int, default=20, help="of the round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scan(folder)
        bare = without_plugin(folder, options.seconds)
        result = with_plugin(folder, options.clicks, options.seconds, options.steps)
    result["longest_block"]["without_plugin"] = bare
    result["machine"] = {
        "cpus": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": [round(v, 2) for v in os.getloadavg()] if hasattr(os, "getloadavg") else None,
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
