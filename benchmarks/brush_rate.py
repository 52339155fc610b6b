"""Measure the rate of a brush stroke with the dock, against napari's own brush.

    xvfb-run -a python benchmarks/brush_rate.py

Draws strokes of 100 mouse events on a picture of 2,000 x 2,000 pixels: in a viewer with the
picture, one labels layer and an empty dock of the same size, and, in another process, in a viewer
with the dock. (Software OpenGL takes as long as the window is large.) The last line is one JSON
object. For ``napari`` and ``dock`` it has:

* ``events_per_s``: the median over the strokes; each event is processed, and drawn, before the
  next one;
* ``cpu_ms``: the processor time of the process for one event, the median over the strokes;
* ``longest_ms``: the longest that the window took for one event during the strokes, which is how
  long it was blocked;
* ``release_ms``: the same for the release of the button, the median over the strokes;
* ``after_ms``: the longest block of the window in the moment after that, the median;
* ``zoom_ms``: the longest that it took to draw the picture with its mask in another zoom.

``ratio`` is the rate with the dock relative to that without it, and ``cpu_ratio`` the processor
time without it relative to that with it, which a busy machine changes less. Both are measured
``--repeats`` times in turn; all numbers are medians. No model is loaded.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
import tifffile
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QWidget

from napari_scsam._qt.dock import ScsamDock

if TYPE_CHECKING:
    from collections.abc import Callable

# Pixels of the picture, and events of a stroke; as in the goal that this checks.
SIZE, EVENTS = 2000, 100
# Pixels of the brush, strokes that are not counted, and seconds between strokes. Arbitrary.
BRUSH, WARM_UP, REST_S = 40, 1, 0.6
# Width and height of the window, and width of the dock. Arbitrary.
WINDOW, DOCK_WIDTH = (1280, 860), 340
# Zooms relative to that which shows the whole picture. Arbitrary.
ZOOMS = (2.0, 8.0, 1.0)


class NoModels:
    """Takes the place of the model process."""

    def prepare(self, *_: Any) -> None:
        """Load nothing."""

    def describe(self) -> str:
        """Name no model."""
        return "no model"

    embed = prefetch = prepare

    def close(self) -> None:
        """Close nothing."""


def timed(action: Callable[[], None]) -> float:
    """Milliseconds that an action and the events after it take."""
    began = time.perf_counter()
    action()
    QApplication.processEvents()
    return (time.perf_counter() - began) * 1000


def process(seconds: float = 0.0) -> float:
    """Process events, for some seconds; returns the longest that it took at once, in ms."""
    end = time.perf_counter() + seconds
    longest = timed(lambda: None)
    while time.perf_counter() < end:
        time.sleep(0.002)
        longest = max(longest, timed(lambda: None))
    return longest


def stroke(native: Any, number: int) -> tuple[list[float], float]:
    """Draw one stroke across the canvas; returns the ms of each event, and of the release."""
    width, height = native.width(), native.height()
    x = np.linspace(0.25, 0.75, EVENTS) * width
    y = height * (0.3 + 0.06 * number + 0.05 * np.sin(np.linspace(0, 6, EVENTS)))
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton

    def send(kind: Any, at: int, button: Any, pressed: Any) -> float:
        where = QPointF(float(x[at]), float(y[at]))
        on_screen = QPointF(native.mapToGlobal(where.toPoint()))
        event = QMouseEvent(kind, where, on_screen, button, pressed, Qt.KeyboardModifier.NoModifier)
        return timed(lambda: QApplication.sendEvent(native, event))

    took = [send(QEvent.Type.MouseButtonPress, 0, left, left)]
    took += [send(QEvent.Type.MouseMove, at, none, left) for at in range(1, EVENTS)]
    return took, send(QEvent.Type.MouseButtonRelease, EVENTS - 1, left, none)


def measure(viewer: Any, strokes: int) -> dict[str, float]:
    """Draw strokes with the tool that is on, then zoom."""
    native = viewer.window._qt_viewer.canvas.native
    rates, cpu, longest, releases, after = [], [], 0.0, [], []
    for number in range(WARM_UP + strokes):
        began = time.process_time()
        took, release = stroke(native, number)
        used = 1000 * (time.process_time() - began)
        blocked = process(REST_S)
        if number >= WARM_UP:
            cpu.append(used / EVENTS)
            rates.append(1000 * EVENTS / sum(took))
            longest = max(longest, *took, release)
            releases.append(release)
            after.append(blocked)
    whole = viewer.scene.camera.zoom
    zooms = []
    for zoom in ZOOMS:
        drawn = timed(lambda zoom=zoom: setattr(viewer.scene.camera, "zoom", whole * zoom))
        zooms.append(max(drawn, process(REST_S)))
    return {
        "events_per_s": round(float(np.median(rates)), 1),
        "cpu_ms": round(float(np.median(cpu)), 1),
        "longest_ms": round(longest, 1),
        "release_ms": round(float(np.median(releases)), 1),
        "after_ms": round(float(np.median(after)), 1),
        "zoom_ms": round(max(zooms), 1),
    }


def write_picture(folder: Path) -> Path:
    """Write a noisy picture and return its path."""
    noise = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE)).astype(np.uint8)
    path = folder / "picture.tif"
    tifffile.imwrite(path, noise)
    return path


def add_dock(viewer: Any, dock: QWidget) -> None:
    """Add a dock to a window of the same size for both."""
    dock.setMinimumWidth(DOCK_WIDTH)
    dock.setMaximumWidth(DOCK_WIDTH)
    viewer.window.add_dock_widget(dock, name="SC-SAM")
    viewer.window.resize(*WINDOW)


def without_dock(picture: Path, strokes: int) -> dict[str, float]:
    """Measure napari's own brush on one labels layer."""
    viewer = napari.Viewer()
    add_dock(viewer, QWidget())
    viewer.add_image(tifffile.imread(picture))
    labels = viewer.add_labels(np.zeros((SIZE, SIZE), np.uint8))
    viewer.canvas.overlays["_brush_circle"].box = False  # crashes software rendering
    labels.brush_size, labels.mode = BRUSH, "paint"
    process(2.0)
    result = measure(viewer, strokes)
    viewer.close()
    return result


