"""Has a slice predicted by two rounds, and shows both beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_scsam._qt.child_run import ChildRun
from napari_scsam._qt.comparison_window import ComparisonWindow, Side
from napari_scsam.project.thumbnails import slice_picture
from napari_scsam.workflows.comparing import Compared
from napari_scsam.workflows.quiet_child import QuietChild

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

    from napari_scsam._qt.session import Session
    from napari_scsam._qt.training_panel import TrainingPanel
    from napari_scsam.annotation.state import AnnotationState

PROCESS = "napari_scsam.workflows.comparing_process"
ENDED = "The process of the comparison ended unexpectedly (exit code {code}). Try again."
ANOTHER = "Select a round other than the active one, which it is compared with."
NO_SLICE = "Rounds are compared on {name} slices. Open one."
# Longest side of a picture in pixels. Arbitrary.
LONGEST = 1024


class RoundComparison:
    """Compares the selected round with the active one on the displayed slice.

    Parameters
    ----------
    dock : QWidget
        Parent of the window.
    panel : TrainingPanel
        Where a round is selected.
    session : callable
        Returns the open session; None if there is none.
    say : callable
        Shows a message, or an error if its second argument is true.
    """

    def __init__(
        self,
        dock: QWidget,
        panel: TrainingPanel,
        session: Callable[[], Session | None],
        say: Callable[[str, bool], None],
    ) -> None:
        self._dock, self._panel, self._session, self._say = dock, panel, session, say
        self._run = ChildRun()
        self._window: ComparisonWindow | None = None
        panel.pressed.connect(lambda name: self._compare() if name == "compare_rounds" else None)

    def close(self) -> None:
        """End what is running, and close the window."""
        self._run.stop()
        window, self._window = self._window, None
        if window is not None:
            window.close()

    def _compare(self) -> None:
        session, chosen = self._session(), self._panel.selected_round
        if session is None or chosen is None:
            return
        now = session.annotation.now
        active = None if now.round is None else now.round.number
        if active is None or active == chosen:
            self._say(ANOTHER, True)
        elif now.image is None or now.plane is None or now.plane.axis != 0:
            name = "image" if now.image is None else now.image.volume.plane_names[0]
            self._say(NO_SLICE.format(name=name), True)
        else:
            self.close()
            self._start(session, now, (chosen, active))

    def _start(self, session: Session, now: AnnotationState, numbers: tuple[int, int]) -> None:
        if now.image is None or now.plane is None:
            return
        arguments = [session.project.folder, now.image.id, now.plane.index, *numbers]
        child = QuietChild(PROCESS, [str(value) for value in arguments], ENDED)
        window = self._window = ComparisonWindow(self._dock, f"{now.image.name}, {now.plane.index}")
        window.finished.connect(lambda _: self._closed(window))
        pictures = _Pictures(session, now, numbers)
        window.show()
        self._run.start(
            session.background.helpers,
            "Comparing rounds",
            child,
            lambda event: pictures.show_in(window, Compared.from_json(event)),
            lambda error: window.show_text(str(error)),
            lambda progress: window.show_text(f"{progress.message} …"),
        )

    def _closed(self, window: ComparisonWindow) -> None:
        """Cancel when the window is closed."""
        if self._window is window:
            self._window = None
            self.close()


class _Pictures:
    """What is shown of one comparison, as it was when the button was pressed."""

    def __init__(self, session: Session, now: AnnotationState, numbers: tuple[int, int]) -> None:
        self._classes, self._numbers = session.project.classes, numbers
        self._image, self._plane = now.image, now.plane
        self._window = session.annotation.window.chosen
        # Others' labels are hidden, and so is how well a round agrees with them.
        self._hidden = session.annotation.navigation.queue.second.is_on

    def show_in(self, window: ComparisonWindow, found: Compared) -> None:
        """Show the slice with the outlines of each round."""
        if self._image is None or self._plane is None:
            return
        step = max(1, max(found.labels[0].shape) // LONGEST)
        picture = slice_picture(self._image.volume, self._plane.index, self._window, step)
        titles = (f"Round {self._numbers[0]}", f"Round {self._numbers[1]}, active")
        colours = {c.id: c.colour for c in self._classes}
        sides = [
            Side(title, picture, label[::step, ::step], colours)
            for title, label in zip(titles, found.labels, strict=True)
        ]
        window.show_sides(sides)
        window.show_text(_words(found, self._numbers, hidden=self._hidden))


def _words(found: Compared, numbers: tuple[int, int], *, hidden: bool) -> str:
    """How far the rounds agree with each other, and with the label."""
    lines = [f"Dice of the two: {_each([(c.name, c.between) for c in found.classes])}."]
    if found.committed and not hidden:
        for at, number in enumerate(numbers):
            values = [(c.name, c.with_label[at]) for c in found.classes]
            lines.append(f"Round {number} with the label: {_each(values)}.")
        lines.append("A round may have been trained on this label.")
    return "\n".join(lines)


def _each(values: list[tuple[str, float | None]]) -> str:
    words = [f"{name} {'on neither' if v is None else f'{v:.2f}'}" for name, v in values]
    return ", ".join(words)
