"""``python -P -m scsam_train.tuning TUNED.partial``: tune SAM's clicks on what was committed.

Exit codes as of ``python -m scsam_train``; to cancel is to end the process.
"""

from __future__ import annotations

import sys
from pathlib import Path

from scsam_train.child import run_child

NICENESS = 10


def main(arguments: list[str] | None = None) -> int:
    """Tune as the folder that the command line names says; return the exit code."""
    return run_child(arguments, _tune, job="Tuning", niceness=NICENESS)


def _tune(folder: Path) -> None:
    from scsam_train.tuning.run import run_tuning

    run_tuning(folder)


if __name__ == "__main__":
    sys.exit(main())
