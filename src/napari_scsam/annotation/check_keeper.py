"""Stores what the models suggest on random checks, before it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_scsam.core.jobs import Job
from napari_scsam.project.random_checks import checked_slice, note_check

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam.annotation.state import AnnotationState
    from napari_scsam.core.geometry import SliceKey
    from napari_scsam.core.job_runner import JobRunner
    from napari_scsam.inference.messages import Answer
    from napari_scsam.project import Project
    from napari_scsam.project.slice_order import SliceOrder


class CheckKeeper:
    """Records suggestions on the random slices of the ranked queue.

    Parameters
    ----------
    project : Project
    files : JobRunner
        Writes to the journal.
    order : SliceOrder
        Of the queue.
    """

    def __init__(self, project: Project, files: JobRunner, order: SliceOrder) -> None:
        self._project, self._files, self._order = project, files, order
        # (image, slice, round) of what was recorded in this session.
        self._kept: set[tuple[str, int, int | None]] = set()

    def keep(
        self, now: AnnotationState, key: SliceKey, answer: Answer, show: Callable[[], None]
    ) -> None:
        """Show a suggestion, which is recorded first if its slice is a random check.

        If it can't be recorded, it is shown all the same, and the slice counts as one without a
        suggestion.

        Parameters
        ----------
        now : AnnotationState
            When the suggestion was requested.
        key : (image id, Plane)
        answer : Answer
        show : callable
        """
        number = None if now.round is None else now.round.number
        kept = (key[0], key[1].index, number)
        if not self._is_due(now, key) or kept in self._kept:
            show()
            return

        def record(_progress: Any, _cancel: Any) -> None:
            note_check(self._project, key[0], key[1].index, answer.preview, number)

        def recorded(_: Any) -> None:
            self._kept.add(kept)
            show()

        self._files.run(Job("Noting the suggestion", record), recorded, lambda _error: show())

    def _is_due(self, now: AnnotationState, key: SliceKey) -> bool:
        """Whether a slice is a random check that nobody has begun to label."""
        rank = self._order.rank_of(key[0])
        if rank is None or self._project.read_only or key[1].axis != 0:
            return False
        touched = (
            key in now.work.working_labels
            or key in now.work.drafts
            or not now.work.prompts_at(key).is_empty
        )
        committed = key[1].index in self._project.all_committed_planes().get(key[0], ())
        return checked_slice(rank[0]) == key[1].index and not touched and not committed
