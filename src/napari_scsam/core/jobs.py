"""What long work is handed: a way to report progress and to be cancelled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from napari_scsam.core.errors import Cancelled


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes
    ----------
    fraction : float
        0..1.
    message : str
        What is being done, for the status line.
    """

    fraction: float
    message: str = ""


ProgressFn = Callable[[Progress], None]


class CancelToken:
    """Set by the one who asks, looked at by the one who works; thread-safe."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the work to stop at its next chance."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise Cancelled when `cancel` was called."""
        if self.cancelled:
            raise Cancelled("Cancelled.")


def ignore_progress(_: Progress) -> None:
    """Progress function for callers that show none."""


@dataclass(frozen=True)
class Job:
    """Work for a runner: ``function(progress, cancel)`` returns the result.

    Attributes
    ----------
    name : str
        For the status line and the log, such as ``"Preparing slice 14"``.
    function : callable
        Takes a progress function and a CancelToken; may raise ScsamError.
    """

    name: str
    function: Callable[[ProgressFn, CancelToken], Any]
