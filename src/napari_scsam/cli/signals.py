"""Cancelling a command from outside."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from napari_scsam.core.jobs import CancelToken


@contextmanager
def terminated(stop: CancelToken) -> Iterator[None]:
    """Let SIGTERM cancel `stop` inside the block, instead of ending the process at once."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: stop.cancel())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
