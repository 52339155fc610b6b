"""Connects the panel of progress with the open session."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam._qt.progress_panel import ProgressPanel
    from napari_scsam._qt.session import Session


class ProgressPresenter:
    """Shows how good the suggestions are, and passes on what is chosen.

    Parameters
    ----------
    panel : ProgressPanel
    session : callable
        Returns the open session; None if there is none.
    start_round : callable
        Starts a round with the settings that are shown.

    Attributes
    ----------
    start_round : callable
    """

    def __init__(
        self,
        panel: ProgressPanel,
        session: Callable[[], Session | None],
        start_round: Callable[[], None],
    ) -> None:
        self._panel, self._session, self.start_round = panel, session, start_round
        panel.every_picked.connect(self._set_every)

    def begin(self, every: int) -> None:
        """Show the choices of a project, and nothing else yet."""
        self._panel.show_every(every)
        self.show("", "")

    def show(self, estimate: str, effect: str) -> None:
        """Show the estimate from random slices, and what the newest round changed."""
        self._panel.show_estimate(estimate)
        self._panel.show_effect(effect)

    def _set_every(self, every: int) -> None:
        session = self._session()
        if session is not None:
            session.background.automatic.set_every(every)
