"""Interface of a runner that keeps long work off the window's thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from napari_scsam.core.jobs import CancelToken, Job, ProgressFn

OnDone = Callable[[Any], None]
OnFailed = Callable[[Exception], None]


class JobRunner(Protocol):
    """Runs jobs one after another off the main thread."""

    def run(
        self,
        job: Job,
        on_done: OnDone,
        on_failed: OnFailed,
        on_progress: ProgressFn | None = None,
    ) -> CancelToken:
        """Queue `job`.

        Exactly one of `on_done` and `on_failed` is called, once and on the main thread, or
        neither if the runner was closed before. A job that is cancelled before it starts is
        never started and fails with Cancelled.
        """
