"""``python -P -m scsam_train.tuning TUNED.partial``: tune SAM's clicks on committed labels.

Exit codes are those of ``python -m scsam_train``; end the process to cancel.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from napari_scsam.core.threads import TUNING
from scsam_train.child import run_child

if TYPE_CHECKING:
    from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Run the tuning of the folder given on the command line, and return the exit code."""
    return run_child(arguments, _tune, job="Tuning", niceness=TUNING)


def _tune(folder: Path) -> None:
    from scsam_train.tuning.run import run_tuning

    run_tuning(folder)


if __name__ == "__main__":
    sys.exit(main())
