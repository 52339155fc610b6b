"""The window of an open project: what the person sees, and what the models are asked with."""

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
    """How an image's values are shown; another value for each time that one is chosen.

    Attributes
    ----------
    limits : (float, float), optional
        Values that are shown black and white; None for the usual ones of the display.
    """

    limits: Limits | None = None


class IntensityWindow:
    """The person's choice, and the window that the active round learned with.

    A round's models are asked with the window that they learned with, whatever is on show:
    another would be another kind of picture to them.

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
        self._learned: Window | None = None
        self._context = False
        self._number = 0
        # The window that the models are asked with, on the volume that it was found for.
        self._resolved: tuple[Volume, Window, Window] | None = None
        # What is shown of the volume that it was found for.
        self._contrast: tuple[Volume, Contrast] | None = None
        self.use_round(project.active_round())

    @property
    def choices(self) -> tuple[Window, ...]:
        """Windows to choose from, the present one among them."""
        offered = window_choices(self._project.modality)
        return offered if self.chosen in offered else (self.chosen, *offered)

    def use_round(self, record: RoundRecord | None) -> None:
        """Ask with the window of the active round from now on."""
        self._learned = None if record is None else round_window(record.folder)
        settings = None if record is None else round_settings(record.folder)
        self._context = settings is not None and settings.context
        self._number = 0 if record is None else record.number

    def for_models(self, volume: Volume) -> Window:
        """What the models see of one volume's values, with its limits there."""
        wanted = self._learned or self.chosen
        if self._resolved is None or self._resolved[:2] != (volume, wanted):
            self._resolved = (volume, wanted, wanted.on(volume))
        return self._resolved[2]

    def neighbours(self, volume: Volume, plane: Plane) -> Around | None:
        """The planes before and after with their own values; None where nobody looks at them."""
        return AUTO.around(volume, plane) if self._context else None

    def contrast(self, volume: Volume) -> Contrast:
        """How a volume is shown through the window that was chosen last."""
        if self._contrast is None or self._contrast[0] is not volume:
            self._contrast = (volume, Contrast(self.chosen.on(volume).limits))
        return self._contrast[1]

    def choose(self, name: str, on_failed: OnFailed) -> str:
        """Take another window, and save the choice where the project can be written.

        Returns
        -------
        str
            What to say of it.

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
        if self._learned is None or self._learned == chosen:
            return f"Window: {chosen.title}."
        return (
            f"Shown: {chosen.title}. Round {self._number} learned with {self._learned.title} and "
            "still looks through that; the next round learns with yours."
        )
