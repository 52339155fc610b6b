"""Objects that exist as long as one project is open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from qtpy.QtCore import QObject

from napari_scsam._napari.canvas import NapariCanvas
from napari_scsam._qt.background import Background
from napari_scsam._qt.layer_rows import LayerRows
from napari_scsam._qt.listed_images import ListedImages
from napari_scsam._qt.models_ahead import ModelsAhead
from napari_scsam._qt.models_line import ModelsLine
from napari_scsam._qt.slice_strip import SliceStrip
from napari_scsam.annotation.controller import AnnotationController
from napari_scsam.annotation.last_position import LastView, first_view, remember
from napari_scsam.core.jobs import Job
from napari_scsam.inference.previews import Previewer
from napari_scsam.project.opinions import restore_first
from napari_scsam.rounds.background_jobs import JobQueue
from napari_scsam.rounds.controller import RoundsController
from napari_scsam.rounds.tuning import TuningController, TuningState

if TYPE_CHECKING:
    from pathlib import Path

    from napari_scsam._qt.job_runner import Runners, ThreadJobRunner
    from napari_scsam._qt.progress_presenter import ProgressPresenter
    from napari_scsam._qt.queue_presenter import QueuePresenter
    from napari_scsam.annotation.view_state import ViewState
    from napari_scsam.inference.messages import SegmenterLike
    from napari_scsam.project import Project
    from napari_scsam.rounds.shown_rounds import RoundsState


class SessionView(Protocol):
    """View of a session.

    Attributes
    ----------
    images : QueuePresenter
        The list of images.
    progress : ProgressPresenter
        How good the suggestions are.
    """

    images: QueuePresenter
    progress: ProgressPresenter

    def show_state(self, state: ViewState) -> None:
        """Show what can be done now."""

    def show_rounds(self, state: RoundsState) -> None:
        """Show the state of the rounds."""

    def show_tuning(self, state: TuningState) -> None:
        """Show whether SAM is tuned on the labels, and the result."""

    def show_machine(self, text: str) -> None:
        """Show which models run on which device, or what they do."""

    def pick_class(self, position: int) -> None:
        """Pick the class at `position` of the list."""


class Session(QObject):
    """Creates the controllers of one project on one viewer, and closes them.

    Parameters
    ----------
    viewer : napari.Viewer
    project : Project
        Closed with the session.
    runners : Runners
    view : SessionView
    segmenter : SegmenterLike
        Closed with the session.
    """

    def __init__(
        self,
        viewer: Any,
        project: Project,
        runners: Runners,
        view: SessionView,
        segmenter: SegmenterLike,
    ) -> None:
        super().__init__()
        files = runners.files
        self.project = project
        self.segmenter = segmenter
        self._view = view
        self._is_closed = False
        self._seen: tuple[str | None, int, frozenset[str]] = (None, 0, frozenset())
        self.canvas = NapariCanvas(viewer, view.pick_class, SliceStrip(), LayerRows())
        previewer = Previewer(segmenter, runners.inference)
        self.annotation = AnnotationController(
            project,
            self.canvas,
            previewer,
            files,
            self._changed,
            segmenter=segmenter,
            carrier=runners.carrier,
        )
        self._ahead = ModelsAhead(
            project,
            self.annotation,
            previewer,
            files,
            ModelsLine(previewer, view.show_machine, self),
            self._shown,
            self,
        )
        # First on the thread for files, because a person waits for them.
        self.listed = ListedImages(project, files, self.annotation, view.images)
        self.listed.refresh(self._list_shown)
        self._open_first(files)
        jobs = JobQueue()
        self.tuning = TuningController(project, files, view.show_tuning, self._tuned, jobs=jobs)
        self.background = Background(
            project,
            files,
            self.annotation,
            jobs,
            view,
            self._labels_changed,
            self.listed.refresh,
            self,
        )
        self.rounds = RoundsController(
            project,
            files,
            self._show_rounds,
            self._round_changed,
            jobs=jobs,
            reader=self.background.reader,
        )

    def begin(self) -> None:
        """Load the models, and begin what is done in the background."""
        self._ahead.load()
        self.background.begin()

    def _list_shown(self) -> None:
        self.background.list_shown()

    def _open_first(self, files: ThreadJobRunner) -> None:
        """Open the slice of the last session, or the first one to be labelled."""

        def show(last: LastView | None) -> None:
            if last is not None and not self._is_closed:
                at = last.key
                self.annotation.navigation.open_image(*at, then=lambda: self._show_as(last))
                if at == self.annotation.navigation.queue.order.first():
                    self.annotation.navigation.queue.took(None, at, self.annotation.fail)

        def find(_progress: Any, _cancel: Any) -> LastView | None:
            if not self.project.read_only:
                restore_first(self.project)
            order = self.annotation.navigation.queue.order
            order.refresh()
            return first_view(self.project, order)

        files.run(Job("Finding the slice", find), show, self.annotation.fail)

    def _shown(self) -> LastView | None:
        """What is displayed; None without an image or in the 3D view."""
        now = self.annotation.now
        return now.key and LastView(now.key, now.active_class.id, self.canvas.camera)

    def _show_as(self, last: LastView) -> None:
        """Pick the class of the last session, look at the same part, and have it suggested on."""
        ids = [c.id for c in self.project.classes]
        if last.class_id in ids:
            self._view.pick_class(ids.index(last.class_id))
        if last.camera:
            self.canvas.look(last.camera)
        self.annotation.navigation.arrived()

    def is_in(self, folder: Path) -> bool:
        """Whether the project is in this folder."""
        return folder.resolve() == self.project.folder.resolve()

    def close(self) -> None:
        """Close the project, and remove its layers from the viewer."""
        self._is_closed = True
        if (shown := self._shown()) is not None:
            remember(self.project, shown)
        self.tuning.close()
        self.background.close()
        self.rounds.close()
        self.annotation.close()
        self._ahead.close()
        self.segmenter.close()
        self.canvas.close()
        self.project.close()
        self.deleteLater()

    def _changed(self, state: ViewState) -> None:
        self._view.show_state(state)
        self._ahead.moved()
        now = self.annotation.now
        seen, self._seen = self._seen, (now.image_id, now.commits, self.listed.flagged())
        if seen != self._seen:
            self.listed.refresh()
        if seen[1] != now.commits:  # opening a project is no reason to tune
            self.tuning.committed()
            self.background.committed()

    def _show_rounds(self, state: RoundsState) -> None:
        self._view.show_rounds(state)
        if state.estimate is not None and not state.estimate.measured:
            self.background.speed.wanted()
        self.background.rounds_changed(state)

    def _labels_changed(self) -> None:
        self.rounds.labels_changed()

    def _round_changed(self) -> None:
        self.annotation.round_changed()
        self.tuning.round_changed()

    def _tuned(self, folder: Path | None, redraw: bool) -> None:
        self.annotation.use_tuned(folder, redraw)
        self._ahead.again()  # so that the model is loaded before the next click

    def look_again(self) -> None:
        """Embed the current slice again, since its intensity window has changed."""
        self._ahead.again()
