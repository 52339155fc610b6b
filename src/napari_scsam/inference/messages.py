"""Requests to the models about a plane, their answers, and the interface to the models."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from napari_scsam.core.prompts import PromptSet
from napari_scsam.core.stretch import Stretch
from napari_scsam.core.windows import AUTO, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from napari_scsam.core.arrays import LabelArray, Pixels
    from napari_scsam.core.geometry import SliceKey
    from napari_scsam.core.volume import Around
    from napari_scsam.propagation import Carried, Trail


@dataclass(frozen=True, eq=False)
class Question:
    """A request for one plane.

    Attributes
    ----------
    key : (image id, Plane)
    pixels : ndarray of shape (rows, cols) or (rows, cols, 3)
        Original values of the plane.
    prompts : PromptSet
    round_folder : Path, optional
        The active round; None before the first.
    draft : ndarray of shape (rows, cols), uint8, optional
        A propagated mask of another plane, which the prompts correct.
    window : Window
        Intensity window for the models, with its limits on this image.
    tuned_folder : Path, optional
        A tuning whose SAM decodes the prompts instead of the round's or the shipped one.
    stretch : Stretch
        Resampling to square pixels.
    around : pair of ndarrays of the shape of `pixels`, optional
        The planes before and after, for a round whose U-Net uses them.
    included : PromptSet
        Prompts that `draft` was made with; they are not decoded again.
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
    included: PromptSet = PromptSet()

    def squared(self) -> Question:
        """Return the question with the plane resampled to square pixels."""
        if self.stretch.is_none:
            return self
        rows, cols = self.pixels.shape[:2]
        return replace(
            self,
            pixels=self.stretch.pixels(self.pixels),
            prompts=self.stretch.prompts(self.prompts, (rows, cols)),
            included=self.stretch.prompts(self.included, (rows, cols)),
            draft=None if self.draft is None else self.stretch.label(self.draft),
            stretch=Stretch(),
            around=_apply_to_both(self.stretch.pixels, self.around),
        )

    def seen(self) -> Question:
        """Return the question with windowed pixels, as input for the models.

        Raises
        ------
        InputError
            If the window hides all values of the plane.
        """
        self.window.check(self.pixels)
        around = _apply_to_both(self.window.apply, self.around)
        return replace(self, pixels=self.window.apply(self.pixels), window=AUTO, around=around)


@dataclass(frozen=True, eq=False)
class Answer:
    """A preview for one plane.

    Attributes
    ----------
    prompts : PromptSet
        Prompts of the preview, including new proposals.
    preview : ndarray of shape (rows, cols), uint8
    via : {'points', 'box', 'mask', 'box from clicks', 'class', 'outline', ''}
        How the prompts were used (the weakest use of all objects).
    iou : float, optional
        Lowest IoU predicted by SAM over all objects, 0..1.
    note : str
        Message for the user; mostly empty.
    from_outlines : int
        Number of committed slices whose class prior made the proposals; 0 if a round made them.
    """

    prompts: PromptSet
    preview: LabelArray
    via: str
    iou: float | None = None
    note: str = ""
    from_outlines: int = 0


class SegmenterLike(Protocol):
    """Interface for previews: a `Segmenter`, in this process or in its own."""

    def prepare(self, round_folder: Path | None) -> Any:
        """Load the models of the active round, once."""

    def describe(self) -> str:
        """Describe model and device, for the dock."""

    def embed(self, question: Question) -> Any:
        """Embed the plane, so that decoding it is fast."""

    def decode(self, question: Question) -> Answer:
        """Segment every class that has prompts, as one preview."""

    def suggest(self, question: Question, class_ids: Iterable[int]) -> Answer:
        """Propose prompts of the active round or the tuned SAM for `class_ids`; decode them."""

    def carry(self, question: Question, trail: Trail) -> Carried:
        """Propagate masks of a neighbouring plane to the question's, ignoring its prompts."""

    def prefetch(self, questions: Iterable[Question]) -> None:
        """Embed these planes next, while there is no request; returns at once."""

    def close(self) -> None:
        """Release the models; no further calls are allowed."""


def _apply_to_both(change: Callable[[Pixels], Pixels], around: Around | None) -> Around | None:
    return None if around is None else (change(around[0]), change(around[1]))
