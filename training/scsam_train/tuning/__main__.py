"""``python -P -m scsam_train.tuning TUNED.partial``: tune SAM's clicks on what was committed.

Exit codes as of ``python -m scsam_train``; to cancel is to end the process.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from napari_scsam.core.threads import TUNING
from scsam_train.child import run_child

if TYPE_CHECKING:
    from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Tune as the folder that the command line names says; return the exit code."""
    return run_child(arguments, _tune, job="Tuning", niceness=TUNING)


def _tune(folder: Path) -> None:
    from scsam_train.tuning.run import run_tuning

    run_tuning(folder)


if __name__ == "__main__":
    sys.exit(main())
