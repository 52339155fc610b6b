"""How good the suggestions are, kept up to date in the window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import Cancelled, ScsamError
from napari_scsam.core.jobs import Job
from napari_scsam.workflows.acceptance import acceptance_fall
from napari_scsam.workflows.check_estimate import CheckReader
from napari_scsam.workflows.effort import steps
from napari_scsam.workflows.round_effect import round_effect

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam.core.job_runner import JobRunner
    from napari_scsam.project import Project


class RunningEstimate:
    """Computes the estimate from random slices, the effect of the newest round, and a fall.

    Parameters
    ----------
    project : Project
    reader : JobRunner
        Not shared with what the user waits for, since labels are read.
    on_texts : callable
        Called with the estimate, the effect, and the fall of the acceptance in words; each is empty
        while there is none.
    """

    def __init__(
        self, project: Project, reader: JobRunner, on_texts: Callable[[str, str, str], None]
    ) -> None:
        self._project, self._reader, self._on_texts = project, reader, on_texts
        self._checks = CheckReader()
        self._runs = self._again = False

    def refresh(self) -> None:
        """Compare the stored suggestions with the labels, and the rounds, as they are now.

        If that is being done, it is done once more afterwards, however often it was requested.
        """
        if self._runs:
            self._again = True
            return
        self._runs, self._again = True, False

        def work(_progress: Any, _cancel: Any) -> tuple[str, str, str]:
            checks, problems = self._checks.read(self._project)
            estimate = " ".join(filter(None, (checks.text, *problems)))
            made = steps(self._project.events())
            return estimate, round_effect(self._project.rounds(), made), acceptance_fall(made)

        def done(texts: tuple[str, str, str]) -> None:
            self._on_texts(*texts)
            self._ended()

        self._reader.run(Job("Comparing suggestions", work), done, self._failed)

    def _ended(self) -> None:
        self._runs = False
        if self._again:
            self.refresh()

    def _failed(self, error: Exception) -> None:
        self._ended()
        if not isinstance(error, ScsamError | Cancelled):
            raise error
