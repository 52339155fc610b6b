"""Everything that lives as long as one open project."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, QTimer

from napari_scsam._napari.layers import NapariCanvas
from napari_scsam._qt.job_runner import ThreadJobRunner
from napari_scsam.controllers import queue
from napari_scsam.controllers.annotation import AnnotationController
from napari_scsam.controllers.inference import Segmenter
from napari_scsam.controllers.previews import Previewer
from napari_scsam.controllers.view_state import ViewState
from napari_scsam.core.jobs import Job
from napari_scsam.project import Project

# A slice that the slider rested on this long is worth preparing.
REST_MS = 120


class Session(QObject):
    """Builds the controllers of one project on one viewer, and takes them down again.

    Parameters
    ----------
    viewer : napari.Viewer
    project : Project
        Closed with the session.
    inference, files : ThreadJobRunner
    on_state : callable
        Takes each new ViewState.
    on_rows : callable
        Takes the rows of the queue, and the id of the open image.
    segmenter : Segmenter
    """

    def __init__(
        self,
        viewer: Any,
        project: Project,
        inference: ThreadJobRunner,
        files: ThreadJobRunner,
        on_state: Callable[[ViewState], None],
        on_rows: Callable[[list[queue.QueueRow], str | None], None],
        segmenter: Segmenter,
    ) -> None:
        super().__init__()
        self.project = project
        self._files = files
        self._on_state = on_state
        self._on_rows = on_rows
        self._rows_of: tuple[Any, ...] = ()
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._prepare)
        self._at: Any = None
        self.canvas = NapariCanvas(viewer)
        self.previewer = Previewer(segmenter, inference)
        self.annotation = AnnotationController(
            project, self.canvas, self.previewer, files, self._changed
        )
        self.refresh_rows()

    def open_first(self) -> None:
        """Open the first image that is not done, or the first."""
        rows = queue.rows(self.project)
        unfinished = [row for row in rows if row.done < row.total]
        if rows:
            self.annotation.open_image((unfinished or rows)[0].image_id)

    def refresh_rows(self) -> None:
        """Read how much is committed, off the main thread, and show it."""

        def read(_progress: Any, _cancel: Any) -> list[queue.QueueRow]:
            return queue.rows(self.project)

        def show(rows: list[queue.QueueRow]) -> None:
            self._on_rows(rows, self.annotation.image_id)

        self._files.run(Job("Reading the list", read), show, self.annotation.fail)

    def close(self) -> None:
        """Let go of the viewer and the project folder."""
        self._rest.stop()
        self.previewer.drop()
        self.canvas.close()
        self.project.close()
        self.deleteLater()

    def _changed(self, state: ViewState) -> None:
        self._on_state(state)
        if self.annotation.key != self._at:
            self._at = self.annotation.key
            self._rest.start()
        shown = (self.annotation.image_id, self.annotation.commits)
        if shown != self._rows_of:
            self._rows_of = shown
            self.refresh_rows()

    def _prepare(self) -> None:
        self.annotation.prepare()
