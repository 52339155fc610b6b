"""What a session does in the background on threads: measuring, ranking, thumbnails."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer

from napari_scsam._qt.job_runner import ThreadJobRunner
from napari_scsam._qt.thumbnails import ThumbnailLoader
from napari_scsam.rounds.automatic import AutomaticRounds
from napari_scsam.rounds.machine_speed import SpeedController
from napari_scsam.workflows.background_ranking import RankingController
from napari_scsam.workflows.running_estimate import RunningEstimate

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtCore import QObject

    from napari_scsam._qt.session import SessionView
    from napari_scsam.annotation.controller import AnnotationController
    from napari_scsam.core.job_runner import JobRunner
    from napari_scsam.project import Project, RoundRecord
    from napari_scsam.rounds.background_jobs import JobQueue
    from napari_scsam.rounds.shown_rounds import RoundsState


# Time after a commit until slices are counted for the cost of a round, so that the next image is
# shown first. Arbitrary.
REST_MS = 400


class Background:
    """Creates and closes the controllers of background work, and its threads.

    Measuring and ranking share a thread, since only one of them runs at a time. Reading for the
    list of images has one of its own, which begins when the list is shown.

    Parameters
    ----------
    project : Project
    files : JobRunner
    annotation : AnnotationController
        Thumbnails are made while it does not wait for the models.
    jobs : JobQueue
        Shared by all background jobs of the project.
    view : SessionView
        Shows what is done and found.
    on_measured : callable
        Called when this machine was measured, and a little after commits: a round costs more then.
    on_ranked : callable
        Called when there is a new queue.
    parent : QObject
        Of runners and timers.

    Attributes
    ----------
    speed : SpeedController
    ranking : RankingController
    estimate : RunningEstimate
    automatic : AutomaticRounds
    helpers : ThreadJobRunner
        Waits for child processes that the person asked for: the report, the comparison of rounds.
    thumbnails : ThumbnailLoader
    reader : JobRunner
        For reading that nobody waits for.
    """

    def __init__(
        self,
        project: Project,
        files: JobRunner,
        annotation: AnnotationController,
        jobs: JobQueue,
        view: SessionView,
        on_measured: Callable[[], None],
        on_ranked: Callable[[], None],
        parent: QObject,
    ) -> None:
        self._rounds: tuple[RoundRecord, ...] = ()
        self._later = QTimer(parent)
        self._later.setSingleShot(True)
        self._later.timeout.connect(self._update)
        self._count = QTimer(parent)
        self._count.setSingleShot(True)
        self._count.setInterval(REST_MS)
        self._count.timeout.connect(on_measured)
        self._runner = ThreadJobRunner("scsam-background", parent)
        self.reader = ThreadJobRunner("scsam-list", parent, held=True)
        self.helpers = ThreadJobRunner("scsam-helpers", parent)
        self.speed = SpeedController(self._runner, jobs, on_measured)
        self.ranking = RankingController(
            project, files, (self._runner, self.reader), jobs, view.images.show_state, on_ranked
        )
        self.estimate = RunningEstimate(project, self.reader, view.progress.show)
        self.automatic = AutomaticRounds(project, self.reader, view.progress.start_round)
        self._show_progress = partial(view.progress.begin, project)
        self.thumbnails = ThumbnailLoader(
            project,
            self.reader,
            lambda: annotation.outlines.waiting,
            view.images.thumbnail_ready,
            parent,
        )

    def begin(self) -> None:
        """Show what a ranking would cost, and how good the suggestions were."""
        self._show_progress(self.automatic.every)
        self.ranking.rounds_changed(self._rounds)  # those that there are already
        self.ranking.begin()
        self.estimate.refresh()

    def list_shown(self) -> None:
        """Begin to read; not before, because reading in several threads slows the list down."""
        self.reader.release()

    def committed(self) -> None:
        """Update what a commit changes, and start a round if one is due."""
        self._count.start()
        self.estimate.refresh()
        self.automatic.committed()

    def rounds_changed(self, state: RoundsState) -> None:
        """Update what a round changes, once it has ended or another one was made active.

        It is done a little later, because clicks wait for the new models.
        """
        before, self._rounds = self._rounds, state.rounds
        if before != self._rounds:
            self._later.start()

    def _update(self) -> None:
        self.ranking.rounds_changed(self._rounds)
        self.estimate.refresh()

    def close(self) -> None:
        """End what is running."""
        self._later.stop()
        self._count.stop()
        self.thumbnails.close()
        self.speed.close()
        self.ranking.close()
        self.helpers.close()
        self.reader.close()
        self._runner.close()
