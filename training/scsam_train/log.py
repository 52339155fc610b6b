"""Communication with the parent process: events.jsonl (out) and control.json (in)."""

from __future__ import annotations

import json
import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import Cancelled
from napari_scsam.core.round_contract import CONTROL_FILE, EVENTS_FILE, Command, EventKind
from napari_scsam.io.real_files import open_to_append

if TYPE_CHECKING:
    from pathlib import Path

# Seconds between reads of the commands while a round is paused. Arbitrary.
PAUSE_POLL_S = 0.1


class EventLog:
    """Appends events to ``events.jsonl``, one JSON object per line, each with a time stamp."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / EVENTS_FILE

    def write(self, event: EventKind, **values: Any) -> None:
        """Append one event; non-finite numbers become null."""
        line = {"event": event, "time": time.time(), **_finite(values)}
        with open_to_append(self._path) as stream:
            stream.write(f"{json.dumps(line)}\n".encode())

    def message(self, text: str) -> None:
        """Append a message for the user."""
        self.write(EventKind.MESSAGE, text=text)


class QuietLog(EventLog):
    """Writes nothing: only the main process of a distributed round logs."""

    def write(self, event: EventKind, **values: Any) -> None:
        """Ignore the event."""


class Control:
    """Reads the parent's command from ``control.json``: run, pause or cancel."""

    def __init__(self, folder: Path, log: EventLog) -> None:
        self._path = folder / CONTROL_FILE
        self._log = log
        self._command = Command.RUN
        self.paused_s = 0.0

    def check(self) -> None:
        """Block while the round is paused.

        Raises
        ------
        Cancelled
            If the parent asked for it.
        """
        if self._read() == Command.PAUSE:
            self._hold()
        if self._command == Command.CANCEL:
            raise Cancelled("The round was cancelled.")

    def _hold(self) -> None:
        self._log.message("Paused.")
        began = time.monotonic()
        while self._read() == Command.PAUSE:
            time.sleep(PAUSE_POLL_S)
        self.paused_s += time.monotonic() - began
        if self._command == Command.RUN:
            self._log.message("Resumed.")

    def _read(self) -> Command:
        # Missing, half written or unknown: keep the last command.
        with suppress(OSError, ValueError, KeyError, TypeError):
            self._command = Command(json.loads(self._path.read_text())["command"])
        return self._command


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
