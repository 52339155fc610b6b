"""What is made in a child process when a button is pressed: the report, two rounds compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_scsam._qt.report_presenter import ReportPresenter
from napari_scsam._qt.round_comparison import RoundComparison

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

    from napari_scsam._qt.layout import DockLayout
    from napari_scsam._qt.session import Session


class OnDemand:
    """Connects the buttons *Report* and *Compare*, and ends what they started with the project.

    Parameters
    ----------
    dock : QWidget
        Parent of windows.
    parts : DockLayout
    session : callable
        Returns the open session; None if there is none.
    say : callable
        Shows a message, or an error if its second argument is true.
    """

    def __init__(
        self,
        dock: QWidget,
        parts: DockLayout,
        session: Callable[[], Session | None],
        say: Callable[[str, bool], None],
    ) -> None:
        self._report = ReportPresenter(parts.progress, session, say)
        self._comparison = RoundComparison(dock, parts.training, session, say)

    def close(self) -> None:
        """End what is running."""
        self._report.close()
        self._comparison.close()
