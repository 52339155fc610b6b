"""Makes the report of the open project in the background, and opens it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices

from napari_scsam._qt.child_run import ChildRun
from napari_scsam.workflows.quiet_child import QuietChild

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam._qt.progress_panel import ProgressPanel
    from napari_scsam._qt.session import Session

PROCESS = "napari_scsam.workflows.report_process"
ENDED = "The process of the report ended unexpectedly (exit code {code}). Try again."


class ReportPresenter:
    """Starts a report, cancels it, and says where it is.

    Parameters
    ----------
    panel : ProgressPanel
    session : callable
        Returns the open session; None if there is none.
    say : callable
        Shows a message, or an error if its second argument is true.
    """

    def __init__(
        self,
        panel: ProgressPanel,
        session: Callable[[], Session | None],
        say: Callable[[str, bool], None],
    ) -> None:
        self._panel, self._session, self._say = panel, session, say
        self._run = ChildRun()
        panel.report_wanted.connect(self._start_or_stop)

    def close(self) -> None:
        """End what is running; nobody waits for it."""
        self._run.stop()
        self._panel.show_report(running=False)

    def _start_or_stop(self) -> None:
        session = self._session()
        if self._run.running:
            self.close()
            self._say("The report was cancelled.", False)
        elif session is not None:
            self._start(session)

    def _start(self, session: Session) -> None:
        def made(event: dict[str, Any]) -> None:
            self._panel.show_report(running=False)
            path = str(event["path"])
            opened = QDesktopServices.openUrl(QUrl.fromLocalFile(path))
            self._say(f"The report is {'open' if opened else 'ready'}: {path}", False)

        def failed(error: Exception) -> None:
            self._panel.show_report(running=False)
            self._say(str(error), True)

        self._panel.show_report(running=True)
        self._say("Making the report …", False)
        child = QuietChild(PROCESS, [str(session.project.folder)], ENDED)
        self._run.start(session.background.helpers, "The report", child, made, failed)
