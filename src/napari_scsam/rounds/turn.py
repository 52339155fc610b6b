"""A background job of the window: its place in the queue, and its child process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from napari_scsam.core.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam.core.job_runner import JobRunner, OnFailed
    from napari_scsam.rounds.background_jobs import BackgroundJob, JobQueue

R = TypeVar("R")


class Turn(Generic[R]):
    """Whether a job of one kind is queued, starting, running or ending.

    Parameters
    ----------
    job : BackgroundJob
    jobs : JobQueue
        Shared by all background jobs of the project.
    files : JobRunner
        Starts and adopts it off the main thread.
    running : RunningRound, RunningTuning or None
        A child process started by an earlier window; see `adopt`.

    Attributes
    ----------
    running : RunningRound, RunningTuning or None
    busy : bool
        Whether it is being started or adopted, so that it must be left alone.
    """

    def __init__(
        self, job: BackgroundJob, jobs: JobQueue, files: JobRunner, running: R | None
    ) -> None:
        self._job, self._jobs, self._files = job, jobs, files
        self.running, self.busy = running, False

    @property
    def waits(self) -> bool:
        """Whether it is queued behind another background job."""
        return self._jobs.waits(self._job.kind)

    @property
    def is_taken(self) -> bool:
        """Whether it is queued, starting, running or ending."""
        return self.running is not None or self.busy or self.waits

    @property
    def sentence(self) -> str:
        """Sentence on what it is waiting for; empty if it is not queued."""
        return self._jobs.sentence(self._job.kind)

    def adopt(self) -> None:
        """Register the running child process with the queue; another job may preempt it at once."""
        if self.running is not None:
            self._jobs.adopt(self._job)

    def ask(self) -> None:
        """Start now, or when its turn comes."""
        self._jobs.ask(self._job)

    def withdraw(self) -> None:
        """Leave the queue."""
        self._jobs.withdraw(self._job.kind)

    def ended(self) -> None:
        """Start the next job, since this one has ended for good."""
        self._jobs.ended(self._job.kind)

    def stopped(self) -> None:
        """Start the next job, and queue this one again."""
        self._jobs.stopped(self._job.kind)

    def close(self) -> None:
        """Clear the queue."""
        self._jobs.close()

    def work(
        self,
        name: str,
        function: Callable[[], Any],
        on_done: Callable[[Any], None],
        on_failed: OnFailed,
    ) -> None:
        """Start or adopt it off the main thread; the callbacks must reset `busy`."""
        self.busy = True
        self._files.run(Job(name, lambda _progress, _cancel: function()), on_done, on_failed)
