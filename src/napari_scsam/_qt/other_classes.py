"""What a commit says of the classes without an outline: a setting of the project."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_scsam.core.jobs import Job

if TYPE_CHECKING:
    from napari_scsam.core.geometry import Plane
    from napari_scsam.core.job_runner import JobRunner, OnFailed
    from napari_scsam.project import Project

# Kind of the journal's event that keeps the choice.
KIND = "others_open"


class OtherClasses:
    """Whether commits leave classes without an outline open, or say that they are absent.

    Parameters
    ----------
    project : Project
        Keeps the choice.
    files : JobRunner
    fail : callable
        Shows an error.

    Attributes
    ----------
    is_open : bool
        The choice.
    """

    def __init__(self, project: Project, files: JobRunner, fail: OnFailed) -> None:
        self._project, self._files, self._fail = project, files, fail
        noted = project.events(KIND)
        self.is_open = bool(noted) and noted[-1].payload.get("open") is True

    def leave_open(self, is_open: bool) -> None:
        """Choose, and note it in the project."""
        if is_open == self.is_open:
            return
        self.is_open = is_open
        if not self._project.read_only:
            note = Job("Noting", lambda _p, _c: self._project.record(KIND, {"open": is_open}))
            self._files.run(note, lambda _: None, self._fail)

    def open_on(self, plane: Plane | None) -> bool:
        """Whether a commit of `plane` leaves them open: only along the first axis can it."""
        return self.is_open and plane is not None and plane.axis == 0
