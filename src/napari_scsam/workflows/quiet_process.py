"""What the child processes of `QuietChild` have in common."""

from __future__ import annotations

import json
import signal
import sys
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import Cancelled, ScsamError
from napari_scsam.core.jobs import CancelToken, Progress, ProgressFn
from napari_scsam.core.round_contract import EventKind
from napari_scsam.core.threads import RANKING, step_back, wait_briefly

if TYPE_CHECKING:
    from collections.abc import Callable


def run_quietly(name: str, work: Callable[[ProgressFn, CancelToken], dict[str, Any]]) -> int:
    """Do the work of this process with the lowest priority; return the exit code.

    One JSON object a line goes to the standard output: ``progress`` events, then how it ended. A
    SIGTERM cancels it.

    Parameters
    ----------
    name : str
        Of the work, for a message about an unexpected error.
    work : callable
        Returns what the last event holds.
    """
    wait_briefly()
    step_back(RANKING)
    stop = CancelToken()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.cancel())
    try:
        _say(EventKind.FINISHED, **work(_progress, stop))
    except Cancelled:
        _say(EventKind.CANCELLED)
    except ScsamError as exc:
        _say(EventKind.FAILED, error=str(exc))
        return 1
    except Exception as exc:  # noqa: BLE001 - the job's boundary: the window shows one line
        first = (str(exc).strip().splitlines() or [""])[0]
        _say(EventKind.FAILED, error=f"{name} failed: {type(exc).__name__}: {first}")
        return 1
    return 0


def _progress(progress: Progress) -> None:
    _say(EventKind.PROGRESS, fraction=progress.fraction, message=progress.message)


def _say(kind: EventKind, **values: Any) -> None:
    sys.stdout.write(json.dumps({"event": kind, **values}) + "\n")
    sys.stdout.flush()
