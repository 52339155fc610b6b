"""What is asked of the models about a plane, what they answer, and who can be asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from napari_scsam.core.stretch import Stretch
from napari_scsam.core.windows import AUTO, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from napari_scsam.core.arrays import LabelArray, Pixels
    from napari_scsam.core.geometry import SliceKey
    from napari_scsam.core.prompts import PromptSet
    from napari_scsam.core.volume import Around
    from napari_scsam.propagation import Carried, Trail


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked about one plane.

    Attributes
    ----------
    key : (image id, Plane)
    pixels : ndarray of shape (rows, cols) or (rows, cols, 3)
        The plane's own values.
    prompts : PromptSet
    round_folder : Path, optional
        The active round; None before the first one.
    draft : ndarray of shape (rows, cols), uint8, optional
        A mask carried over from another plane, which the prompts correct.
    window : Window
        What the models see of the pixels, with its limits on this image.
    tuned_folder : Path, optional
        A tuning whose SAM answers the prompts in place of the round's or the shipped one.
    stretch : Stretch
        What makes the plane's pixels square.
    around : pair of ndarrays of the shape of `pixels`, optional
        The planes before and after, as `pixels`; for a round whose U-Net sees them, too.
    """

    key: SliceKey
    pixels: Pixels
    prompts: PromptSet
    round_folder: Path | None
    draft: LabelArray | None = None
    window: Window = AUTO
    tuned_folder: Path | None = None
    stretch: Stretch = Stretch()
    around: Around | None = None

    def squared(self) -> Question:
        """The same question about the plane with square pixels."""
        if self.stretch.is_none:
            return self
        rows, cols = self.pixels.shape[:2]
        return replace(
            self,
            pixels=self.stretch.pixels(self.pixels),
            prompts=self.stretch.prompts(self.prompts, (rows, cols)),
            draft=None if self.draft is None else self.stretch.label(self.draft),
            stretch=Stretch(),
            around=_each(self.stretch.pixels, self.around),
        )

    def seen(self) -> Question:
        """The same question about the pixels as the models see them.

        Raises
        ------
        InputError
            If the window hides all that the plane shows.
        """
        self.window.check(self.pixels)
        around = _each(self.window.apply, self.around)
        return replace(self, pixels=self.window.apply(self.pixels), window=AUTO, around=around)


@dataclass(frozen=True, eq=False)
class Answer:
    """A preview for one plane.

    Attributes
    ----------
    prompts : PromptSet
        What the preview was made from, new proposals included.
    preview : ndarray of shape (rows, cols), uint8
    via : {'points', 'box', 'mask', 'box from clicks', 'class', 'outline', ''}
        How the prompts were used (the weakest use of all objects).
    iou : float, optional
        SAM's own estimate of the worst object's IoU, 0..1.
    note : str
        What the person should know of how it was made; mostly nothing.
    """

    prompts: PromptSet
    preview: LabelArray
    via: str
    iou: float | None = None
    note: str = ""


class SegmenterLike(Protocol):
    """What previews are asked of: a `Segmenter`, here or in a process of its own."""

    def prepare(self, round_folder: Path | None) -> Any:
        """Load what the active round needs, once."""

    def describe(self) -> str:
        """What runs where, for the dock's foot."""

    def embed(self, question: Question) -> Any:
        """Prepare the plane, so that a decode of it is fast."""

    def decode(self, question: Question) -> Answer:
        """Masks of every class that has prompts, as one preview."""

    def suggest(self, question: Question, class_ids: Iterable[int]) -> Answer:
        """New proposals of the active round for `class_ids`, and their masks."""

    def carry(self, question: Question, trail: Trail) -> Carried:
        """Masks of a neighbouring plane found again on the question's, its prompts aside."""

    def prefetch(self, questions: Iterable[Question]) -> None:
        """Embed these planes next, while nothing else is asked; returns at once."""

    def close(self) -> None:
        """Let go of the models; nothing is asked afterwards."""


def _each(change: Callable[[Pixels], Pixels], around: Around | None) -> Around | None:
    return None if around is None else (change(around[0]), change(around[1]))
