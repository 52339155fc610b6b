"""A change in a fork that is killed, for trials of what a kill at any moment leaves."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Between two looks whether the fork has ended by itself. Arbitrary.
POLL_S = 0.005


def killed(work: Callable[[Callable[[], object]], object], after_s: float) -> tuple[bool, bool]:
    """Fork, work, and kill it; whether it was killed, and whether it had acknowledged.

    Parameters
    ----------
    work : callable
        Called in the fork with a function that acknowledges what is durable.
    after_s : float
        Seconds after which it is killed, if it has not ended.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _run(work, lambda: os.write(writing, b"x"))
    os.close(writing)
    status = _status(child, time.monotonic() + after_s)
    acknowledged = os.read(reading, 1) == b"x"
    os.close(reading)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return os.WIFSIGNALED(status), acknowledged


def _status(child: int, until: float) -> int:
    """How the child ended, which is killed at that time."""
    while (left := until - time.monotonic()) > 0:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(min(POLL_S, left))
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def _run(work: Callable[[Callable[[], object]], object], acknowledge: Callable[[], object]) -> None:
    """Work in the forked process, without any output, and end it."""
    code = 1
    try:
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())
        work(acknowledge)
        code = 0
    finally:
        os._exit(code)
