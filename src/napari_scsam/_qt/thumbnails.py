"""Thumbnails for the list of images, made one at a time while nothing else is waited for."""

from __future__ import annotations

import os
import sys
import threading
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer
from qtpy.QtGui import QImage, QPixmap

from napari_scsam.core.jobs import Job
from napari_scsam.core.threads import RANKING
from napari_scsam.project.thumbnails import Thumbnails

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from napari_scsam.core.job_runner import JobRunner
    from napari_scsam.project import Project

# Time between two thumbnails, which leaves most of a core to the window. Arbitrary.
PAUSE_MS = 30
# Rows that wait for a thumbnail, the latest first, and thumbnails in memory. Both arbitrary.
MOST_WAITING = 40
MOST_KEPT = 1000  # arbitrary

# Image id, and slice along axis 0; None for the middle one.
Shown = tuple[str, "int | None"]


class ThumbnailLoader(QObject):
    """Gives thumbnails that are in memory, and has the others made.

    Parameters
    ----------
    project : Project
    runner : JobRunner
        Not shared with what the user waits for.
    is_busy : callable
        Whether the user waits for something; then no thumbnail is begun.
    on_ready : callable
        Called with the id of an image whose thumbnail is there.
    parent : QObject
    """

    def __init__(
        self,
        project: Project,
        runner: JobRunner,
        is_busy: Callable[[], bool],
        on_ready: Callable[[str], None],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._thumbnails = Thumbnails(project)
        self._runner, self._is_busy, self._on_ready = runner, is_busy, on_ready
        self._known: OrderedDict[Shown, QPixmap | None] = OrderedDict()
        self._waiting: OrderedDict[Shown, None] = OrderedDict()
        self._making = False
        self._timer = QTimer(self)
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self._next)

    def get(self, image_id: str, plane: int | None) -> QPixmap | None:
        """Return the thumbnail of a slice; None if there is none, or none yet."""
        wanted = (image_id, plane)
        if wanted in self._known:
            self._known.move_to_end(wanted)
            return self._known[wanted]
        self._waiting[wanted] = None
        self._waiting.move_to_end(wanted)
        while len(self._waiting) > MOST_WAITING:
            self._waiting.popitem(last=False)
        if not self._timer.isActive():
            self._timer.start()
        return None

    def close(self) -> None:
        """Make no more thumbnails."""
        self._timer.stop()
        self._waiting.clear()

    def _next(self) -> None:
        if not self._waiting:
            self._timer.stop()
        elif not self._making and not self._is_busy():
            self._make(self._waiting.popitem()[0])

    def _make(self, wanted: Shown) -> None:
        def made(pixels: NDArray[np.uint8] | None) -> None:
            self._making = False
            self._known[wanted] = None if pixels is None else _pixmap(pixels)
            while len(self._known) > MOST_KEPT:
                self._known.popitem(last=False)
            if pixels is not None:
                self._on_ready(wanted[0])

        def failed(_error: Exception) -> None:
            self._making = False

        def work(_progress: object, _cancel: object) -> NDArray[np.uint8] | None:
            _step_thread_back()
            return self._thumbnails.get(*wanted)

        self._making = True
        self._runner.run(Job("Making a thumbnail", work), made, failed)


def _pixmap(pixels: NDArray[np.uint8]) -> QPixmap:
    rows, cols = pixels.shape[:2]
    data = pixels.tobytes()  # must exist as long as the image refers to it
    return QPixmap.fromImage(QImage(data, cols, rows, 3 * cols, QImage.Format.Format_RGB888))


def _step_thread_back() -> None:
    """Give this thread the lowest priority; on Linux, where threads have one of their own."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), RANKING)
