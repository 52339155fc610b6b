"""A round after every so many commits, if the user wants that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import Cancelled, ScsamError
from napari_scsam.core.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam.core.job_runner import JobRunner
    from napari_scsam.project import Project

# Kind of the journal's event that keeps the choice.
KIND = "automatic_rounds"
# Commits; only catches typing errors. Arbitrary.
MOST = 10_000


class AutomaticRounds:
    """Counts commits since the last round began, and starts one when it is due.

    Parameters
    ----------
    project : Project
    files : JobRunner
        Reads and writes the project.
    start : callable
        Starts a round, or does nothing if one is running or queued.

    Attributes
    ----------
    every : int
        Commits between two rounds; 0 for no automatic ones.
    """

    def __init__(self, project: Project, files: JobRunner, start: Callable[[], None]) -> None:
        self._project, self._files, self._start = project, files, start
        noted = project.events(KIND)
        every = noted[-1].payload.get("every") if noted else 0
        self.every = every if type(every) is int and 0 <= every <= MOST else 0

    def set_every(self, every: int) -> None:
        """Choose after how many commits a round is trained; 0 for none."""
        if every == self.every:
            return
        self.every = every
        if not self._project.read_only:
            note = Job("Noting", lambda _p, _c: self._project.record(KIND, {"every": every}))
            self._files.run(note, lambda _: None, _raise_if_bug)

    def committed(self) -> None:
        """Start a round if enough was committed since the last one began."""
        if not self.every or self._project.read_only:
            return

        def counted(commits: int) -> None:
            if self.every and commits >= self.every:
                self._start()

        def count(_progress: Any, _cancel: Any) -> int:
            begun = self._project.events("begin")
            last = begun[-1].id if begun else 0
            return sum(event.id > last for event in self._project.events("commit"))

        self._files.run(Job("Counting commits", count), counted, _raise_if_bug)


def _raise_if_bug(error: Exception) -> None:
    if not isinstance(error, ScsamError | Cancelled):
        raise error
