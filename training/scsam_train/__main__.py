"""``python -P -m scsam_train ROUND.partial``: train one round, obeying control.json.

Exit code 0: the round finished and its folder lost ``.partial``; or it was cancelled, which
the last event says, and the folder stays for the parent to discard. 1: training failed.
2: the inputs can't be used.
"""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path

from napari_scsam.core.errors import Cancelled, InputError, ScsamError
from scsam_train.log import EventLog

NICENESS = 5


def main(arguments: list[str] | None = None) -> int:
    """Train the round in the folder that the command line names; return the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        sys.stderr.write("scsam_train takes one argument, the folder of a round to train.\n")
        return 2
    folder = Path(arguments[0]).resolve()
    _be_nice()
    log = EventLog(folder)
    try:
        from scsam_train.loop import run_round

        run_round(folder)
    except Cancelled:
        log.write("cancelled")
        return 0
    except ScsamError as exc:
        sys.stderr.write(f"{exc}\n")
        log.write("failed", error=str(exc))
        return 2 if isinstance(exc, InputError) else 1
    except Exception as exc:  # noqa: BLE001 - the job's boundary: the parent shows one line
        traceback.print_exc()
        log.write("failed", error=f"Training failed: {_first_line(exc)}")
        return 1
    return 0


def _first_line(exc: BaseException) -> str:
    lines = str(exc).strip().splitlines()
    return f"{type(exc).__name__}: {lines[0]}" if lines else type(exc).__name__


def _be_nice() -> None:
    # The window that annotates goes first: torch's threads sleep instead of spinning while they
    # wait (read when torch is imported), and the process is nicer. Windows has no niceness.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with suppress(AttributeError, OSError):
        os.nice(NICENESS)


if __name__ == "__main__":
    sys.exit(main())
