"""A child process of the lowest priority that works for the window, such as on a ranking."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import Cancelled, ProjectError
from napari_scsam.core.jobs import CancelToken, Progress, ProgressFn
from napari_scsam.core.round_contract import EventKind
from napari_scsam.io.real_files import parse_json

if TYPE_CHECKING:
    from collections.abc import Sequence


class QuietChild:
    """Runs a module whose `main` is `quiet_process.run_quietly`.

    Parameters
    ----------
    module : str
    arguments : sequence of str
    ended : str
        What to say if the process is killed; ``{code}`` is its exit code.
    """

    def __init__(self, module: str, arguments: Sequence[str], ended: str) -> None:
        self._command = [sys.executable, "-P", "-m", module, *arguments]
        self._ended = ended
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, progress: ProgressFn, cancel: CancelToken) -> dict[str, Any]:
        """Run it, and return its last event; blocks.

        Raises
        ------
        ProjectError
            If it failed, or was killed: one line with the reason.
        Cancelled
        """
        cancel.check()
        process = self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0)
            | getattr(subprocess, "IDLE_PRIORITY_CLASS", 0),
        )
        if cancel.cancelled:  # between the check and the start
            process.terminate()
        last = _follow(process, progress)
        code = process.wait()
        cancel.check()
        return self._result(last, code)

    def stop(self) -> None:
        """Cancel it; it ends at its next check. May be called from any thread."""
        if self._process is not None:
            with suppress(OSError):
                self._process.terminate()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            with suppress(OSError):
                self._process.kill()

    def _result(self, last: dict[str, Any], code: int) -> dict[str, Any]:
        kind = last.get("event")
        if kind == EventKind.FINISHED:
            return last
        if kind == EventKind.CANCELLED:
            raise Cancelled("Cancelled.")
        if kind == EventKind.FAILED:
            raise ProjectError(str(last["error"]))
        raise ProjectError(self._ended.format(code=code))


def _follow(process: subprocess.Popen[bytes], progress: ProgressFn) -> dict[str, Any]:
    """Report progress until the process ends; returns its last event."""
    last: dict[str, Any] = {}
    if process.stdout is None:
        return last
    with process.stdout as lines:
        for line in lines:
            try:
                last = dict(parse_json(line))
            except (ValueError, TypeError):  # what a library printed
                continue
            if last.get("event") == EventKind.PROGRESS:
                progress(Progress(float(last["fraction"]), str(last["message"])))
    return last