def with_dock(picture: Path, strokes: int) -> dict[str, float]:
    """Measure the brush of the dock."""
    viewer = napari.Viewer()
    dock = ScsamDock(viewer, segmenter=lambda _folder, _gb: NoModels())
    add_dock(viewer, dock)
    dock.create_project(picture.parent / "project", ["object", "other"], [picture])
    while dock.session is None or dock.session.annotation.key is None:
        process(0.05)
    dock.session.annotation.pick_tool("brush")
    preview = dock.session.canvas.layers["preview"]
    preview.brush_size = BRUSH
    process(2.0)
    result = measure(viewer, strokes)
    if len(dock.session.annotation.now.working.patches) != WARM_UP + strokes:
        raise RuntimeError("Not every stroke was drawn.")
    dock.shut_down()
    viewer.close()
    return result


def main() -> None:
    """Measure both, each in a process of its own, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strokes", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=("napari", "dock"), default=None)
    options = parser.parse_args()
    if options.only is not None:
        with tempfile.TemporaryDirectory() as folder:
            picture = write_picture(Path(folder))
            run = without_dock if options.only == "napari" else with_dock
            sys.stdout.write(json.dumps(run(picture, options.strokes)) + "\n")
        return
    found: dict[str, list[dict[str, float]]] = {"napari": [], "dock": []}
    for _ in range(options.repeats):
        for only, runs in found.items():
            command = [sys.executable, __file__, "--only", only, "--strokes", str(options.strokes)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            runs.append(json.loads(done.stdout.splitlines()[-1]))
    result: dict[str, Any] = {
        only: {name: round(float(np.median([run[name] for run in runs])), 1) for name in runs[0]}
        for only, runs in found.items()
    }
    bare, ours = result["napari"], result["dock"]
    ratio = ours["events_per_s"] / bare["events_per_s"]
    load = [round(value, 2) for value in os.getloadavg()]
    result |= {"ratio": round(ratio, 3), "cpu_ratio": round(bare["cpu_ms"] / ours["cpu_ms"], 3)}
    result |= {"cpus": os.cpu_count(), "load": load}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
