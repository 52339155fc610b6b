"""Time a project of 10,000 images in a running window: opening, the list, steps, and commits.

Opens napari with the dock on a generated project of pictures, half of them done. Measures, in ms:

* ``open``: from the call that opens the project until the list answers a search;
* ``step``: what *K* and *H* take on the window's thread until the next slice is chosen
  (``Navigation.skip`` and ``previous`` alone, median and longest), and until it is shown;
* ``rows``: what showing the list again takes on the window's thread (median);
* ``commit``: from a commit until "Saved." (median), and the longest gap between the ticks of a
  5 ms timer until the list shows it; the same from then until the next image is shown, most of
  which is napari's.

The last line is one JSON object. Run it with a display, for example
``ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 xvfb-run -a python benchmarks/large_project.py``.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import napari
import numpy as np
from interactive_latency import Heartbeat, run_for, run_until
from qtpy.QtWidgets import QLineEdit
from scale import commit_event, image_events

from napari_scsam._qt.dock import ScsamDock
from napari_scsam.project import Project
from napari_scsam.project.files import place_of
from napari_scsam.project.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_scsam.project.journal import NewEvent

# Sides of the pictures, and slices that are opened and committed. Arbitrary.
SHAPE = (352, 352)
STEPS, COMMITS = 20, 10


def make_project(folder: Path, count: int) -> Path:
    """A project of many images, half of them done, that all have the same few files."""
    rng = np.random.default_rng(0)
    real = [folder / f"real-{n}.png" for n in range(STEPS + COMMITS + 5)]
    for path in real:
        iio.imwrite(path, rng.integers(0, 255, SHAPE).astype(np.uint8))
    project = folder / "project"
    with Project.create(project, ["a", "b"]) as made:
        ids = made.add_images(real)
        records = {record.id: record for record in made.images()}
    journal = Journal(project / "journal.sqlite")
    events: list[NewEvent] = []
    for number in range(count - len(real)):
        events += image_events(number, SHAPE, project, folder)
        if number < count // 2:
            events.append(commit_event(str(events[-1][2]), 1, [0]))
    events += [("located", place_of(records[i].path, project), i) for i in ids]
    journal.append_all(events)
    journal.close()
    return project


def timed(work: Callable[[], object]) -> float:
    """Milliseconds that a call takes."""
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        project = make_project(Path(name), options.images)
        Project.open(project).close()  # makes the first backup
        sys.stdout.write(json.dumps(measure(project)) + "\n")


def measure(project: Path) -> dict[str, Any]:
    """Open the project in a window, and measure."""
    viewer = napari.Viewer()
    dock = ScsamDock(viewer)
    viewer.window.add_dock_widget(dock, name="SC-SAM")
    beat = Heartbeat()
    opened = timed(lambda: _open(dock, project))
    run_until(lambda: dock.session.annotation.key is not None)
    loop = dock.session.annotation
    run_until(lambda: loop.now.image is not None)
    result: dict[str, Any] = {"open": round(opened, 1)}
    chosen, shown = [], []
    for number in range(STEPS):
        before = loop.key
        start = time.perf_counter()
        move = loop.navigation.skip if number % 2 == 0 else loop.navigation.previous
        chosen.append(timed(move))
        run_until(lambda before=before: loop.key != before and loop.now.image is not None)
        shown.append(1000 * (time.perf_counter() - start))
    result["step"] = {"median": round(median(chosen), 2), "longest": round(max(chosen), 2)}
    result["step until shown"] = round(median(shown), 1)
    shown_rows = _timed_rows(dock)
    commits: list[float] = []
    gaps: dict[str, list[float]] = {"until saved": [], "until the next image": []}
    for _ in range(COMMITS):
        with _gap(beat, gaps["until saved"]):
            commits.append(_commit(dock))
        with _gap(beat, gaps["until the next image"]):
            _go_on(loop)
    result["rows"] = round(median(shown_rows), 1)
    result["commit"] = round(median(commits), 1)
    for name, found in gaps.items():
        each = {"median": round(median(found), 1), "longest": round(max(found), 1)}
        result[f"longest gap {name}"] = each
    result["memory, GB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    dock.shut_down()
    viewer.close()
    return result


def _open(dock: ScsamDock, project: Path) -> None:
    dock.open_project_folder(project)
    run_until(lambda: dock.session is not None)
    search = dock.findChild(QLineEdit, "queue_search")
    run_until(lambda: dock._parts.queue.list.model().rowCount() > 0)
    search.setText("real-3")
    run_until(lambda: 0 < dock._parts.queue.list.model().rowCount() < 20)
    search.setText("")


def _timed_rows(dock: ScsamDock) -> list[float]:
    """Milliseconds of each time that the list is shown from now on."""
    found: list[float] = []
    show = dock.images.show
    dock.images.show = lambda *given: found.append(timed(lambda: show(*given)))  # type: ignore[method-assign]
    return found


@contextmanager
def _gap(beat: Heartbeat, found: list[float]) -> Iterator[None]:
    """Add the longest gap between ticks in the block; it ticks before and after it."""
    beat.reset()
    run_for(0.03)
    yield
    run_for(0.03)
    found.append(max(beat.gaps))


def _commit(dock: ScsamDock) -> float:
    """Commit the slice in view as empty, and wait until the list shows it."""
    loop = dock.session.annotation
    commits = loop.now.commits
    took = timed(lambda: (loop.commit(), run_until(lambda: loop.now.commits > commits)))
    run_until(lambda: dock._runners.files.idle)
    return took


def _go_on(loop: Any) -> None:
    before = loop.key
    loop.navigation.skip()
    run_until(lambda: loop.key != before and loop.now.image is not None)


if __name__ == "__main__":
    main()
