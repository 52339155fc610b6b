"""Connects the list of images with the open session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_scsam.core.geometry import Plane
from napari_scsam.core.jobs import Job
from napari_scsam.project.ranking import forget_queue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qtpy.QtGui import QPixmap

    from napari_scsam._qt.queue_model import Ranked
    from napari_scsam._qt.queue_panel import QueuePanel
    from napari_scsam._qt.session import Session
    from napari_scsam.core.job_runner import JobRunner
    from napari_scsam.project.image_queue import QueueRow
    from napari_scsam.workflows.background_ranking import RankingController, RankingState


class QueuePresenter:
    """Shows the images and their ranks, and opens the one that is picked.

    Parameters
    ----------
    panel : QueuePanel
    session : callable
        Returns the open session; None if there is none.
    files : JobRunner
        Writes to the project's folder.
    say : callable
        Shows a message, or an error if its second argument is true.
    """

    def __init__(
        self,
        panel: QueuePanel,
        session: Callable[[], Session | None],
        files: JobRunner,
        say: Callable[[str, bool], None],
    ) -> None:
        self._panel, self._session = panel, session
        self._files, self._say = files, say
        panel.picked.connect(self.open_image)
        ranking = panel.ranking
        ranking.started.connect(lambda: self._with(lambda r: r.start()))
        ranking.cancelled.connect(lambda: self._with(lambda r: r.cancel()))
        ranking.ticked.connect(lambda: self._with(lambda r: r.tick()))
        ranking.strategy_picked.connect(lambda name: self._with(lambda r: r.set_strategy(name)))
        ranking.again_switched.connect(lambda on: self._with(lambda r: r.set_after_rounds(on)))
        ranking.forgotten.connect(self._forget)
        panel.show_thumbnails(self._thumbnail)

    def show(
        self,
        rows: Sequence[QueueRow],
        ranking: Mapping[str, Ranked],
        strategy: str | None,
        current: str | None,
        flagged: frozenset[str],
    ) -> None:
        """Show the images and their ranks.

        Parameters
        ----------
        rows : sequence of QueueRow
        ranking : mapping of str to Ranked
            By image id, best first.
        strategy : str or None
            That ranked them; None if they are in the order in which they were added.
        current : str or None
            The open image.
        flagged : frozenset of str
            Images with slices to check.
        """
        self._panel.show_rows(rows, flagged, ranking)
        self._panel.show_current(current)
        self._panel.ranking.show_order(strategy, len(ranking))

    def show_state(self, state: RankingState) -> None:
        """Show how images are ranked, and how far that is."""
        self._panel.ranking.show_state(state)
        if state.message or state.error:
            self._say(state.error or state.message, bool(state.error))

    def thumbnail_ready(self, image_id: str) -> None:
        """Show a thumbnail that was made."""
        self._panel.model.thumbnail_ready(image_id)

    def open_image(self, image_id: str) -> None:
        """Open an image, a ranked volume at its best slice."""
        session = self._session()
        if session is None:
            return
        index = self._panel.plane_of(image_id)
        plane = None if index is None else Plane(0, index)
        navigation = session.annotation.navigation
        navigation.open_image(image_id, plane, then=navigation.arrived)
        navigation.queue.took(None, (image_id, plane or Plane()), session.annotation.fail)

    def _thumbnail(self, image_id: str) -> QPixmap | None:
        session = self._session()
        if session is None:
            return None
        return session.background.thumbnails.get(image_id, self._panel.plane_of(image_id))

    def _forget(self) -> None:
        """Return to the order in which the images were added."""
        session = self._session()
        if session is None:
            return
        folder = session.project.folder
        job = Job("Forgetting the ranking", lambda _progress, _cancel: forget_queue(folder))
        self._files.run(job, lambda _: session.listed.refresh(), session.annotation.fail)

    def _with(self, action: Callable[[RankingController], None]) -> None:
        session = self._session()
        if session is not None:
            action(session.background.ranking)
