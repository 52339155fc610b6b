"""The process that ranks for the window."""

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
    from pathlib import Path

PROCESS = "napari_scsam.workflows.ranking_process"


class RankingChild:
    """Ranks a project in a child process of the lowest priority.

    Parameters
    ----------
    folder : Path
        The project folder.
    strategy : str
    """

    def __init__(self, folder: Path, strategy: str) -> None:
        self._command = [sys.executable, "-P", "-m", PROCESS, str(folder), strategy]
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, progress: ProgressFn, cancel: CancelToken) -> dict[str, Any]:
        """Rank, and return the last event; blocks.

        Raises
        ------
        ProjectError
            If the ranking failed, or its process was killed: one line with the reason.
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
        return _result(last, code)

    def stop(self) -> None:
        """Cancel it; it ends after the image that it is reading. May be called from any thread."""
        if self._process is not None:
            with suppress(OSError):
                self._process.terminate()

    def kill(self) -> None:
        """End it at once; what it measured in the last seconds is lost."""
        if self._process is not None:
            with suppress(OSError):
                self._process.kill()


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


def _result(last: dict[str, Any], code: int) -> dict[str, Any]:
    kind = last.get("event")
    if kind == EventKind.FINISHED:
        return last
    if kind == EventKind.CANCELLED:
        raise Cancelled("Cancelled.")
    if kind == EventKind.FAILED:
        raise ProjectError(str(last["error"]))
    raise ProjectError(
        f"The ranking process ended unexpectedly (exit code {code}). What it measured is kept: "
        "rank again."
    )
