"""One background job at a time, in one order: what begins now, what waits, and what makes way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from napari_scsam.core.errors import ProjectError
from napari_scsam.project.numbered import unfinished
from napari_scsam.project.process import training_process
from napari_scsam.rounds.cost_estimate import rounded_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

Kind = Literal["round", "tuning", "measuring", "ranking"]

# The order, first things first: what the person asked for and waits for, what makes the next
# clicks better, what says how long a round will take, and what says where to look next.
ORDER: tuple[Kind, ...] = ("round", "tuning", "measuring", "ranking")
NAMES: Mapping[Kind, str] = {
    "round": "the round",
    "tuning": "learning from your labels",
    "measuring": "measuring this machine",
    "ranking": "ranking the images",
}
# Where each kind's child process works, as ``NNNN.partial``.
FOLDERS: Mapping[Kind, str] = {"round": "rounds", "tuning": "tuned"}


@dataclass(frozen=True)
class Timing:
    """Seconds that a job has taken so far, and that it will still take."""

    spent_s: float
    left_s: float


@dataclass(frozen=True)
class BackgroundJob:
    """What the queue has to know of a job.

    Attributes
    ----------
    kind : Kind
        One of `ORDER`.
    start : callable
        Begins it, or begins it anew after a `stop`.
    stop : callable, optional
        Ends it before its end, to be started again later; its owner then calls
        `JobQueue.stopped`. None where it is always waited for.
    timing : callable, optional
        Its Timing; None where that is not known.
    """

    kind: Kind
    start: Callable[[], None]
    stop: Callable[[], None] | None = None
    timing: Callable[[], Timing | None] = lambda: None

    def make_way(self) -> None:
        """Stop it for a job that comes before it, unless it is cheaper to wait for it.

        Stopping costs what was done, waiting costs what is left: the smaller is chosen, so that
        neither side loses more than half of the job's time.
        """
        timing = self.timing()
        if self.stop is not None and (timing is None or timing.left_s > timing.spent_s):
            self.stop()


class JobQueue:
    """Lets one job run at a time, in the order of `ORDER`; holds neither threads nor processes.

    Whoever is started calls `ended` or `stopped` afterwards, also where there was nothing to do.
    All calls come from one thread.
    """

    def __init__(self) -> None:
        self._running: BackgroundJob | None = None
        self._waiting: dict[Kind, BackgroundJob] = {}

    @property
    def running(self) -> Kind | None:
        """What runs now."""
        return None if self._running is None else self._running.kind

    def waits(self, kind: Kind) -> bool:
        """Whether a job of this kind waits for its turn."""
        return kind in self._waiting

    def ask(self, job: BackgroundJob) -> None:
        """Start a job now, or when its turn comes; one of its kind that waits gives its place."""
        self._waiting[job.kind] = job
        running = self._running
        if running is not None and _comes_before(job, running):
            running.make_way()
        self._start_next()

    def adopt(self, job: BackgroundJob) -> None:
        """Take in a job that runs already, such as one that a window before this one started.

        Where two run, the one that comes later in the order makes way if it can.
        """
        if self._running is None:
            self._running = job
            return
        self._running, later = sorted((self._running, job), key=lambda j: ORDER.index(j.kind))
        if later.stop is not None:
            self._waiting[later.kind] = later
            later.stop()

    def withdraw(self, kind: Kind) -> None:
        """Forget a job that waits."""
        self._waiting.pop(kind, None)

    def ended(self, kind: Kind) -> None:
        """Let the next one begin, since the running one has ended by itself or for good."""
        if self.running == kind:
            self._running = None
            self._start_next()

    def stopped(self, kind: Kind) -> None:
        """Let the next one begin; the running one made way and waits for its turn again."""
        running = self._running
        if running is not None and running.kind == kind:
            self._waiting.setdefault(kind, running)
            self.ended(kind)

    def close(self) -> None:
        """Start nothing any more."""
        self._waiting.clear()

    def sentence(self, kind: Kind) -> str:
        """What a waiting job waits for; empty where it does not.

        Such as ``"The round starts when learning from your labels has finished: about 20 s."``
        """
        running = self._running
        if running is None or kind not in self._waiting:
            return ""
        timing = running.timing()
        left = "" if timing is None else f": about {rounded_time(timing.left_s)}"
        name = NAMES[kind]
        return f"{name[0].upper()}{name[1:]} starts when {NAMES[running.kind]} has finished{left}."

    def _start_next(self) -> None:
        if self._running is None and self._waiting:
            first = min(self._waiting, key=ORDER.index)
            self._running = self._waiting.pop(first)
            self._running.start()


def _comes_before(job: BackgroundJob, other: BackgroundJob) -> bool:
    return ORDER.index(job.kind) < ORDER.index(other.kind)


def refuse_beside_another(folder: Path) -> None:
    """See that no background job of a project runs, in whichever window or terminal.

    Parameters
    ----------
    folder : Path
        The project folder.

    Raises
    ------
    ProjectError
        If one does: which, by which process, and what can be done.
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
