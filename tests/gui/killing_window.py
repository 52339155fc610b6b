"""Kill a window at a random moment of a session of drawing, and check what is left.

Run as ``python killing_window.py FOLDER SEED COUNT``, with a display. Each of the trials forks a
process that opens the project in a window, draws strokes with the mouse, begins smooth outlines,
presses J and moves the slider, until it is killed. Then the project must contain everything that
was drawn, except for the stroke or the vertex that was being drawn. The last line says how many
strokes the trials drew, and how many unfinished outlines the kills left.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import napari
import nibabel as nib
import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

sys.path.insert(0, str(Path(__file__).parents[1]))

from gui.conftest import Hand, Squares

from napari_scsam._qt.dock import ScsamDock
from napari_scsam.annotation.pending import read_back, unfinished_in, with_pending
from napari_scsam.annotation.work import Work
from napari_scsam.core.geometry import Plane
from napari_scsam.project import Project
from napari_scsam.project.pending import read_pending
from napari_scsam.rounds import machine_speed, tuning

SHAPE = (6, 60, 70)
# Seconds: a person's pause between two actions, the latest kill after the window is ready, and the
# longest that a window takes to open. Arbitrary.
PAUSE_S, LATEST_S, OPENS_S = 0.15, 4.0, 120.0
BRUSH = 3  # pixels; arbitrary
# Of the actions that are not strokes. Arbitrary.
COMMITS, MOVES, OUTLINES = 0.15, 0.2, 0.15


class Session:
    """Draws in a window until the process is killed.

    Before each action it writes what is seen, and where the action may draw.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.rng = folder, np.random.default_rng(seed)
        self.strokes = 0
        self.viewer = napari.Viewer()
        self.viewer.window.resize(900, 700)
        # Nothing is suggested or propagated here.
        squares: Any = Squares()
        self.dock = ScsamDock(self.viewer, segmenter=lambda _folder, _gb: squares)
        self.viewer.window.add_dock_widget(self.dock, name="SC-SAM")
        self.hand = Hand(self.viewer, self.dock, None)
        self.dock.open_project_folder(folder / "project")
        while self.dock.session is None or self.dock.session.annotation.key is None:
            self.wait(0.02)
        self.loop = self.dock.session.annotation
        self.key(Qt.Key.Key_D)
        assert self.loop.now.tool == "brush"
        self.dock.session.canvas.layers["preview"].brush_size = BRUSH

    def run(self) -> None:
        """Act for ever."""
        while True:
            self.wait(PAUSE_S)
            chosen = self.rng.random()
            if chosen < COMMITS:
                self.note(None)
                self.key(Qt.Key.Key_J)
            elif chosen < COMMITS + MOVES:
                self.note(None)
                self.viewer.dims.set_current_step(0, int(self.rng.integers(SHAPE[0])))
            elif chosen < COMMITS + MOVES + OUTLINES:
                self.begin_outline()
            else:
                self.stroke()

    def begin_outline(self) -> None:
        """Set vertices of a smooth outline, which stays unfinished, and go to another slice."""
        if self.loop.now.outline is not None:
            return
        self.note(None)
        self.key(Qt.Key.Key_Y)
        # Fewer than three, so that J gives them up rather than draw.
        for place in self.rng.uniform((5, 5), (SHAPE[1] - 6, SHAPE[2] - 6), (2, 2)):
            self.note(None)
            at = self.hand.at(*place)
            QTest.mouseClick(self.hand.native, Qt.MouseButton.LeftButton, pos=at)
            self.wait(0.02)
        self.note(None)
        self.viewer.dims.set_current_step(0, (self.loop.key[1].index + 1) % SHAPE[0])
        self.note(None)
        self.key(Qt.Key.Key_D)

    def stroke(self) -> None:
        start = self.rng.uniform((5, 5), (SHAPE[1] - 6, SHAPE[2] - 6))
        path = np.clip(
            start + self.rng.uniform(-15, 15, (3, 2)).cumsum(0), 3, np.array(SHAPE[1:]) - 4
        )
        self.loop.editor.set_class(int(self.rng.integers(1, 3)))
        low, high = path.min(0) - BRUSH, path.max(0) + BRUSH
        self.strokes += 1
        self.note([self.loop.key[1].index, *low.tolist(), *high.tolist()])
        self.hand.trace([tuple(place) for place in path])

    def note(self, draws: Any) -> None:
        """Write what is seen; `draws` is the slice and the corners of what is drawn next."""
        layers = self.dock.session.canvas.layers
        seen = np.maximum(layers["preview"].data, layers["committed"].data)
        np.savez(self.folder / "next.npz", seen=np.where(seen == 255, 0, seen))
        outlines = {key[1].index: found.vertices for key, found in self.loop.now.unfinished.items()}
        here = self.loop.key[1].index
        (self.folder / "next.json").write_text(json.dumps([self.strokes, draws, here, outlines]))
        folder = self.folder / f"seen-{time.monotonic_ns():020d}"
        folder.mkdir()
        for name in ("next.npz", "next.json"):
            os.replace(self.folder / name, folder / name)
        (folder / "complete").touch()

    def key(self, key: Any) -> None:
        window = self.viewer.window._qt_window
        while not window.isActiveWindow():  # keys of other windows do nothing
            window.activateWindow()
            self.wait(0.01)
        QTest.keyClick(window, key)

    def wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.005)


