"""The process that ranks for the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_scsam.workflows.quiet_child import QuietChild

if TYPE_CHECKING:
    from pathlib import Path

PROCESS = "napari_scsam.workflows.ranking_process"
ENDED = (
    "The ranking process ended unexpectedly (exit code {code}). What it measured is kept: "
    "rank again."
)


def ranking_child(folder: Path, strategy: str) -> QuietChild:
    """Return a process that ranks a project; `stop` ends it after the image that it is reading.

    Parameters
    ----------
    folder : Path
        The project folder.
    strategy : str
    """
    return QuietChild(PROCESS, [str(folder), strategy], ENDED)
