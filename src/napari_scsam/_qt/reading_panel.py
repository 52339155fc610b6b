"""Progress of reading many images, and a button to cancel it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QWidget

from napari_scsam._qt.job_runner import ThreadJobRunner
from napari_scsam._qt.style import GAP
from napari_scsam._qt.widgets import small_button
from napari_scsam.core.jobs import CancelToken, Job, Progress, ProgressFn

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam.core.job_runner import JobRunner, OnDone, OnFailed

R = TypeVar("R")

# Parts of the progress bar; its text has the numbers.
PARTS = 1000


class ReadingPanel(QWidget):
    """Runs jobs that read images, and shows how far they are while there are several to read.

    Attributes
    ----------
    runner : ThreadJobRunner
        A thread of its own, so that saving does not wait for images that are read.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.runner = ThreadJobRunner("scsam-reading", self)
        self._running: set[CancelToken] = set()
        self._bar = QProgressBar()
        self._bar.setObjectName("reading_progress")
        self._bar.setRange(0, PARTS)
        self._bar.setAlignment(Qt.AlignmentFlag.AlignCenter)
        cancel = small_button("cancel_reading", "Cancel", "Stop reading; no image is added")
        cancel.clicked.connect(lambda _checked=False: self.cancel())
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GAP)
        layout.addWidget(self._bar, 1)
        layout.addWidget(cancel)
        self.hide()

    def run(
        self,
        runner: JobRunner,
        name: str,
        read: Callable[[Callable[[int, int], None]], R],
        on_done: OnDone,
        on_failed: OnFailed,
    ) -> None:
        """Run a job that can be cancelled.

        Parameters
        ----------
        runner : JobRunner
        name : str
        read : callable
            Called on the runner's thread, with a function that it calls with the number of images
            that are read, and of all images.
        on_done, on_failed : callable
        """

        def work(progress: ProgressFn, cancel: CancelToken) -> R:
            def report(done: int, total: int) -> None:
                cancel.check()
                progress(Progress(done / total, f"{done:,} of {total:,} images"))

            return read(report)

        def ending(callback: OnDone) -> OnDone:
            def ended(value: object) -> None:
                self._running.discard(token)
                self.setVisible(bool(self._running))
                callback(value)

            return ended

        token = runner.run(Job(name, work), ending(on_done), ending(on_failed), self._show)
        self._running.add(token)

    def cancel(self) -> None:
        """Cancel what is being read."""
        for token in self._running:
            token.cancel()

    def _show(self, progress: Progress) -> None:
        self._bar.setValue(round(PARTS * progress.fraction))
        self._bar.setFormat(progress.message)
        self.setVisible(progress.fraction < 1)
