"""What the models are asked about the plane on show, and what becomes of their answers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_scsam.annotation.working_label import WorkingLabel, already_included, initial_label
from napari_scsam.core.errors import ModelError
from napari_scsam.core.stretch import Stretch
from napari_scsam.inference.messages import Answer, Question

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam.annotation.intensity_window import IntensityWindow
    from napari_scsam.annotation.state import AnnotationState, StateStore
    from napari_scsam.annotation.working_labels import WorkingLabels
    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.geometry import Plane, SliceKey
    from napari_scsam.core.prompts import PromptSet
    from napari_scsam.core.volume import Volume
    from napari_scsam.inference.previews import Previewer

VIA_BOX = "This model reads boxes, so your clicks became one; after a first round it reads points."

LEFT = (
    "Slice {number} was not saved: you left it before its outline was there. It keeps its "
    "prompts; go back and press J."
)


class Outlines:
    """Has an outline made of the prompts on show wherever there is none.

    Parameters
    ----------
    store : StateStore
    previewer : Previewer
    window : IntensityWindow
        What the models see of the values.
    working_labels : WorkingLabels
        What the models may change.
    """

    def __init__(
        self,
        store: StateStore,
        previewer: Previewer,
        window: IntensityWindow,
        working_labels: WorkingLabels,
    ) -> None:
        self._store = store
        self._previewer = previewer
        self._window = window
        self._working_labels = working_labels
        # On which ground each plane's answer was made.
        self._made_on: dict[SliceKey, WorkingLabel | None] = {}
        # What was asked last; it is not asked again while it has no answer, for it failed.
        self._asked: tuple[SliceKey, PromptSet] | None = None
        # What waits for an answer about a plane.
        self._then: tuple[SliceKey, Callable[[], None]] | None = None
        self._said_via_box = False
        self._last_note = ""

    # ---------------------------------------------------------------- what is known

    @property
    def waiting(self) -> bool:
        """Whether the models are at work on an answer."""
        return self._previewer.waiting

    @property
    def preview(self) -> LabelArray | None:
        """The mask on show, uint8 (rows, cols), or None while there is none."""
        key = self._store.now.key
        return None if key is None else self._working_labels.to_save(key)

    @property
    def answers(self) -> dict[Plane, Answer]:
        """Of the open image's planes, the labels of just the prompts that they have now."""
        now = self._store.now
        keys = (
            key for key in {**now.work.prompts, **now.work.working_labels} if now.is_open(key[0])
        )
        found = {key[1]: self._working_labels.answer(key) for key in keys}
        return {plane: answer for plane, answer in found.items() if answer is not None}

    @property
    def current_question(self) -> tuple[Question, Volume] | None:
        """What would be asked about the plane on show, and its image; None without a plane."""
        now = self._store.now
        if now.key is None or now.image is None:
            return None
        return self.question(now.prompts), now.image.volume

    def question(self, prompts: PromptSet) -> Question:
        """A question about the plane on show."""
        now = self._store.now
        if now.key is None or now.image is None:
            raise RuntimeError("A question needs an open plane.")
        plane, volume = now.key[1], now.image.volume
        working = self._working_labels.of(now.key)
        return Question(
            now.key,
            volume.plane(plane),
            prompts,
            None if now.round is None else now.round.folder,
            initial_label(working, self._working_labels.origin(now.key), prompts),
            self._window.for_models(volume),
            now.tuned,
            Stretch.of(volume, plane),
            self._window.neighbours(volume, plane),
            already_included(working, prompts),
        )

    # ---------------------------------------------------------------- asking

    def update(self) -> None:
        """Ask for an outline where there is none, and take back what nobody waits for."""
        now = self._store.now
        self._forget_overtaken(now)
        if self._then is not None and self._then[0] != now.key:
            left, self._then = self._then[0][1], None
            self._drop()
            self._store.fail(ModelError(LEFT.format(number=left.index + 1)))
            now = self._store.now
        if now.key is None or now.status.busy == "opening":
            self._drop()
            return
        known = now.prompts.is_empty or self._working_labels.answer(now.key) is not None
        asking = self._previewer.is_asking(now.key, now.prompts)
        if known and not asking:  # what is asked of just what is shown is a suggestion
            self._drop()
        elif not known and not asking and self._asked != (now.key, now.prompts):
            self._asked = (now.key, now.prompts)
            self._made_on[now.key] = self._working_labels.of(now.key)
            self._previewer.decode(self.question(now.prompts), self.settle, self.fail)

    def suggest(self, class_ids: tuple[int, ...], on_answer: Callable[[Answer], None]) -> None:
        """Ask for proposals on the plane on show, and for their masks."""
        question = self.question(self._store.now.prompts)
        self._made_on[question.key] = self._working_labels.of(question.key)
        self._previewer.suggest(question, class_ids, on_answer, self.fail)

    def prepare(self, on_ready: Callable[[str], None]) -> None:
        """Embed the plane on show ahead of the first click (a view calls it once it rests).

        `on_ready` is told what runs where.
        """
        now = self._store.now
        if now.key is not None and not self.waiting:
            self._previewer.warm(self.question(now.prompts), on_ready, self._store.fail)

    def after_answer(self, then: Callable[[], None]) -> None:
        """Call `then` once, when the answer that is waited for is on show."""
        key = self._store.now.key
        self._then = None if key is None else (key, then)

    def settle(self, answer: Answer) -> None:
        """Show an answer, and say what the person should know of it."""
        now, message = self._store.now, self._store.now.status.message
        then, self._then = self._then, None
        untold = now.round is None and not message and not self._said_via_box
        if answer.via == "box from clicks" and untold:
            self._said_via_box, message = True, VIA_BOX
        if answer.note not in ("", self._last_note):
            self._last_note = message = answer.note
        self._store.put(replace(now, status=replace(now.status, message=message)))
        if then is not None:
            then[1]()

    def fail(self, error: Exception) -> None:
        """Say why there is no answer."""
        self._then = None
        self._store.fail(error)

    def forget(self) -> None:
        """Forget every answer: they were made by other models, or of other values."""
        self._previewer.forget()
        self._asked = None

    def _forget_overtaken(self, now: AnnotationState) -> None:
        """Forget the answers of the open image that were made on another ground than is there."""
        for key in [key for key in self._made_on if now.is_open(key[0])]:
            if self._working_labels.of(key) is not self._made_on[key]:
                del self._made_on[key]
                self._previewer.forget(key)
                self._asked = None

    def _drop(self) -> None:
        self._asked = None
        if self.waiting:
            self._then = None
            self._previewer.drop()
