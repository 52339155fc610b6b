"""Prepares the next click: loads the models, and embeds the current slice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer

from napari_scsam._qt.job_runner import ThreadJobRunner
from napari_scsam.annotation.last_position import remember
from napari_scsam.core.jobs import Job
from napari_scsam.core.memory import return_freed_memory
from napari_scsam.inference.prefetch import LookAhead

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam._qt.models_line import ModelsLine
    from napari_scsam.annotation.controller import AnnotationController
    from napari_scsam.annotation.last_position import LastView
    from napari_scsam.core.geometry import SliceKey
    from napari_scsam.inference.previews import Previewer
    from napari_scsam.project import Project

# Time without scrolling after which the slice is embedded. Arbitrary.
REST_MS = 120


class ModelsAhead(QObject):
    """Embeds the slice at which the user stops, then the slices and images after it.

    Parameters
    ----------
    project : Project
    annotation : AnnotationController
    previewer : Previewer
        Closed by `close`.
    files : ThreadJobRunner
        Writes to the project folder off the main thread.
    line : ModelsLine
        Shows which models are ready.
    shown : callable
        () -> what is displayed, to open with it again.
    parent : QObject
    """

    def __init__(
        self,
        project: Project,
        annotation: AnnotationController,
        previewer: Previewer,
        files: ThreadJobRunner,
        line: ModelsLine,
        shown: Callable[[], LastView | None],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._project, self._annotation, self._previewer = project, annotation, previewer
        self._files, self._line, self._shown = files, line, shown
        # A thread of its own, so that saving does not wait until the next image is read.
        self._reader = ThreadJobRunner("scsam-ahead", self)
        self._lookahead = LookAhead(
            project, previewer, self._reader, annotation.navigation.queue.order
        )
        self._at: SliceKey | None = None
        self._image = ""
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._prepare)

    def load(self) -> None:
        """Load the models of the active round."""
        active = self._project.active_round()
        self._previewer.start(None if active is None else active.folder)

    def moved(self) -> None:
        """Embed the current slice if it is a new one, after a pause in scrolling."""
        if self._annotation.key != self._at:
            self._at = self._annotation.key
            self.again()

    def again(self) -> None:
        """Embed the current slice again, since its window or the models have changed."""
        self._rest.start()

    def close(self) -> None:
        """Stop, and close the previewer."""
        self._rest.stop()
        self._line.close()
        self._lookahead.close()
        self._reader.close()
        self._previewer.close()

    def _prepare(self) -> None:
        if self._previewer.waiting:  # clicks come first
            self.again()
            return
        key = self._annotation.key
        if key is not None:
            self._note(key)
        self._annotation.outlines.prepare(self._line.describe)
        current_question = self._annotation.outlines.current_question
        if current_question is not None:
            self._lookahead.around(*current_question)

    def _note(self, key: SliceKey) -> None:
        is_new, self._image = key[0] != self._image, key[0]
        view = self._shown()

        def note(_progress: Any, _cancel: Any) -> None:
            if view is not None:
                remember(self._project, view)
            if is_new:
                return_freed_memory()  # of the image, or the project, before

        self._files.run(Job("Noting the slice", note), lambda _: None, self._annotation.fail)
