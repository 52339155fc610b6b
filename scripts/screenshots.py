"""Take the screenshots of the documentation: the dock beside the sample scan, step by step.

    python scripts/screenshots.py docs/images [--sample FOLDER] [--theme dark] [--only list]

It needs a display (see `scripts/with-display.sh`) and an idle machine, because the dock shows
the estimated time of a round. The sample project is created in a temporary folder. For the last
screenshots, a second project is trained for one round with the demo's settings, and for another
one to compare it with. `--sample` is the folder of this project, which is then reused. The ranked
list is that of a third project, of single slices of the sample scan. `--only` takes the screenshot
of the list, of the smooth outline, of the keys, or of the comparison alone.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari  # noqa: TID251 - a script that drives the window
import numpy as np
import tifffile
from PIL import Image
from qtpy.QtCore import QBuffer, QIODevice, QPoint, Qt  # noqa: TID251 - as above
from qtpy.QtTest import QTest  # noqa: TID251 - as above
from qtpy.QtWidgets import (  # noqa: TID251 - as above
    QAbstractButton,
    QApplication,
    QDialog,
    QLabel,
    QListWidget,
    QScrollArea,
    QToolButton,
    QWidget,
)
from scipy.ndimage import binary_fill_holes, distance_transform_edt
from skimage.measure import find_contours

from napari_scsam.core.geometry import Plane
from napari_scsam.core.jobs import CancelToken, ignore_progress
from napari_scsam.io.sample import load_sample_scan
from napari_scsam.project import Project
from napari_scsam.rounds.running_round import TrainingController
from napari_scsam.workflows.demo import demo_settings
from napari_scsam.workflows.ranking_child import ranking_child
from napari_scsam.workflows.sample import open_sample_project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Screenshots that can be taken alone.
ALONE = ("list", "outline", "keys", "comparison")
# Size of the window in pixels, and time limit for a model's answer. Both arbitrary.
SIZE = (1280, 860)
WAIT_S = 240.0
# Time until the dock has shown the devices. Arbitrary.
SETTLE_S = 4.0
# Twice napari's default, in pixels.
LARGE_FONT = 24
VENTRICLES = 2
# Chosen by hand in the sample: a committed slice, and two open ones.
COMMITTED_SLICE, CLICKED_SLICE, SUGGESTED_SLICE = 76, 79, 91
# An open slice, and the number of vertices round its brain. Chosen by hand.
OUTLINED_SLICE, VERTICES = 91, 6
# Slices of the ranked list, every eighth of those with a brain. Chosen by hand.
LISTED_SLICES = range(30, 150, 8)


def main() -> None:
    """Parse the arguments, create the sample projects, and take the screenshots."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--sample", type=Path, default=None, help="folder of the sample project")
    parser.add_argument("--theme", default="dark", choices=("dark", "light"))
    parser.add_argument("--only", choices=ALONE, help="take one alone")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        with _dock(args.theme) as (window, dock):
            sample = args.sample or place / "trained"
            if args.only is None:
                trained = _trained_sample(sample)
                _take_pictures(window, dock, (_sample(place / "fresh"), trained), args.out)
                _unfold(dock, "rounds_fold")
                _scroll_down(dock)
                _take_states(dock, args.out)
            if args.only in (None, "outline"):
                _take_outline(window, dock, _sample(place / "outlined"), args.out)
            if args.only in (None, "keys"):
                _take_keys(dock, args.out)
            if args.only in (None, "list"):
                _take_list(dock, _ranked_sample(place), args.out)
            if args.only in (None, "comparison"):
                _take_comparison(dock, _trained_sample(sample, rounds=2), args.out)


@contextmanager
def _dock(theme: str) -> Iterator[tuple[Any, Any]]:
    """Open napari with the dock; gives its window and the dock."""
    viewer = napari.Viewer(title="SC-SAM")
    viewer.theme = theme
    viewer.window.resize(*SIZE)
    _, dock = viewer.window.add_plugin_dock_widget("napari-scsam")
    try:
        _pump(1.0)
        # The whole window with menus and docks; the viewer's own screenshot has no title bars.
        yield viewer.window._qt_window, dock
    finally:
        dock.shut_down()
        viewer.close()


def _sample(folder: Path) -> Path:
    with open_sample_project(folder) as project:
        return project.folder


def _trained_sample(folder: Path, rounds: int = 1) -> Path:
    """Create the sample project if it does not exist, and train it until it has so many rounds."""
    with open_sample_project(folder) as project:
        while len(project.rounds()) < rounds:
            TrainingController(project).start(demo_settings()).run(lambda event: None)
        return project.folder


def _ranked_sample(place: Path) -> Path:
    """Create a project of single slices of the sample scan, and rank them."""
    scan, scans = load_sample_scan().image.data, place / "scans"
    scans.mkdir()
    for number, index in enumerate(LISTED_SLICES, 1):
        tifffile.imwrite(scans / f"case_{number:03d}.tif", scan[index])
    with Project.create(place / "ranked", ["ventricles"]) as project:
        project.add_images(scans)
        folder = project.folder
    ranking_child(folder, "hybrid").run(ignore_progress, CancelToken())
    return folder


def _take_list(dock: Any, project: Path, out: Path) -> None:
    _open(dock, project)
    _unfold(dock, "ranking_fold")
    _pump(SETTLE_S)
    _save(dock, out / "ranked.png")
    _unfold(dock, "ranking_fold", on=False)


