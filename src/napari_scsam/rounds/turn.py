"""One kind of background job in the window: its place in the queue, and its child process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from napari_scsam.core.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam.core.job_runner import JobRunner, OnFailed
    from napari_scsam.rounds.background_jobs import BackgroundJob, JobQueue

R = TypeVar("R")


class Turn(Generic[R]):
    """Who runs, who waits, and whether one is just beginning or ending.

    Parameters
    ----------
    job : BackgroundJob
    jobs : JobQueue
        Shared by all background jobs of the project.
    files : JobRunner
        Begins and ends it off the main thread.
    running : RunningRound, RunningTuning or None
        One that was started by another window; see `adopt`.

    Attributes
    ----------
    running : RunningRound, RunningTuning or None
    busy : bool
        Whether it is being begun or taken in, so that nothing else may be done with it.
    """

    def __init__(
        self, job: BackgroundJob, jobs: JobQueue, files: JobRunner, running: R | None
    ) -> None:
        self._job, self._jobs, self._files = job, jobs, files
        self.running, self.busy = running, False

    @property
    def waits(self) -> bool:
        """Whether it waits for another background job."""
        return self._jobs.waits(self._job.kind)

    @property
    def is_taken(self) -> bool:
        """Whether it waits, begins, runs or ends."""
        return self.running is not None or self.busy or self.waits

    @property
    def sentence(self) -> str:
        """What it waits for; empty where it does not."""
        return self._jobs.sentence(self._job.kind)

    def adopt(self) -> None:
        """Take the one that runs already into the queue; it may have to make way at once."""
        if self.running is not None:
            self._jobs.adopt(self._job)

    def ask(self) -> None:
        """Begin now, or when its turn comes."""
        self._jobs.ask(self._job)

    def withdraw(self) -> None:
        """Wait no longer."""
        self._jobs.withdraw(self._job.kind)

    def ended(self) -> None:
        """Let the next one begin."""
        self._jobs.ended(self._job.kind)

    def stopped(self) -> None:
        """Let the next one begin, and wait for the next turn."""
        self._jobs.stopped(self._job.kind)

    def close(self) -> None:
        """Let nothing begin any more."""
        self._jobs.close()

    def work(
        self,
        name: str,
        function: Callable[[], Any],
        on_done: Callable[[Any], None],
        on_failed: OnFailed,
    ) -> None:
        """Begin it or take it in, off the main thread; whoever is called back is no longer busy."""
        self.busy = True
        self._files.run(Job(name, lambda _progress, _cancel: function()), on_done, on_failed)
