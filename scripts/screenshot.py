"""Takes the README's picture: the dock beside a project's scan, after Suggest.

    python scripts/screenshot.py PROJECT docs/images/window.png [--slice N] [--theme dark]

Needs a display (`scripts/with-display.sh` gives one). Changes nothing in the project but
what opening it changes. Without a round, it clicks into the middle instead.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari  # noqa: TID251 - a script that drives the window
from qtpy.QtWidgets import QApplication  # noqa: TID251 - as above

from napari_scsam.core.geometry import Plane

SIZE = (1400, 900)
WAIT_S = 240.0
# Long enough for what runs where to be said.
SETTLE_S = 4.0


def main() -> None:
    """Read the arguments, open the window, and save the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--slice", type=int, default=None, help="of the first image, from 0")
    parser.add_argument("--theme", default="dark", choices=("dark", "light"))
    args = parser.parse_args()
    viewer = napari.Viewer(title="SC-SAM")
    viewer.theme = args.theme
    viewer.window.resize(*SIZE)
    _, dock = viewer.window.add_plugin_dock_widget("napari-scsam")
    dock.open_project_folder(args.project)
    try:
        _suggest(dock, args.slice)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        # Whole, with menus and docks; the viewer's own screenshot leaves the title bars out.
        viewer.window._qt_window.grab().save(str(args.out))
    finally:
        dock.shut_down()
        viewer.close()


def _suggest(dock: Any, index: int | None) -> None:
    _wait(lambda: dock.session is not None and dock.session.annotation.key is not None)
    session = dock.session
    if index is not None:
        session.canvas.go_to(Plane(0, index))
    annotation = session.annotation
    if session.project.active_round() is not None:
        annotation.suggest()
        _wait(lambda: bool(annotation.prompts.points))
    else:
        image_id, plane = annotation.key
        rows, cols = session.project.volume(image_id).plane(plane).shape[:2]
        annotation.editor.add_point(rows / 2, cols / 2)
    _wait(lambda: annotation.preview is not None)
    _pump(SETTLE_S)


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > end:
            sys.exit("Gave up waiting for the window.")
        _pump(0.05)


def _pump(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


if __name__ == "__main__":
    main()
