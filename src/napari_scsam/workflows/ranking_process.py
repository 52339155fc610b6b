"""``python -P -m napari_scsam.workflows.ranking_process FOLDER STRATEGY``: rank for a window.

It writes one JSON object a line to its standard output: ``progress`` events, then how it ended. A
SIGTERM cancels it. What was measured until then is kept, as with ``napari-scsam rank``.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import Cancelled, ScsamError
from napari_scsam.core.jobs import CancelToken, Progress
from napari_scsam.core.round_contract import EventKind
from napari_scsam.core.threads import RANKING, step_back, wait_briefly

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Rank the project that the command line names; return the exit code."""
    folder, strategy = sys.argv[1:] if arguments is None else arguments
    wait_briefly()
    step_back(RANKING)
    stop = CancelToken()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.cancel())
    try:
        _rank(Path(folder), strategy, stop)
    except Cancelled:
        _say(EventKind.CANCELLED)
    except ScsamError as exc:
        _say(EventKind.FAILED, error=str(exc))
        return 1
    except Exception as exc:  # noqa: BLE001 - the job's boundary: the window shows one line
        first = (str(exc).strip().splitlines() or [""])[0]
        _say(EventKind.FAILED, error=f"Ranking failed: {type(exc).__name__}: {first}")
        return 1
    return 0


def _rank(folder: Path, strategy: str, stop: CancelToken) -> None:
    from napari_scsam.project import Project
    from napari_scsam.workflows.ranking import RankOptions, as_strategy, rank

    with Project.open(folder, read_only=True) as project:
        ranked = rank(project, RankOptions(as_strategy(strategy)), _progress, stop)
    _say(
        EventKind.FINISHED,
        images=len(ranked.queue.entries),
        unreadable=[one.name for one in ranked.unreadable],
        seconds=ranked.seconds,
        notes=list(ranked.notes),
    )


def _progress(progress: Progress) -> None:
    _say(EventKind.PROGRESS, fraction=progress.fraction, message=progress.message)


def _say(kind: EventKind, **values: Any) -> None:
    sys.stdout.write(json.dumps({"event": kind, **values}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
