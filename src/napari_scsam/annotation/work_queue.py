"""The way from slice to slice, and the record of what was taken from the ranked queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_scsam.core.jobs import Job
from napari_scsam.project.ranking import note_pick
from napari_scsam.project.slice_order import SliceOrder

if TYPE_CHECKING:
    from napari_scsam.core.geometry import SliceKey
    from napari_scsam.core.job_runner import JobRunner, OnFailed
    from napari_scsam.project import Project


class WorkQueue:
    """Says which slice comes next, and journals each image that was taken from the queue.

    Parameters
    ----------
    project : Project
    files : JobRunner
        Writes to the journal.

    Attributes
    ----------
    order : SliceOrder
    """

    def __init__(self, project: Project, files: JobRunner) -> None:
        self._project, self._files = project, files
        self.order = SliceOrder(project)
        self._last_image: str | None = None

    def step(self, key: SliceKey, step: int) -> SliceKey | None:
        """The slice after (`step` 1) or before (-1) `key`; None if there is none."""
        return self.order.after(key) if step > 0 else self.order.back(key)

    def took(self, left: SliceKey | None, taken: SliceKey, on_failed: OnFailed) -> None:
        """Note that a slice was left, and that the next one was taken from the queue.

        Called after the next slice was found, because the journal can't be read during a write.
        """
        if left is not None:
            self.order.leave(left)
        rank, before = self.order.rank_of(taken[0]), self._last_image
        self._last_image = taken[0]
        if rank is None or before == taken[0] or self._project.read_only:
            return
        entry, position = rank
        job = Job("Noting the pick", lambda _p, _c: note_pick(self._project, entry, position))
        self._files.run(job, lambda _: None, on_failed)
