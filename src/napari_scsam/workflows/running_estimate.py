"""How good the suggestions are, kept up to date in the window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import Cancelled, ScsamError
from napari_scsam.core.jobs import Job
from napari_scsam.workflows.check_estimate import CheckReader
from napari_scsam.workflows.round_effect import round_effect

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam.core.job_runner import JobRunner
    from napari_scsam.project import Project


class RunningEstimate:
    """Computes the estimate from random slices, and the effect of the newest round.

    Parameters
    ----------
    project : Project
    reader : JobRunner
        Not shared with what the user waits for, since labels are read.
    on_texts : callable
        Called with both in words; each is empty while there is none.
    """

    def __init__(
        self, project: Project, reader: JobRunner, on_texts: Callable[[str, str], None]
    ) -> None:
        self._project, self._reader, self._on_texts = project, reader, on_texts
        self._checks = CheckReader()

    def refresh(self) -> None:
        """Compare the stored suggestions with the labels, and the rounds, as they are now."""

        def work(_progress: Any, _cancel: Any) -> tuple[str, str]:
            checks, problems = self._checks.read(self._project)
            estimate = " ".join(filter(None, (checks.text, *problems)))
            return estimate, round_effect(self._project)

        def done(texts: tuple[str, str]) -> None:
            self._on_texts(*texts)

        self._reader.run(Job("Comparing suggestions", work), done, _raise_if_bug)


def _raise_if_bug(error: Exception) -> None:
    if not isinstance(error, ScsamError | Cancelled):
        raise error
