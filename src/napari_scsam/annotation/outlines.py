"""Requests masks of the displayed plane from the models, and takes their answers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_scsam.annotation.working_label import WorkingLabel, already_included
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

VIA_BOX = (
    "This model takes boxes only, so your clicks became a box. After a first round it takes points."
)

LEFT_TOO_EARLY = (
    "Slice {number} was not saved, because you left it before its mask was computed. Its prompts "
    "are kept: go back and press J."
)


class Outlines:
    """Requests a mask whenever the displayed prompts have none.

    Parameters
    ----------
    store : StateStore
    previewer : Previewer
    window : IntensityWindow
        Intensity window for the models.
    working_labels : WorkingLabels
        What answers are merged into.
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
        # The working label that each plane's answer was requested for.
        self._made_on: dict[SliceKey, WorkingLabel | None] = {}
        # The last request. It is not repeated: without an answer, it has failed.
        self._requested: tuple[SliceKey, PromptSet] | None = None
        # What is called once the answer for a plane arrives.
        self._then: tuple[SliceKey, Callable[[], None]] | None = None
        self._said_via_box = False
        self._last_note = ""

    # ---------------------------------------------------------------- answers

    @property
    def waiting(self) -> bool:
        """Whether a request is running."""
        return self._previewer.waiting

    @property
    def preview(self) -> LabelArray | None:
        """The displayed mask, uint8 (rows, cols), or None while there is none."""
        key = self._store.now.key
        return None if key is None else self._working_labels.to_save(key)

    @property
    def answers(self) -> dict[Plane, Answer]:
        """Labels of the open image's planes that match their present prompts."""
        now = self._store.now
        keys = (
            key for key in {**now.work.prompts, **now.work.working_labels} if now.is_open(key[0])
        )
        found = {key[1]: self._working_labels.answer(key) for key in keys}
        return {plane: answer for plane, answer in found.items() if answer is not None}

    @property
    def current_question(self) -> tuple[Question, Volume] | None:
        """The request for the displayed plane, and its image; None without a plane."""
        now = self._store.now
        if now.key is None or now.image is None:
            return None
        return self.question(now.prompts), now.image.volume

    def question(self, prompts: PromptSet) -> Question:
        """A request for the displayed plane."""
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
            self._working_labels.before_prompts(now.key, prompts),
            self._window.for_models(volume),
            now.tuned,
            Stretch.of(volume, plane),
            self._window.neighbours(volume, plane),
            already_included(working, prompts),
        )

    # ---------------------------------------------------------------- requests

    def update(self) -> None:
        """Request a mask if there is none, and cancel a request that is no longer needed."""
        now = self._store.now
        self._forget_outdated(now)
        if self._then is not None and self._then[0] != now.key:
            left, self._then = self._then[0][1], None
            self._drop()
            self._store.fail(ModelError(LEFT_TOO_EARLY.format(number=left.index)))
            now = self._store.now
        if now.key is None or now.status.busy == "opening":
            self._drop()
            return
        known = now.prompts.is_empty or self._working_labels.answer(now.key) is not None
        asking = self._previewer.is_asking(now.key, now.prompts)
        if known and not asking:  # a request for the displayed prompts is one for suggestions
            self._drop()
        elif not known and not asking and self._requested != (now.key, now.prompts):
            self._requested = (now.key, now.prompts)
            self._made_on[now.key] = self._working_labels.of(now.key)
            self._previewer.decode(self.question(now.prompts), self.settle, self.fail)

    def suggest(self, class_ids: tuple[int, ...], on_answer: Callable[[Answer], None]) -> None:
        """Request proposals for the displayed plane, and their masks."""
        question = self.question(self._store.now.prompts)
        self._made_on[question.key] = self._working_labels.of(question.key)
        self._previewer.suggest(question, class_ids, on_answer, self.fail)

    def prepare(self, on_ready: Callable[[str], None]) -> None:
        """Embed the displayed plane before the first click; called once the view rests.

        `on_ready` gets a message that says which model runs on which device.
        """
        now = self._store.now
        if now.key is not None and not self.waiting:
            self._previewer.warm(self.question(now.prompts), on_ready, self._store.fail)

    def after_answer(self, then: Callable[[], None]) -> None:
        """Call `then` once, when the answer to the running request is displayed."""
        key = self._store.now.key
        self._then = None if key is None else (key, then)

    def settle(self, answer: Answer) -> None:
        """Show an answer, and its notes in the status line."""
        now, message = self._store.now, self._store.now.status.message
        then, self._then = self._then, None
        is_new = now.round is None and not message and not self._said_via_box
        if answer.via == "box from clicks" and is_new:
            self._said_via_box, message = True, VIA_BOX
        if answer.note not in ("", self._last_note):
            self._last_note = message = answer.note
        if message != now.status.message:
            now = replace(now, status=replace(now.status, message=message, elsewhere=False))
        self._store.put(now)
        if then is not None:
            then[1]()

    def fail(self, error: Exception) -> None:
        """Show why there is no answer."""
        self._then = None
        self._store.fail(error)

    def forget(self) -> None:
        """Discard all answers, because the models or the intensity window have changed."""
        self._previewer.forget()
        self._requested = None

    def _forget_outdated(self, now: AnnotationState) -> None:
        """Discard answers that were requested for another working label than the present one."""
        for key in [key for key in self._made_on if now.is_open(key[0])]:
            if self._working_labels.of(key) is not self._made_on[key]:
                del self._made_on[key]
                self._previewer.forget(key)
                self._requested = None

    def _drop(self) -> None:
        self._requested = None
        if self.waiting:
            self._then = None
            self._previewer.drop()
