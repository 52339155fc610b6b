"""Runs jobs on one worker thread and reports their results on the main thread."""

from __future__ import annotations

import atexit
import logging
import queue
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, Signal

from napari_scsam.core.errors import Cancelled
from napari_scsam.core.jobs import CancelToken, Job, ProgressFn

if TYPE_CHECKING:
    from napari_scsam.core.job_runner import OnDone, OnFailed

# Time limits in seconds, while the window is in use and when Python exits. Arbitrary.
CLOSE_JOIN_S = 0.5
EXIT_JOIN_S = 30.0  # arbitrary

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Ticket:
    job: Job
    on_done: OnDone
    on_failed: OnFailed
    on_progress: ProgressFn | None
    cancel: CancelToken = field(default_factory=CancelToken)


def _end(jobs: queue.SimpleQueue[_Ticket | None], thread: threading.Thread) -> None:
    jobs.put(None)
    thread.join(EXIT_JOIN_S)


class ThreadJobRunner(QObject):
    """A Python thread, a queue, and one queued Qt signal.

    A job ends exactly once, done or failed, whatever it raises. The thread starts with the first
    job.

    Parameters
    ----------
    name : str
        Name of the thread.
    parent : QObject, optional
        Lives on the main thread.
    held : bool
        Begin no job before `release` is called.
    """

    # callback, argument
    _settled = Signal(object, object)

    def __init__(self, name: str, parent: QObject | None = None, *, held: bool = False) -> None:
        super().__init__(parent)
        self._name, self._held = name, held
        self._queue: queue.SimpleQueue[_Ticket | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._tickets: set[_Ticket] = set()
        self._closed = False
        self._settled.connect(self._deliver, Qt.ConnectionType.QueuedConnection)

    @property
    def idle(self) -> bool:
        """Whether every job has ended and was reported."""
        return not self._tickets

    def run(
        self,
        job: Job,
        on_done: OnDone,
        on_failed: OnFailed,
        on_progress: ProgressFn | None = None,
    ) -> CancelToken:
        """Queue `job`; see `napari_scsam.core.job_runner.JobRunner`."""
        ticket = _Ticket(job, on_done, on_failed, on_progress)
        if self._closed:
            ticket.cancel.cancel()
            return ticket.cancel
        self._tickets.add(ticket)
        self._queue.put(ticket)
        self._start()
        return ticket.cancel

    def release(self) -> None:
        """Begin the jobs of a runner that was held; without effect on another one."""
        self._held = False
        self._start()

    def close(self) -> None:
        """Cancel every job and report no more results; waits briefly for the running one."""
        self._closed = True
        for ticket in self._tickets:
            ticket.cancel.cancel()
        self._tickets.clear()
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join(CLOSE_JOIN_S)

    def _start(self) -> None:
        if self._thread is not None or self._held or self._closed or not self._tickets:
            return
        self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        self._thread.start()
        # A thread that is inside a library when Python exits can crash the process.
        atexit.register(_end, self._queue, self._thread)

    def _work(self) -> None:
        while (ticket := self._queue.get()) is not None:
            self._run_one(ticket)
            # Release what the finished job refers to before waiting for the next one.
            del ticket

    def _run_one(self, ticket: _Ticket) -> None:
        def report(progress: object) -> None:
            if ticket.on_progress is not None:
                self._send(ticket.on_progress, progress)

        try:
            ticket.cancel.check()
            result = ticket.job.function(report, ticket.cancel)
        except Exception as error:  # noqa: BLE001 - the job's boundary: reported on the main thread
            if not isinstance(error, Cancelled):
                _log.debug("%s failed", ticket.job.name, exc_info=error)
            self._send(self._ending(ticket, ticket.on_failed), error)
        else:
            self._send(self._ending(ticket, ticket.on_done), result)

    def _ending(self, ticket: _Ticket, callback: OnDone) -> OnDone:
        def end(value: object) -> None:
            self._tickets.discard(ticket)
            callback(value)

        return end

    def _send(self, callback: OnDone, value: object) -> None:
        if self._closed:
            return
        try:
            self._settled.emit(callback, value)
        except RuntimeError:  # Qt deleted the runner while the job was running
            self._closed = True

    def _deliver(self, callback: OnDone, value: object) -> None:
        if not self._closed:
            callback(value)


@dataclass(frozen=True)
class Runners:
    """The runners of a dock: a click never waits for a file, or for a propagation.

    Attributes
    ----------
    inference, files, carrier : ThreadJobRunner
        For clicks, for the project's folder, and for propagation.
    """

    inference: ThreadJobRunner
    files: ThreadJobRunner
    carrier: ThreadJobRunner

    @classmethod
    def of(cls, parent: QObject) -> Runners:
        """Create them; they live as long as `parent`."""
        names = ("scsam-inference", "scsam-files", "scsam-propagation")
        return cls(*(ThreadJobRunner(name, parent) for name in names))

    def close(self) -> None:
        """Close them; the one for files last, since it saves what the others leave."""
        for runner in (self.inference, self.carrier, self.files):
            runner.close()
