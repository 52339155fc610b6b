"""Cancelling a command from outside."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_scsam.core.jobs import CancelToken


@contextmanager
def terminated(stop: CancelToken) -> Iterator[None]:
    """Let SIGTERM cancel `stop` inside the block, instead of ending the process at once."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: stop.cancel())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Let SIGTERM interrupt the block as Ctrl+C does, so that nothing is left half-done.

    A second one has no effect, so that what was begun is cleaned up. Without effect outside of the
    main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def end_at_sigterm() -> None:
    """Let SIGTERM end the process at once again, as long as it has a window.

    An exception inside of Qt can't be caught, and a window that is killed loses nothing.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
