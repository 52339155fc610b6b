"""The process that ranks for the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_scsam.workflows.quiet_child import QuietChild

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from napari_scsam.core.jobs import CancelToken, ProgressFn

PROCESS = "napari_scsam.workflows.ranking_process"
ENDED = (
    "The ranking process ended unexpectedly (exit code {code}). What it measured is kept: "
    "rank again."
)


class RankingChild:
    """Ranks a project in a child process of the lowest priority.

    Parameters
    ----------
    folder : Path
        The project folder.
    strategy : str
    """

    def __init__(self, folder: Path, strategy: str) -> None:
        self._child = QuietChild(PROCESS, [str(folder), strategy], ENDED)

    def run(self, progress: ProgressFn, cancel: CancelToken) -> dict[str, Any]:
        """Rank, and return the last event; see `QuietChild.run`."""
        return self._child.run(progress, cancel)

    def stop(self) -> None:
        """Cancel it; it ends after the image that it is reading. May be called from any thread."""
        self._child.stop()

    def kill(self) -> None:
        """End it at once; what it measured in the last seconds is lost."""
        self._child.kill()
