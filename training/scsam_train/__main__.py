"""``python -P -m scsam_train ROUND.partial``: train one round, obeying control.json.

Exit codes: 0 if the round finished (its folder has its final name) or was cancelled (the last
event says so, and the parent discards the folder), 1 if training failed, 2 if the inputs can't be
used.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from napari_scsam.core.threads import TRAINING
from scsam_train.child import run_child

if TYPE_CHECKING:
    from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Train the round in the folder that the command line names; return the exit code."""
    return run_child(arguments, _train, job="Training", niceness=TRAINING)


def _train(folder: Path) -> None:
    from scsam_train.loop import run_round

    run_round(folder)


if __name__ == "__main__":
    sys.exit(main())
