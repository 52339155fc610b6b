"""The training process of a round, which is found again after a restart of the program."""

from __future__ import annotations

import json
from pathlib import Path

import psutil

from napari_scsam.core.errors import INVALID
from napari_scsam.core.round_contract import ROUND_MODULE, TUNING_MODULE
from napari_scsam.io.atomic import write_bytes
from napari_scsam.io.real_files import read_json

PROCESS_FILE = "process.json"
# The last arguments of a training process's command line, before its folder.
_STARTED_AS = (("-m", ROUND_MODULE), ("-m", TUNING_MODULE))


def record_process(folder: Path, pid: int) -> None:
    """Record which process trains the round in `folder`.

    The start time distinguishes it from a later process with the same ID.
    """
    try:
        created = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:  # it has ended already
        created = 0.0
    write_bytes(folder / PROCESS_FILE, json.dumps({"pid": pid, "created": created}).encode())


def training_process(folder: Path) -> psutil.Process | None:
    """The running process that is recorded for the round in `folder`, or None."""
    try:
        recorded = read_json(folder / PROCESS_FILE)
        process = psutil.Process(int(recorded["pid"]))
        same = abs(process.create_time() - float(recorded["created"])) < 1.0
        alive = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, psutil.Error, *INVALID):
        return None
    return process if same and alive else None


def end_process(folder: Path, wait_s: float) -> None:
    """End the process that trains the round in `folder`.

    A project from a stranger may name any process. Therefore it is only ended if its command
    line shows that it trains this folder. Otherwise only the file that names it is deleted.

    Parameters
    ----------
    folder : Path
    wait_s : float
        Seconds to wait for its end.
    """
    process = training_process(folder)
    if process is None:
        return
    if not _trains(process, folder):
        (folder / PROCESS_FILE).unlink(missing_ok=True)
        return
    process.kill()
    psutil.wait_procs([process], timeout=wait_s)


def _trains(process: psutil.Process, folder: Path) -> bool:
    """Whether a process was started as the training of `folder`."""
    try:
        *_, option, module, trained = process.cmdline()
        return (option, module) in _STARTED_AS and Path(trained).samefile(folder)
    except (OSError, ValueError, psutil.Error):
        return False
