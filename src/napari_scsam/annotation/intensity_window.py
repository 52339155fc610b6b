"""The intensity window of an open project: for the display, and for the models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_scsam.core.jobs import Job
from napari_scsam.core.windows import AUTO, Limits, Window, parse_window, window_choices
from napari_scsam.project.rounds import round_settings, round_window

if TYPE_CHECKING:
    from napari_scsam.core.geometry import Plane
    from napari_scsam.core.job_runner import JobRunner, OnFailed
    from napari_scsam.core.volume import Around, Volume
    from napari_scsam.project import Project, RoundRecord


@dataclass(frozen=True, eq=False)
class Contrast:
    """The display range of an image; a new instance for each choice, even of the same range.

    Attributes
    ----------
    limits : (float, float), optional
        Values displayed as black and white; None for the default of the display.
    """

    limits: Limits | None = None


class IntensityWindow:
    """The chosen window, and the one that the active round was trained with.

    A round's models always get the window of their training. With another one, their input
    would differ from what they were trained on.

    Parameters
    ----------
    project : Project
    files : JobRunner
        Saves the choice.
    """

    def __init__(self, project: Project, files: JobRunner) -> None:
        self._project = project
        self._files = files
        self.chosen = project.window
        self._trained_with: Window | None = None
        self._context = False
        self._number = 0
        # (volume, window, window with its limits on that volume), for the models.
        self._resolved: tuple[Volume, Window, Window] | None = None
        # (volume, its display range).
        self._contrast: tuple[Volume, Contrast] | None = None
        self.use_round(project.active_round())

    @property
    def choices(self) -> tuple[Window, ...]:
        """Windows to choose from, including the present one."""
        offered = window_choices(self._project.modality)
        return offered if self.chosen in offered else (self.chosen, *offered)

    def use_round(self, record: RoundRecord | None) -> None:
        """Use the window of the active round for the models."""
        self._trained_with = None if record is None else round_window(record.folder)
        settings = None if record is None else round_settings(record.folder)
        self._context = settings is not None and settings.context
        self._number = 0 if record is None else record.number

    def use_active_round(self) -> RoundRecord | None:
        """Use the window of the project's active round; returns the round."""
        active = self._project.active_round()
        self.use_round(active)
        return active

    def for_models(self, volume: Volume) -> Window:
        """The window for the models, with its limits on one volume."""
        wanted = self._trained_with or self.chosen
        if self._resolved is None or self._resolved[:2] != (volume, wanted):
            self._resolved = (volume, wanted, wanted.on(volume))
        return self._resolved[2]

    def neighbours(self, volume: Volume, plane: Plane) -> Around | None:
        """The neighbouring planes' own values; None if the round's models do not use them."""
        return AUTO.around(volume, plane) if self._context else None

    def contrast(self, volume: Volume) -> Contrast:
        """The display range of a volume with the chosen window."""
        if self._contrast is None or self._contrast[0] is not volume:
            self._contrast = (volume, Contrast(self.chosen.on(volume).limits))
        return self._contrast[1]

    def choose(self, name: str, on_failed: OnFailed) -> str:
        """Choose another window, and save the choice unless the project is read-only.

        Returns
        -------
        str
            Message for the status line.

        Raises
        ------
        InputError
            If there is no such window.
        """
        self.chosen = chosen = parse_window(name)
        self._contrast = None
        if not self._project.read_only:
            job = Job("Saving the window", lambda _p, _c: self._project.change(window=chosen))
            self._files.run(job, lambda _: None, on_failed)
        if self._trained_with is None or self._trained_with == chosen:
            return f"Window: {chosen.title}."
        return (
            f"Displayed: {chosen.title}. Round {self._number} was trained with "
            f"{self._trained_with.title} and keeps using it. The next round uses your choice."
        )
