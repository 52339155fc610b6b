"""Who trains a round: the child's process, found again after a restart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from pathlib import Path

PROCESS_FILE = "process.json"


def record_process(folder: Path, pid: int) -> None:
    """Write down which process trains the round in `folder`.

    The start time tells it from a later process that was given the same number.
    """
    try:
        created = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:  # it has already ended
        created = 0.0
    (folder / PROCESS_FILE).write_text(json.dumps({"pid": pid, "created": created}))


def training_process(folder: Path) -> psutil.Process | None:
    """The living process that trains the round in `folder`, or None."""
    try:
        noted = json.loads((folder / PROCESS_FILE).read_text())
        process = psutil.Process(int(noted["pid"]))
        same = abs(process.create_time() - float(noted["created"])) < 1.0
        alive = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None
    return process if same and alive else None
