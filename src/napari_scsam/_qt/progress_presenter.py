"""Connects the panel of progress with the open session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_scsam.core.annotator import annotator_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam._qt.progress_panel import ProgressPanel
    from napari_scsam._qt.session import Session
    from napari_scsam.project import Project


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
        panel.named.connect(self._set_annotator)
        panel.second_switched.connect(self._set_second)

    def begin(self, project: Project, every: int) -> None:
        """Show the choices of a project, and nothing else yet."""
        self._panel.show_every(every)
        self._panel.show_annotator(project.sign(), second=False, read_only=project.read_only)
        self.show("", "", "")

    def show(self, estimate: str, effect: str, fall: str) -> None:
        """Show the estimate from random slices, what the newest round changed, and a fall."""
        self._panel.show_estimate(estimate, fall)
        self._panel.show_effect(effect)

    def _set_annotator(self, name: str) -> None:
        session = self._session()
        if session is None:
            return
        before, project = session.project.sign(), session.project
        now = project.sign(annotator_name(name))
        second = session.annotation.navigation.queue.second.is_on
        self._panel.show_annotator(now, second=second, read_only=project.read_only)
        if second and now != before:  # the labels of others are now those of other people
            session.annotation.navigation.give_second_opinions(True)
            session.listed.refresh()

    def _set_second(self, on: bool) -> None:
        session = self._session()
        if session is not None:
            session.annotation.navigation.give_second_opinions(on)
            session.listed.refresh()

    def _set_every(self, every: int) -> None:
        session = self._session()
        if session is not None:
            session.background.automatic.set_every(every)
