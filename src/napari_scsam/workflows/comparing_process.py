"""``python -P -m napari_scsam.workflows.comparing_process FOLDER IMAGE SLICE ROUND ROUND``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_scsam.workflows.quiet_process import run_quietly

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_scsam.core.jobs import CancelToken, ProgressFn


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the rounds that the command line names; return the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    return run_quietly("The comparison", lambda tell, stop: _compare(given, tell, stop))


def _compare(given: Sequence[str], progress: ProgressFn, cancel: CancelToken) -> dict[str, Any]:
    from napari_scsam.project import Project
    from napari_scsam.workflows.comparing import compare_rounds

    folder, image, index, first, second = given
    with Project.open(Path(folder), read_only=True) as project:
        numbers = (int(first), int(second))
        return compare_rounds(project, image, int(index), numbers, progress, cancel).to_json()


if __name__ == "__main__":
    sys.exit(main())
