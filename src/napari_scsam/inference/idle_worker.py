"""A background thread for work ahead of time, which yields to work that the user waits for."""

from __future__ import annotations

import logging
import threading
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_scsam.core.errors import Cancelled
from napari_scsam.core.jobs import CancelToken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from napari_scsam.core.geometry import SliceKey

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Task:
    """A task to do ahead for one plane.

    Attributes
    ----------
    key : (image id, Plane)
    work : callable
        Called with a CancelToken that it should check often; its result is discarded.
    """

    key: SliceKey
    work: Callable[[CancelToken], object]
    cancel: CancelToken = field(default_factory=CancelToken)

    def restarted(self) -> Task:
        """Return a copy that is not cancelled."""
        return Task(self.key, self.work)


class IdleWorker:
    """Runs tasks one by one while no request is being processed.

    A request cancels the current task and restarts it afterwards, unless the task is for the same
    plane: then the request waits for it. A request for another plane than the previous one also
    clears the queue. The thread is started by the first task.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Task] = deque()
        self._current: Task | None = None
        self._requests = 0
        self._key: SliceKey | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def schedule(self, tasks: Iterable[Task]) -> None:
        """Replace the queue by these tasks, in their order; returns at once."""
        with self._changed:
            self._waiting = deque(tasks)
            if self._current is not None and not self._is_waiting(self._current.key):
                self._current.cancel.cancel()
            if self._thread is None and self._waiting and not self._closed:
                self._thread = threading.Thread(target=self._run, name="ahead", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    @contextmanager
    def paused_for(self, key: SliceKey) -> Iterator[None]:
        """Suspend the tasks while a request for the plane `key` is processed."""
        with self._changed:
            self._requests += 1
            elsewhere, self._key = key != self._key, key
            if elsewhere:
                self._waiting.clear()
            current = self._current
            if current is not None and current.key != key and not current.cancel.cancelled:
                current.cancel.cancel()
                if not elsewhere:
                    self._waiting.appendleft(current.restarted())
        try:
            yield
        finally:
            with self._changed:
                self._requests -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Start no more tasks, and cancel the current one."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            if self._current is not None:
                self._current.cancel.cancel()
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait until no task is left; False if that takes longer than `seconds`."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._current is None and not self._waiting, seconds
            )

    def _is_waiting(self, key: SliceKey) -> bool:
        return any(task.key == key for task in self._waiting)

    def _run(self) -> None:
        while (task := self._next()) is not None:
            try:
                task.work(task.cancel)
            except Cancelled:
                pass
            except Exception:  # noqa: BLE001 - nobody waits: a request will raise the error itself
                _log.debug("A task for %s failed", task.key, exc_info=True)
            with self._changed:
                self._current = None
                self._changed.notify_all()

    def _next(self) -> Task | None:
        """Return the next task, once there is one and no request; None when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or (self._waiting and not self._requests))
            if self._closed:
                return None
            self._current = self._waiting.popleft()
            return self._current
