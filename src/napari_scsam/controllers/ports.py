"""What the controllers ask of a view: a canvas to draw on and a runner for long work."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

from napari_scsam.core.geometry import Plane
from napari_scsam.core.jobs import CancelToken, Job, ProgressFn
from napari_scsam.core.labels import LabelClass
from napari_scsam.core.prompts import Box, ObjectKey, Point, PromptSet, StrokeKind
from napari_scsam.core.volume import LabelArray, Volume
from napari_scsam.core.windows import Limits

OnDone = Callable[[Any], None]
OnFailed = Callable[[Exception], None]

# What dragging with the left button on empty ground does.
Drag = Literal["pan", "box", "scribble", "lasso"]
# A line on the canvas: a box by its object, or a stroke by its place among the strokes.
Line = ObjectKey | int


class JobRunner(Protocol):
    """Runs jobs one after another off the main thread."""

    def run(
        self,
        job: Job,
        on_done: OnDone,
        on_failed: OnFailed,
        on_progress: ProgressFn | None = None,
    ) -> CancelToken:
        """Queue `job`.

        Exactly one of `on_done` and `on_failed` is called, once and on the main thread;
        neither is when the runner was closed before. A job that was cancelled before it
        began is never started and fails with Cancelled.
        """


class CanvasListener(Protocol):
    """What a person does on the canvas; rows and columns are pixels of the shown plane."""

    def add_point(self, row: float, col: float, positive: bool) -> None:
        """A click: inside (True), or outside; also beside the image."""

    def move_point(self, index: int, row: float, col: float) -> None:
        """Point `index` of those last shown was dragged here."""

    def select_point(self, index: int | None) -> None:
        """Point `index` of those last shown was clicked; None when all is let go."""

    def select_line(self, line: Line) -> None:
        """A box or a stroke of those last shown was clicked."""

    def delete_selected(self) -> None:
        """Delete was pressed."""

    def set_box(self, box: Box) -> None:
        """A box was drawn; perhaps without an area, or beyond the image."""

    def add_stroke(self, kind: StrokeKind, path: Sequence[Point], positive: bool) -> None:
        """A scribble or a lasso was drawn; perhaps beyond the image."""

    def plane_changed(self, plane: Plane | None) -> None:
        """The slider moved; None in a three-dimensional view."""


class Canvas(ABC):
    """Draws one image, its prompts, its preview and its committed label."""

    @abstractmethod
    def listen(self, listener: CanvasListener) -> None:
        """Report to `listener` from now on."""

    @abstractmethod
    def open_image(
        self, name: str, volume: Volume, label: LabelArray | None, classes: Sequence[LabelClass]
    ) -> None:
        """Show an image in place of the one before."""

    @abstractmethod
    def show_window(self, limits: Limits | None) -> None:
        """Show the image's values between `limits`, or as is usual for it; colours stay."""

    @abstractmethod
    def close_image(self) -> None:
        """Remove everything that `open_image` put there."""

    @property
    @abstractmethod
    def plane(self) -> Plane | None:
        """The plane on show; None with no image, or in a three-dimensional view."""

    @abstractmethod
    def go_to(self, plane: Plane) -> None:
        """Show `plane`."""

    @abstractmethod
    def index_along(self, axis: int) -> int:
        """Where the view is along `axis` of the open image, also where it shows that axis."""

    @abstractmethod
    def set_drag(self, drag: Drag) -> None:
        """Let the left button draw, or move the picture."""

    @abstractmethod
    def show_prompts(
        self,
        plane: Plane,
        prompts: PromptSet,
        selected: int | None = None,
        line: Line | None = None,
        active: ObjectKey | None = None,
    ) -> None:
        """Draw the prompts of `plane` in place of those before.

        Parameters
        ----------
        plane : Plane
        prompts : PromptSet
            Every point of it is drawn.
        selected : int, optional
            The point that stands out.
        line : (class id, object number) or int, optional
            The box, or the stroke, that stands out.
        active : (class id, object number), optional
            The other objects of its class step back.
        """

    @abstractmethod
    def show_preview(self, plane: Plane, label: LabelArray | None) -> None:
        """Draw a mask that nobody has committed, uint8 (rows, cols) of `plane`; None clears it."""

    def show_drafts(self, labels: Mapping[Plane, LabelArray | None]) -> None:
        """Draw masks that were carried over, so that they differ from a person's; None clears."""
        for plane, label in labels.items():
            self.show_preview(plane, label)

    @abstractmethod
    def show_committed(self, label: LabelArray | None) -> None:
        """Draw the committed label of the whole image."""
