"""Work that nobody waits for yet, on a thread that makes way for work that somebody does."""

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
class Errand:
    """Something to do ahead for one plane.

    Attributes
    ----------
    key : (image id, Plane)
    work : callable
        Given a CancelToken that it should look at often; its result is not wanted.
    """

    key: SliceKey
    work: Callable[[CancelToken], object]
    cancel: CancelToken = field(default_factory=CancelToken)

    def again(self) -> Errand:
        """The same, not cancelled."""
        return Errand(self.key, self.work)


class WorkAhead:
    """Runs errands one by one while no question is being answered.

    A question stops the errand at work, unless it is about the same plane, which the
    question then waits for; it is begun again afterwards. A question about another plane
    than the one before drops all that waits. The thread starts with the first errand.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Errand] = deque()
        self._current: Errand | None = None
        self._questions = 0
        self._key: SliceKey | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def want(self, errands: Iterable[Errand]) -> None:
        """Do these from now on, in their order, in place of all that waits; returns at once."""
        with self._changed:
            self._waiting = deque(errands)
            if self._current is not None and not self._is_waiting(self._current.key):
                self._current.cancel.cancel()
            if self._thread is None and self._waiting and not self._closed:
                self._thread = threading.Thread(target=self._run, name="ahead", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    @contextmanager
    def making_way(self, key: SliceKey) -> Iterator[None]:
        """Hold the errands back while a question about the plane `key` is answered."""
        with self._changed:
            self._questions += 1
            elsewhere, self._key = key != self._key, key
            if elsewhere:
                self._waiting.clear()
            current = self._current
            if current is not None and current.key != key and not current.cancel.cancelled:
                current.cancel.cancel()
                if not elsewhere:
                    self._waiting.appendleft(current.again())
        try:
            yield
        finally:
            with self._changed:
                self._questions -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Begin nothing more, and stop what is at work."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            if self._current is not None:
                self._current.cancel.cancel()
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is left to do; False when it takes longer than `seconds`."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._current is None and not self._waiting, seconds
            )

    def _is_waiting(self, key: SliceKey) -> bool:
        return any(errand.key == key for errand in self._waiting)

    def _run(self) -> None:
        while (errand := self._next()) is not None:
            try:
                errand.work(errand.cancel)
            except Cancelled:
                pass
            except Exception:  # noqa: BLE001 - nobody waits: a question will meet the error itself
                _log.debug("An errand for %s failed", errand.key, exc_info=True)
            with self._changed:
                self._current = None
                self._changed.notify_all()

    def _next(self) -> Errand | None:
        """The next errand, once there is one and no question; None when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or (self._waiting and not self._questions))
            if self._closed:
                return None
            self._current = self._waiting.popleft()
            return self._current
