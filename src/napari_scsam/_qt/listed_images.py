"""Reads the images of a project and their ranks, and shows them in the list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_scsam._qt.queue_model import Ranked, RankingReader
from napari_scsam.core.jobs import Job
from napari_scsam.project.image_queue import ImageRows, QueueRow

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam._qt.job_runner import ThreadJobRunner
    from napari_scsam._qt.queue_presenter import QueuePresenter
    from napari_scsam.annotation.controller import AnnotationController
    from napari_scsam.project import Project

# The images, their ranks, and the strategy that ranked them.
_Listed = tuple[list[QueueRow], dict[str, Ranked], str | None]


def _nothing() -> None:
    """Do nothing."""


class ListedImages:
    """Keeps the list of images up to date.

    Parameters
    ----------
    project : Project
    files : ThreadJobRunner
        Reads the project folder off the main thread.
    annotation : AnnotationController
    shown : QueuePresenter
    """

    def __init__(
        self,
        project: Project,
        files: ThreadJobRunner,
        annotation: AnnotationController,
        shown: QueuePresenter,
    ) -> None:
        self._rows = ImageRows(project, lambda: annotation.navigation.queue.second.committed())
        self._ranks = RankingReader()
        self._files = files
        self._annotation = annotation
        self._shown = shown

    def refresh(self, then: Callable[[], None] = _nothing) -> None:
        """Show what is committed, and the ranked queue.

        `then` is called when they are shown, or can't be read.
        """

        def read(_progress: Any, _cancel: Any) -> _Listed:
            order = self._annotation.navigation.queue.order
            order.refresh()
            return self._rows.read(), self._ranks.read(order.waiting()), order.strategy

        def show(found: _Listed) -> None:
            self._shown.show(*found, self._annotation.now.image_id, self.flagged())
            then()

        def failed(error: Exception) -> None:
            then()
            self._annotation.fail(error)

        self._files.run(Job("Reading the images", read), show, failed)

    def flagged(self) -> frozenset[str]:
        """Return the id of the open image if it has slices to check."""
        now = self._annotation.now
        is_flagged = any(draft.flag for draft in now.drafts.values())
        return frozenset({now.image_id} if is_flagged and now.image_id is not None else ())
