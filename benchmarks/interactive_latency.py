"""Measure the dock's latency from click to mask, and how long it blocks the Qt event loop.

Opens napari with the dock on a generated scan, steps through slices while they are embedded,
clicks, and trains a short round while stepping. The last line is one JSON object, in ms:

* ``click_to_mask``: time from the mouse press to the draw that shows the mask, with the slice's
  embedding cached; each click is at another position, and the first ones are not counted;
* ``click_ahead``: the same for the first click on a slice or image that was prepared while the
  previous one was shown for ``--think`` seconds: ``next_image``, ``next_slice``;
* ``click_beside_a_round``: the same with the models of the first round, ``idle`` and while a
  second round is ``training``;
* ``blocks``: for each phase, the gaps between the ticks of a 5 ms timer in the Qt event
  loop: the longest, percentiles, a histogram;
* ``blocks_without_plugin``: the same script on the same scan in a separate process without the
  plugin. It opens the same layers, steps through slices, clicks on the canvas (each click
  paints a fixed mask at once), shows another image in the layers, and steps through slices
  while the same round trains.

Run it with a display, for example ``xvfb-run -a python benchmarks/interactive_latency.py``,
on an idle machine; ``load`` is the machine's load.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
import tifffile
from event_loop import Heartbeat, run_for, run_until
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_scsam._qt.dock import ScsamDock
from napari_scsam.core.geometry import Plane
from napari_scsam.core.settings import TrainSettings
from napari_scsam.project import Project
from napari_scsam.rounds.running_round import TrainingController

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Untimed clicks before the timed ones, and seconds between clicks. Arbitrary.
WARM_UP, REST_S = 3, 0.15
# More steps than a round takes while the clicks are timed. Arbitrary.
STEPS_BESIDE = 2000
# Size of the window in screen pixels, other than the one that it opens with. Arbitrary.
WINDOW = (1280, 840)
# Size of the volume (slice, row, col) in pixels. Arbitrary.
SHAPE = (24, 256, 224)


def write_scan(folder: Path, name: str = "scan", seed: int = 0) -> Path:
    """Write a volume with a bright ellipsoid as float32 TIFF and return its path."""
    z, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    inside = ((z - 12) / 14) ** 2 + ((y - 90) / 40) ** 2 + ((x - 140) / 30) ** 2 <= 1
    scan = 0.2 + 0.6 * inside + np.random.default_rng(seed).normal(0, 0.03, SHAPE)
    path = folder / f"{name}.tif"
    tifffile.imwrite(path, scan.astype(np.float32), imagej=True, metadata={"axes": "ZYX"})
    return path


def open_viewer() -> Any:
    """Open a window, and resize it once.

    With Mesa's software renderer a canvas that has been resized takes about 13 ms longer for each
    draw. A dock that changes the canvas's height would pay for that, and any user's window does.
    """
    viewer = napari.Viewer()
    run_for(0.5)
    viewer.window.resize(*WINDOW)
    run_for(0.5)
    return viewer


def step_through(viewer: Any, seconds: float) -> None:
    """Move the slice slider every 300 ms, as a person searching for a structure does."""
    end, index = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        index = (index + 1) % SHAPE[0]
        viewer.dims.set_current_step(0, index)
        run_for(0.3)


def to_canvas(viewer: Any, row: float, col: float) -> QPoint:
    """Return the canvas position of a pixel of the shown slice."""
    canvas = viewer.window._qt_viewer.canvas
    x, y = canvas.view.scene.transform.map([col, row, 0, 1])[:2]
    return QPoint(round(x), round(y))


def places(count: int, seed: int = 1) -> Iterator[tuple[float, float]]:
    """Yield (row, col) inside the ellipsoid's middle slice, the same in every run."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield 90 + rng.uniform(-25, 25), 140 + rng.uniform(-18, 18)


def time_click(viewer: Any, where: tuple[float, float], masked: Callable[[], bool]) -> float:
    """Click and return the milliseconds until the first draw for which `masked` holds."""
    canvas = viewer.window._qt_viewer.canvas
    target = to_canvas(viewer, *where)
    shown: list[float] = []

    def drawn(_event: Any) -> None:
        if masked():
            shown.append(time.perf_counter())

    canvas._scene_canvas.events.draw.connect(drawn, position="last")
    began = time.perf_counter()
    QTest.mouseClick(
        canvas.native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, target
    )
    run_until(lambda: bool(shown))
    canvas._scene_canvas.events.draw.disconnect(drawn)
    return (shown[0] - began) * 1000


