"""Queue of background jobs: one at a time, by priority, with preemption."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from napari_scsam.core.errors import ProjectError
from napari_scsam.core.jobs import Job
from napari_scsam.project.numbered import unfinished
from napari_scsam.project.process import training_process
from napari_scsam.rounds.cost_estimate import rounded_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from napari_scsam.core.job_runner import JobRunner, OnFailed

R = TypeVar("R")

Kind = Literal["round", "tuning", "ranking", "measuring"]

# Priorities, highest first: what the user has started and waits for, what improves the next clicks,
# what ranks the images, and what estimates the duration of a round once the machine is idle.
ORDER: tuple[Kind, ...] = ("round", "tuning", "ranking", "measuring")
NAMES: Mapping[Kind, str] = {
    "round": "the round",
    "tuning": "learning from your labels",
    "measuring": "measuring this machine",
    "ranking": "ranking the images",
}
# Folder of each kind's child process, as ``NNNN.partial``.
FOLDERS: Mapping[Kind, str] = {"round": "rounds", "tuning": "tuned"}


@dataclass(frozen=True)
class Timing:
    """Elapsed and estimated remaining seconds of a job."""

    spent_s: float
    left_s: float


@dataclass(frozen=True)
class BackgroundJob:
    """A job in the queue.

    Attributes
    ----------
    kind : Kind
        One of `ORDER`.
    start : callable
        Starts it, or restarts it after a `stop`.
    stop : callable, optional
        Ends it early, to be restarted later; its owner then calls `JobQueue.stopped`. None: the
        job is never preempted.
    timing : callable, optional
        Returns its Timing; None if unknown.
    """

    kind: Kind
    start: Callable[[], None]
    stop: Callable[[], None] | None = None
    timing: Callable[[], Timing | None] = lambda: None

    def make_way(self) -> None:
        """Stop it for a job of higher priority, unless waiting for it is cheaper.

        Stopping loses the elapsed time, waiting costs the remaining time. The smaller is chosen,
        so that at most half of the job's duration is lost.
        """
        timing = self.timing()
        if self.stop is not None and (timing is None or timing.left_s > timing.spent_s):
            self.stop()


class JobQueue:
    """Runs one job at a time, by the priorities in `ORDER`; has no threads or processes itself.

    A job makes way once, and then for a round only: otherwise the tunings of someone who labels
    fast would keep a ranking from ever ending.

    The owner of a started job calls `ended` or `stopped` afterwards, even if there was nothing to
    do. All calls come from one thread.
    """

    def __init__(self) -> None:
        self._running: BackgroundJob | None = None
        self._waiting: dict[Kind, BackgroundJob] = {}
        self._made_way: set[Kind] = set()

    @property
    def running(self) -> Kind | None:
        """Kind of the running job."""
        return None if self._running is None else self._running.kind

    def waits(self, kind: Kind) -> bool:
        """Whether a job of this kind is queued."""
        return kind in self._waiting

    def ask(self, job: BackgroundJob) -> None:
        """Start a job now or queue it; it replaces a queued job of the same kind."""
        self._waiting[job.kind] = job
        running = self._running
        if running is not None and self._preempts(job, running):
            running.make_way()
        self._start_next()

    def adopt(self, job: BackgroundJob) -> None:
        """Register a job that is already running, such as one started by an earlier window.

        If two are running, the one with lower priority is stopped if possible.
        """
        if self._running is None:
            self._running = job
            return
        self._running, later = sorted((self._running, job), key=lambda j: ORDER.index(j.kind))
        if later.stop is not None:
            self._waiting[later.kind] = later
            later.stop()

    def withdraw(self, kind: Kind) -> None:
        """Remove a queued job."""
        self._waiting.pop(kind, None)

    def ended(self, kind: Kind) -> None:
        """Start the next job, since the running one has ended for good."""
        self._made_way.discard(kind)
        if self.running == kind:
            self._running = None
            self._start_next()

    def stopped(self, kind: Kind) -> None:
        """Start the next job, and queue the stopped one again."""
        running = self._running
        if running is not None and running.kind == kind:
            self._waiting.setdefault(kind, running)
            self.ended(kind)
            self._made_way.add(kind)

    def close(self) -> None:
        """Clear the queue."""
        self._waiting.clear()

    def sentence(self, kind: Kind) -> str:
        """Describe what a queued job waits for; empty if it does not wait.

        Such as ``"The round starts when learning from your labels has finished: about 20 s."``
        """
        running = self._running
        if running is None or kind not in self._waiting:
            return ""
        timing = running.timing()
        left = "" if timing is None else f": about {rounded_time(timing.left_s)}"
        name = NAMES[kind]
        return f"{name[0].upper()}{name[1:]} starts when {NAMES[running.kind]} has finished{left}."

    def _preempts(self, job: BackgroundJob, running: BackgroundJob) -> bool:
        again = running.kind in self._made_way
        return _comes_before(job, running) and (job.kind == "round" or not again)

    def _start_next(self) -> None:
        if self._running is None and self._waiting:
            first = min(self._waiting, key=ORDER.index)
            self._running = self._waiting.pop(first)
            self._running.start()


def _comes_before(job: BackgroundJob, other: BackgroundJob) -> bool:
    return ORDER.index(job.kind) < ORDER.index(other.kind)


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


def refuse_beside_another(folder: Path) -> None:
    """Check that no background job of a project is running, in any window or terminal.

    Parameters
    ----------
    folder : Path
        The project folder.

    Raises
    ------
    ProjectError
        If one is running: which one, its process id, and what to do.
    """
    for kind, inside in FOLDERS.items():
        for partial in unfinished(folder / inside):
            process = training_process(partial)
            if process is not None:
                raise ProjectError(
                    f"{_title(kind, partial)} is still running in this project (process "
                    f"{process.pid}), and two at a time only slow each other. Wait for it, or "
                    "cancel it first."
                )


def _title(kind: Kind, partial: Path) -> str:
    return f"Round {int(partial.stem)}" if kind == "round" else "Learning from your labels"
