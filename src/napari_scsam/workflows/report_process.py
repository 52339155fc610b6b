"""``python -P -m napari_scsam.workflows.report_process FOLDER``: make the report for a window.

It is written into the project's cache, where it may be replaced and deleted at any time.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_scsam.workflows.quiet_process import run_quietly

if TYPE_CHECKING:
    from collections.abc import Sequence

REPORT_FILE = "report.html"


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the report of the project that the command line names; return the exit code."""
    (folder,) = sys.argv[1:] if arguments is None else arguments
    return run_quietly("The report", lambda _progress, _cancel: _make(Path(folder)))


def _make(folder: Path) -> dict[str, Any]:
    from napari_scsam.core.project_layout import CACHE_FOLDER
    from napari_scsam.io.real_files import make_real_folder
    from napari_scsam.project import Project
    from napari_scsam.workflows.project_report import collect_report
    from napari_scsam.workflows.report_page import write_page

    with Project.open(folder, read_only=True) as project:
        data = collect_report(project)
        target = make_real_folder(project.folder, CACHE_FOLDER) / REPORT_FILE
    write_page(target, data)
    return {"path": str(target)}


if __name__ == "__main__":
    sys.exit(main())
