"""Has the models ready for the next click: loaded, and the slice in view embedded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

from napari_scsam._qt.job_runner import ThreadJobRunner
from napari_scsam.annotation.last_position import remember
from napari_scsam.core.jobs import Job
from napari_scsam.inference.prefetch import LookAhead

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam.annotation.controller import AnnotationController
    from napari_scsam.core.geometry import SliceKey
    from napari_scsam.inference.previews import Previewer
    from napari_scsam.project import Project

# A slice that the slider rested on this long is worth preparing. Arbitrary.
REST_MS = 120


class ModelsAhead(QObject):
    """Prepares the slice that a person rests on, then those that come next.

    Parameters
    ----------
    project : Project
    annotation : AnnotationController
    previewer : Previewer
        Closed with this.
    files : ThreadJobRunner
        For the project's folder.
    on_ready : callable
        Takes what runs where.
    parent : QObject
    """

    def __init__(
        self,
        project: Project,
        annotation: AnnotationController,
        previewer: Previewer,
        files: ThreadJobRunner,
        on_ready: Callable[[str], None],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._project, self._annotation, self._previewer = project, annotation, previewer
        self._files, self._on_ready = files, on_ready
        # Its own: what is saved must not wait for the reading of the next image.
        self._reader = ThreadJobRunner("scsam-ahead", self)
        self._lookahead = LookAhead(project, previewer, self._reader)
        self._at: SliceKey | None = None
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._prepare)

    def load(self) -> None:
        """Load the models of the active round."""
        active = self._project.active_round()
        self._previewer.start(None if active is None else active.folder)

    def moved(self) -> None:
        """Prepare the slice on show, if it is another one, once the person rests on it."""
        if self._annotation.key != self._at:
            self._at = self._annotation.key
            self.again()

    def again(self) -> None:
        """Prepare the slice on show: what the models see of it, or which models, has changed."""
        self._rest.start()

    def close(self) -> None:
        """Prepare nothing more."""
        self._rest.stop()
        self._lookahead.close()
        self._reader.close()
        self._previewer.close()

    def _prepare(self) -> None:
        if self._previewer.waiting:  # the models are at work for the person: later
            self.again()
            return
        key = self._annotation.key
        if key is not None:
            job = Job("Noting the slice", lambda _progress, _cancel: remember(self._project, key))
            self._files.run(job, lambda _: None, self._annotation.fail)
        self._annotation.outlines.prepare(self._on_ready)
        looking_at = self._annotation.outlines.looking_at
        if looking_at is not None:
            self._lookahead.around(*looking_at)
