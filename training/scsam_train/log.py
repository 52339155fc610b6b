"""What the child and its parent tell each other: events.jsonl and control.json."""

from __future__ import annotations

import json
import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import Cancelled
from napari_scsam.core.round_contract import CONTROL_FILE, EVENTS_FILE, Command, EventKind

if TYPE_CHECKING:
    from pathlib import Path

PAUSE_POLL_S = 0.1


class EventLog:
    """Appends events to ``events.jsonl``, one JSON object to a line, each with its time."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / EVENTS_FILE

    def write(self, event: EventKind, **values: Any) -> None:
        """Append one event; numbers that JSON doesn't know become null."""
        line = {"event": event, "time": time.time(), **_finite(values)}
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def message(self, text: str) -> None:
        """Append a line for the person to read."""
        self.write(EventKind.MESSAGE, text=text)


class QuietLog(EventLog):
    """Says nothing: of several processes that train one round, one tells."""

    def write(self, event: EventKind, **values: Any) -> None:
        """Write nothing."""


class Control:
    """Reads what the parent wrote to ``control.json``: run, pause or cancel."""

    def __init__(self, folder: Path, log: EventLog) -> None:
        self._path = folder / CONTROL_FILE
        self._log = log
        self._command = Command.RUN
        self.paused_s = 0.0

    def check(self) -> None:
        """Hold while the round is paused.

        Raises
        ------
        Cancelled
            When the parent asked for it.
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
            self._log.message("Going on.")

    def _read(self) -> Command:
        # None yet, half written, or no word that is known: as before.
        with suppress(OSError, ValueError, KeyError, TypeError):
            self._command = Command(json.loads(self._path.read_text())["command"])
        return self._command


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
