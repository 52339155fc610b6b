"""A child process that the person asked for: at most one at a time, and it can be stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import Cancelled, ScsamError
from napari_scsam.core.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam._qt.job_runner import ThreadJobRunner
    from napari_scsam.core.jobs import Progress
    from napari_scsam.workflows.quiet_child import QuietChild


def _ignore(_progress: Progress) -> None:
    """Show no progress."""


class ChildRun:
    """Runs one child process after the other; nothing of a stopped one is reported."""

    def __init__(self) -> None:
        self._child: QuietChild | None = None
        self._cancel: Callable[[], None] = lambda: None

    @property
    def running(self) -> bool:
        """Whether one is waited for."""
        return self._child is not None

    def start(
        self,
        runner: ThreadJobRunner,
        name: str,
        child: QuietChild,
        on_done: Callable[[dict[str, Any]], None],
        on_failed: Callable[[Exception], None],
        on_progress: Callable[[Progress], None] = _ignore,
    ) -> None:
        """Run `child` in place of the previous one.

        Parameters
        ----------
        runner : ThreadJobRunner
            Waits for it.
        name : str
            For the log.
        child : QuietChild
        on_done : callable
            Called with its last event.
        on_failed : callable
            Called with the error.
        on_progress : callable, optional
        """
        self.stop()
        self._child = child

        def done(event: dict[str, Any]) -> None:
            if self._child is child:
                self._child = None
                on_done(event)

        def failed(error: Exception) -> None:
            if self._child is child:
                self._child = None
                on_failed(error)
            if not isinstance(error, ScsamError | Cancelled):
                raise error

        def progressed(progress: Progress) -> None:
            if self._child is child:
                on_progress(progress)

        self._cancel = runner.run(Job(name, child.run), done, failed, progressed).cancel

    def stop(self) -> None:
        """End what is running, at once."""
        child, self._child = self._child, None
        if child is not None:
            self._cancel()
            child.kill()
