"""Common start and end of the child processes: niceness, event log, one-line errors."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from napari_scsam.core.errors import Cancelled, InputError, ScsamError
from napari_scsam.core.memory import keep_freed_memory
from napari_scsam.core.round_contract import EventKind
from napari_scsam.core.threads import step_back, wait_briefly
from scsam_train.log import EventLog

if TYPE_CHECKING:
    from collections.abc import Callable


def run_child(
    arguments: list[str] | None, work: Callable[[Path], object], *, job: str, niceness: int
) -> int:
    """Run `work` on the folder given on the command line, and return the exit code.

    Parameters
    ----------
    arguments : list of str, optional
        The folder alone. Default: ``sys.argv[1:]``; only then is this a process of its own, whose
        niceness, waiting and memory are set.
    work : callable
        Takes the folder. It does its own imports, so that import errors are logged as well.
    job : str
        Name of the job in error messages, such as ``"Training"``.
    niceness : int
        Niceness of a process of its own; the window that annotates has 0.

    Returns
    -------
    int
        0: finished, or cancelled (see the last event). 1: failed. 2: unusable inputs.
    """
    is_own_process = arguments is None
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        sys.stderr.write(f"{job} takes one argument, the folder that holds its inputs.\n")
        return 2
    folder = Path(arguments[0]).resolve()
    if is_own_process:
        wait_briefly()
        step_back(niceness)
        keep_freed_memory()
    log = EventLog(folder)
    try:
        work(folder)
    except Cancelled:
        log.write(EventKind.CANCELLED)
        return 0
    except ScsamError as exc:
        sys.stderr.write(f"{exc}\n")
        log.write(EventKind.FAILED, error=str(exc))
        return 2 if isinstance(exc, InputError) else 1
    except Exception as exc:  # noqa: BLE001 - the job's boundary: the parent shows one line
        traceback.print_exc()
        log.write(EventKind.FAILED, error=f"{job} failed: {_first_line(exc)}")
        return 1
    return 0


def _first_line(exc: BaseException) -> str:
    lines = str(exc).strip().splitlines()
    return f"{type(exc).__name__}: {lines[0]}" if lines else type(exc).__name__
