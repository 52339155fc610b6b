"""Starting a training process, and reading its events."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari_scsam.core.round_contract import EVENTS_FILE
from napari_scsam.io.real_files import open_new, open_real, parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Event = dict[str, Any]


class ChildEvents:
    """The events that a child appends to ``events.jsonl``.

    Parameters
    ----------
    folders : Path
        Candidate folders; the first that contains the file is used, since a finished child has
        renamed its folder.

    Attributes
    ----------
    last : Event
        The latest event read; empty before the first.
    """

    def __init__(self, *folders: Path) -> None:
        self._folders = folders
        self._read = 0
        self.last: Event = {}

    def poll(self) -> list[Event]:
        """Return the events since the last call, oldest first."""
        for folder in self._folders:
            try:
                with open_real(folder / EVENTS_FILE) as stream:
                    stream.seek(self._read)
                    data = stream.read()
            except OSError:
                continue
            whole = data[: data.rfind(b"\n") + 1]  # the last line may be incomplete
            self._read += len(whole)
            events = list(_parsed(whole))
            if events:
                self.last = events[-1]
            return events
        return []


def _parsed(lines: bytes) -> Iterator[Event]:
    for line in lines.splitlines():
        # After a power cut an incomplete line may be followed by those of the resumed child.
        with suppress(ValueError):
            event = parse_json(line)
            if isinstance(event, dict) and "event" in event:
                yield event


def start_child(
    module: str,
    folder: Path,
    log_path: Path,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``python -m MODULE FOLDER`` in the background.

    Parameters
    ----------
    module : str
    folder : Path
        Folder with the child's inputs.
    log_path : Path
        File for its standard streams. It is beside `folder`, since Windows can't rename a folder
        with an open file.
    cwd : Path
    environment : mapping of str to str, optional
        Environment variables that are set unless the user has set them.
    """
    # -P: a file with the module's name in the current folder must not be run instead.
    command = [sys.executable, "-P", "-m", module, str(folder)]
    # A session of its own: the child survives Ctrl+C and the closing of the window.
    with open_new(log_path) as log:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env={**(environment or {}), **os.environ},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0)
            | getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0),
        )