def _take_comparison(dock: Any, project: Path, out: Path) -> None:
    """Compare the two rounds on an open slice."""
    _open(dock, project)
    _go_to(dock, SUGGESTED_SLICE)
    _unfold(dock, "rounds_fold")
    rounds = dock.findChild(QListWidget, "rounds")
    _wait(lambda: rounds.count() == 2)
    rounds.setCurrentRow(1 - rounds.currentRow())  # not the active one, which is selected
    dock.findChild(QAbstractButton, "compare_rounds").click()
    window = dock.findChild(QDialog, "comparison")
    text = window.findChild(QLabel, "comparison_text")
    _wait(lambda: text.text().startswith("Dice"))
    _pump(1.0)
    _save(window, out / "comparison.png")
    window.close()


def _take_pictures(window: Any, dock: Any, projects: tuple[Path, Path], out: Path) -> None:
    _save(window, out / "welcome.png")
    _open(dock, projects[0])
    _go_to(dock, COMMITTED_SLICE)
    _save(window, out / "committed.png")
    _click(dock)
    _save(window, out / "click.png")
    _open(dock, projects[1])
    _suggest(dock)
    _save(window, out / "window.png")
    _unfold(dock, "rounds_fold")
    _scroll_down(dock)
    _save(dock, out / "round.png")
    _unfold(dock, "rounds_fold", on=False)


def _take_states(dock: Any, out: Path) -> None:
    """Take the dock with its forms open, and with fonts of twice the size."""
    _scroll_up(dock)
    _unfold(dock, "edit_classes")
    _save(dock, out / "classes.png")
    dock.findChild(QToolButton, "edit_classes").setChecked(False)
    _scroll_down(dock)
    _unfold(dock, "train_settings")
    _save(dock, out / "settings.png")
    style = dock.styleSheet()
    dock.setStyleSheet(f"{style}\n* {{ font-size: {LARGE_FONT}px; }}")
    _pump(1.0)
    _save(dock, out / "large.png")
    dock.setStyleSheet(style)


def _take_keys(dock: Any, out: Path) -> None:
    dock.press("keys")
    _pump(1.0)
    _save(dock.findChild(QDialog, "key_sheet"), out / "keys.png")
    dock.findChild(QDialog, "key_sheet").close()


def _take_outline(window: Any, dock: Any, project: Path, out: Path) -> None:
    """Click along the border of the brain with *Smooth outline*, but for the last vertex."""
    _open(dock, project)
    _go_to(dock, OUTLINED_SLICE)
    dock.session.annotation.pick_tool("smooth")
    _pump(1.0)
    brain = load_sample_scan().truth[OUTLINED_SLICE] > 0
    border = max(find_contours(binary_fill_holes(brain).astype(float), 0.5), key=len)
    *clicked, last = border[:: -(-len(border) // VERTICES)]
    canvas = window._qt_viewer.canvas
    for row, col in clicked:
        QTest.mouseClick(canvas.native, Qt.MouseButton.LeftButton, pos=_at(dock, canvas, row, col))
        _pump(0.5)
    QTest.mouseMove(canvas.native, _at(dock, canvas, *last))
    _pump(SETTLE_S)
    _save(window, out / "smooth.png")


def _at(dock: Any, canvas: Any, row: float, col: float) -> QPoint:
    """Position of a pixel of the displayed slice on the canvas."""
    scale = dock.session.canvas.layers["prompts"].scale[-2:]
    x, y = canvas.view.scene.transform.map([col * scale[1], row * scale[0], 0, 1])[:2]
    return QPoint(round(x), round(y))


def _unfold(dock: Any, name: str, *, on: bool = True) -> None:
    dock.findChild(QToolButton, name).setChecked(on)
    _pump(1.0)


def _open(dock: Any, project: Path) -> None:
    dock.open_project_folder(project)
    _wait(lambda: dock.session is not None and dock.session.is_in(project))
    _wait(lambda: dock.session.annotation.key is not None)
    _pump(1.0)


def _go_to(dock: Any, index: int) -> None:
    dock.session.canvas.go_to(Plane(0, index))
    _pump(SETTLE_S)


def _click(dock: Any) -> None:
    """Click in the centre of the largest disc inside the ventricles."""
    _go_to(dock, CLICKED_SLICE)
    inside = load_sample_scan().truth[CLICKED_SLICE] == VENTRICLES
    row, col = np.unravel_index(np.argmax(distance_transform_edt(inside)), inside.shape)
    annotation = dock.session.annotation
    dock.pick_class(VENTRICLES - 1)
    annotation.editor.add_point(float(row), float(col))
    _wait(lambda: annotation.preview is not None)
    _pump(SETTLE_S)


def _suggest(dock: Any) -> None:
    _go_to(dock, SUGGESTED_SLICE)
    annotation = dock.session.annotation
    annotation.suggest()
    _wait(lambda: bool(annotation.prompts.points) and annotation.preview is not None)
    _pump(SETTLE_S)


def _scroll_up(dock: Any) -> None:
    dock.findChild(QScrollArea).verticalScrollBar().setValue(0)
    _pump(1.0)


def _scroll_down(dock: Any) -> None:
    bar = dock.findChild(QScrollArea).verticalScrollBar()
    bar.setValue(bar.maximum())
    _pump(1.0)


def _save(widget: QWidget, path: Path) -> None:
    """Write a screenshot of `widget` as PNG."""
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.ReadWrite)
    widget.grab().save(buffer, "PNG")
    # Qt's compression is weak.
    Image.open(io.BytesIO(bytes(buffer.data()))).convert("RGB").save(path, optimize=True)


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > end:
            sys.exit("Timed out waiting for the window.")
        _pump(0.05)


def _pump(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


if __name__ == "__main__":
    main()
