"""Long-running work: progress reports and cancellation."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from napari_scsam.core.errors import Cancelled


@dataclass(frozen=True)
class Progress:
    """Progress of a job.

    Attributes
    ----------
    fraction : float
        Completed fraction, 0..1.
    message : str
        Current activity, for the status line.
    """

    fraction: float
    message: str = ""


ProgressFn = Callable[[Progress], None]


class CancelToken:
    """Cancellation flag, set by the requester and checked by the worker; thread-safe."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Request that the work stops at its next check."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise Cancelled if `cancel` was called."""
        if self.cancelled:
            raise Cancelled("Cancelled.")


def ignore_progress(_: Progress) -> None:
    """Progress function for callers that do not show progress."""


@dataclass(frozen=True)
class Job:
    """A task for a runner: ``function(progress, cancel)`` returns the result.

    Attributes
    ----------
    name : str
        Name for the status line and the log, such as ``"Preparing slice 14"``.
    function : callable
        Takes a progress function and a CancelToken; may raise ScsamError.
    """

    name: str
    function: Callable[[ProgressFn, CancelToken], Any]
