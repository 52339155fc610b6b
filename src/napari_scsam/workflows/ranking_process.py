"""``python -P -m napari_scsam.workflows.ranking_process FOLDER STRATEGY``: rank for a window.

What was measured until it is cancelled is kept, as with ``napari-scsam rank``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_scsam.workflows.quiet_process import run_quietly

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_scsam.core.jobs import CancelToken, ProgressFn


def main(arguments: Sequence[str] | None = None) -> int:
    """Rank the project that the command line names; return the exit code."""
    folder, strategy = sys.argv[1:] if arguments is None else arguments
    return run_quietly("Ranking", lambda tell, stop: _rank(Path(folder), strategy, tell, stop))


def _rank(folder: Path, strategy: str, progress: ProgressFn, stop: CancelToken) -> dict[str, Any]:
    from napari_scsam.project import Project
    from napari_scsam.workflows.ranking import RankOptions, as_strategy, rank

    with Project.open(folder, read_only=True) as project:
        ranked = rank(project, RankOptions(as_strategy(strategy)), progress, stop)
    return {
        "images": len(ranked.queue.entries),
        "unreadable": [one.name for one in ranked.unreadable],
        "seconds": ranked.seconds,
        "notes": list(ranked.notes),
    }


if __name__ == "__main__":
    sys.exit(main())