def without_plugin(scan_path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measure the same viewer, scan, layers, steps and clicks without the plugin."""
    viewer = open_viewer()
    blocks: dict[str, Any] = {}
    scan = tifffile.imread(scan_path)
    beat = Heartbeat()
    run_for(0.5)
    image = viewer.add_image(scan)
    masks = [viewer.add_labels(np.zeros(SHAPE, np.uint8)) for _ in range(3)]
    viewer.add_shapes(ndim=3)
    points = viewer.add_points(ndim=3)
    run_for(2.0)
    blocks["opening"] = beat.report()
    beat.reset()
    step_through(viewer, options.seconds)
    blocks["embedding"] = beat.report()
    viewer.dims.set_current_step(0, SHAPE[0] // 2)
    run_for(1.0)

    def paint(_layer: Any, event: Any) -> None:
        points.add(event.position)
        for mask in masks[1:]:
            mask.data[SHAPE[0] // 2, 60:120, 110:170] = 1
            mask.refresh()

    points.mouse_drag_callbacks.append(paint)
    beat.reset()
    for where in places(options.clicks):
        time_click(viewer, where, lambda: True)
        run_for(REST_S)
        points.data = np.empty((0, 3))
        run_for(REST_S)
    blocks["decoding"] = beat.report()
    second = tifffile.imread(write_scan(scan_path.parent, "second", 1))
    beat.reset()
    go_on(viewer, image, masks, second, options)
    blocks["going on"] = beat.report()
    blocks["training"] = beside_a_round(viewer, scan_path, beat, options.steps)
    viewer.close()
    return blocks


def go_on(
    viewer: Any, image: Any, masks: list[Any], scan: Any, options: argparse.Namespace
) -> None:
    """Show another scan in the same layers, and click on it and on the following slices."""
    run_for(options.think)
    image.data = scan
    image.contrast_limits_range = image.contrast_limits = float(scan.min()), float(scan.max())
    for mask in masks:
        mask.data = np.zeros(SHAPE, np.uint8)
    viewer.reset_view()
    time_click(viewer, (90, 140), lambda: True)
    for step in range(1, options.slices_ahead + 1):
        run_for(options.think)
        viewer.dims.set_current_step(0, SHAPE[0] // 2 + step)
        time_click(viewer, (90, 140), lambda: True)


def beside_a_round(viewer: Any, scan: Path, beat: Heartbeat, steps: int) -> dict[str, Any]:
    """Step through slices while the same round as with the dock trains in a child process."""
    label = np.zeros(SHAPE[1:], np.uint8)
    label[60:120, 110:170] = 1
    with Project.create(scan.parent / "bare", ["object"]) as project:
        (image,) = project.add_images([scan])
        project.commit(image, label, plane=Plane(0, SHAPE[0] // 2))
        training = TrainingController(project)
        beat.reset()
        running = training.start(TrainSettings(steps=steps, unlabelled_planes=4))
        while running.alive:
            step_through(viewer, 1.0)
        if running.finish() is None:
            raise RuntimeError("The round beside the window without the plugin had no result.")
    return beat.report()


def with_plugin(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Open the dock and measure each phase."""
    viewer = open_viewer()
    blocks: dict[str, Any] = {}
    began = time.perf_counter()
    dock = ScsamDock(viewer)
    viewer.window.add_dock_widget(dock, name="SC-SAM")
    result: dict[str, Any] = {"dock_opens": round((time.perf_counter() - began) * 1000, 1)}
    beat = Heartbeat()
    began = time.perf_counter()
    scans = [folder / "scan.tif", write_scan(folder, "second", 1)]
    dock.create_project(folder / "project", ["object"], scans)
    run_until(lambda: dock.session is not None and dock.session.annotation.key is not None)
    loop = dock.session.annotation
    loop.editor.add_point(90, 140)
    run_until(lambda: loop.preview is not None)
    result["project_to_first_mask"] = round((time.perf_counter() - began) * 1000, 1)
    loop.undo()
    run_for(1.0)
    blocks["opening"] = beat.report()

    beat.reset()
    step_through(viewer, options.seconds)
    blocks["embedding"] = beat.report()
    viewer.dims.set_current_step(0, SHAPE[0] // 2)
    run_for(0.5)
    run_until(lambda: dock._runners.inference.idle)

    beat.reset()
    result["click_to_mask"] = time_clicks(viewer, dock, options.clicks)
    blocks["decoding"] = beat.report()
    beat.reset()
    result["click_ahead"] = click_ahead(viewer, dock, options)
    blocks["going on"] = beat.report()
    blocks["training"] = train(viewer, dock, beat, options.steps)
    result["click_beside_a_round"] = click_beside_a_round(viewer, dock, options.clicks)
    dock.shut_down()
    viewer.close()
    heavy = {"torch", "peft", "monai"} & set(sys.modules)
    return result | {"blocks": blocks, "heavy_modules_in_the_window": sorted(heavy)}


def time_clicks(viewer: Any, dock: ScsamDock, clicks: int, seed: int = 1) -> dict[str, Any]:
    """Click and undo on the current slice; the first clicks are not counted.

    The same `seed` gives the same positions, whose masks are cached after the first call.
    """
    loop, times = dock.session.annotation, []
    for where in places(clicks + WARM_UP, seed):
        times.append(time_click(viewer, where, lambda: loop.preview is not None))
        run_for(REST_S)
        loop.undo()
        run_for(REST_S)
    return {
        "median": round(float(np.median(times[WARM_UP:])), 1),
        "p95": round(float(np.percentile(times[WARM_UP:], 95)), 1),
        "clicks": clicks,
    }


def click_beside_a_round(viewer: Any, dock: ScsamDock, clicks: int) -> dict[str, Any]:
    """Click on a slice without labels, before and while a round trains."""
    rounds, form = dock.session.rounds, dock._parts.training.form
    viewer.dims.set_current_step(0, SHAPE[0] // 2 - 2)
    run_until(lambda: dock._runners.inference.idle)
    result = {"idle": time_clicks(viewer, dock, clicks)}
    form.show_settings(replace(form.settings(), steps=STEPS_BESIDE))
    dock._press_training("train")
    run_until(lambda: rounds.state.running and bool(rounds.state.loss_unet))
    result["training"] = time_clicks(viewer, dock, clicks, seed=2)
    if not rounds.state.running:
        raise RuntimeError("The round ended before the last click: raise STEPS_BESIDE.")
    dock._press_training("cancel_train")
    run_until(lambda: not rounds.state.running)
    return result


def click_ahead(viewer: Any, dock: ScsamDock, options: argparse.Namespace) -> dict[str, Any]:
    """Open the next image and the following slices, and click on each at once."""
    loop, middle = dock.session.annotation, SHAPE[0] // 2
    second = [record.id for record in dock.session.project.images()][1]

    def click() -> float:
        return round(time_click(viewer, (90, 140), lambda: loop.preview is not None), 1)

    run_for(options.think)
    loop.navigation.open_image(second)
    run_until(lambda: loop.now.image_id == second)
    result: dict[str, Any] = {"think_s": options.think, "next_image": click(), "next_slice": []}
    for step in range(1, options.slices_ahead + 1):
        run_for(options.think)
        viewer.dims.set_current_step(0, middle + step)
        run_until(lambda step=step: loop.key is not None and loop.key[1].index == middle + step)
        result["next_slice"].append(click())
    return result


def train(viewer: Any, dock: ScsamDock, beat: Heartbeat, steps: int) -> dict[str, Any]:
    """Commit one slice and train a short round while stepping through slices."""
    loop = dock.session.annotation
    loop.editor.add_point(90, 140)
    run_until(lambda: loop.preview is not None)
    loop.commit()
    run_until(lambda: loop.now.commits > 0)
    form = dock._parts.training.form
    form.show_settings(replace(form.settings(), steps=steps))
    form.set_value("unlabelled_planes", 4)
    beat.reset()
    dock._press_training("train")
    run_until(lambda: dock.session.rounds.state.running)
    while dock.session.rounds.state.running:
        step_through(viewer, 1.0)
    if not dock.session.rounds.state.rounds:
        raise RuntimeError(f"The round failed: {dock.session.rounds.state.error}")
    return beat.report()


def measure_without_plugin() -> dict[str, Any]:
    """Run `without_plugin` in a process that has imported nothing else."""
    command = [sys.executable, __file__, "--bare", *sys.argv[1:]]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    blocks: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return blocks


def main() -> None:
    """Run all phases and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clicks", type=int, default=40)
    parser.add_argument(
        "--seconds", type=float, default=15.0, help="time of stepping through slices"
    )
    parser.add_argument("--steps", type=int, default=20, help="steps of the round")
    parser.add_argument("--think", type=float, default=4.0, help="seconds on each slice")
    parser.add_argument("--slices-ahead", type=int, default=6, help="following slices to click on")
    parser.add_argument("--bare", action="store_true", help="only the script without the plugin")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = write_scan(folder)
        if options.bare:
            result = without_plugin(scan, options)
        else:
            result = with_plugin(folder, options)
            result["blocks_without_plugin"] = measure_without_plugin()
            result["machine"] = {
                "cpus": os.cpu_count(),
                "system": platform.platform(),
                "python": platform.python_version(),
                "load": [round(v, 2) for v in getattr(os, "getloadavg", lambda: (0,))()],
            }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