def in_project(folder: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """What is drawn in a project: committed, and what is not committed over it.

    The second value has the vertices of unfinished outlines by slice, as JSON reads them.
    """
    with Project.open(folder, wait=10) as project:
        assert project.notes == [], project.notes
        (image,) = project.images()
        label = project.label(image.id)
        seen = np.zeros(SHAPE, np.uint8) if label is None else np.where(label == 255, 0, label)
        pending = read_back(read_pending(project, image.id), SHAPE)
    work = with_pending(Work(), image.id, pending)
    for (_, plane), working in work.working_labels.items():
        seen[plane.index] = working.label
    outlines = unfinished_in(pending, image.id)
    vertices = {key[1].index: found.vertices for key, found in outlines.items()}
    return seen, json.loads(json.dumps(vertices))


def trial(folder: Path, rng: np.random.Generator) -> tuple[int, int]:
    """Kill a session, and compare the project with what was last seen.

    Returns the number of strokes, and of unfinished outlines.
    """
    before, outlines = in_project(folder / "project")
    for old in folder.glob("seen-*"):
        old.rename(folder / f"old-{old.name}")
    seed = int(rng.integers(2**31))
    child = os.fork()
    if not child:
        try:
            Session(folder, seed).run()
        finally:
            os._exit(1)
    end = time.monotonic() + OPENS_S
    while not any(folder.glob("seen-*/complete")):
        assert time.monotonic() < end, "the window did not open"
        time.sleep(0.02)
    time.sleep(rng.uniform(0, LATEST_S))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), status  # it ended by itself, with an error
    noted = sorted(path.parent for path in folder.glob("seen-*/complete"))
    first, last = (np.load(noted[at] / "next.npz")["seen"] for at in (0, -1))
    np.testing.assert_array_equal(first, before)  # the window showed what was left
    begun, ended = (json.loads((noted[at] / "next.json").read_text()) for at in (0, -1))
    assert begun[3] == outlines, (begun[3], outlines)
    found, outlines = in_project(folder / "project")
    check(found, last, ended)
    kept = len(outlines)
    check_outlines(outlines, ended)
    return int(ended[0]), kept


def check_outlines(found: dict[str, Any], last: list[Any]) -> None:
    """Every vertex is there; on the slice in view, the last action may have changed the outline."""
    here, noted = str(last[2]), last[3]
    now, before = found.pop(here, []), noted.pop(here, [])
    assert now[: len(before)] == before or not now, (now, before)
    assert len(now) <= len(before) + 1
    assert found == noted, (found, noted)


def check(found: np.ndarray, seen: np.ndarray, last: list[Any]) -> None:
    """What was seen is there; beside it only what the last action may have drawn."""
    np.testing.assert_array_equal(found[seen > 0], seen[seen > 0])
    more = (found > 0) & (seen == 0)
    if last[1] is not None:
        index, r0, c0, r1, c1 = (round(value) for value in last[1])
        more[index, max(r0, 0) : r1 + 1, max(c0, 0) : c1 + 1] = False
    assert not more.any(), "there is something that nobody drew"


def main() -> None:
    """Run the trials and print the number of strokes."""
    folder, seed, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    machine_speed.SpeedController.wanted = lambda _: None
    tuning.FIRST = 10**6
    rng = np.random.default_rng(seed)
    scan = folder / "scan.nii.gz"
    pixels = rng.integers(0, 900, SHAPE[::-1]).astype(np.int16)
    nib.save(nib.Nifti1Image(pixels, np.diag([1.0, 1.0, 2.0, 1.0])), scan)
    with Project.create(folder / "project", ["one", "two"]) as project:
        (image,) = project.add_images([scan])
        project.commit(image, np.zeros(SHAPE[1:], np.uint8), plane=Plane(0, 1))
    strokes, outlines = np.sum([trial(folder, rng) for _ in range(count)], axis=0)
    sys.stdout.write(f"{count} killed, {strokes} strokes, {outlines} outlines")


if __name__ == "__main__":
    main()
