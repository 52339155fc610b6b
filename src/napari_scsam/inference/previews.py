"""Asks the models for previews, one question at a time, and never shows a late answer."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import Cancelled
from napari_scsam.core.jobs import CancelToken, Job, ProgressFn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_scsam.core.geometry import SliceKey
    from napari_scsam.core.job_runner import JobRunner, OnFailed
    from napari_scsam.core.prompts import PromptSet
    from napari_scsam.inference.messages import Answer, Question, SegmenterLike

# Arbitrary.
PREVIEWS_KEPT = 256


class Previewer:
    """The line between the main thread and the models.

    Each new question cancels the one before and takes a generation number; an answer of
    an older generation is dropped, so a click during a decode never paints the older
    mask over the newer.

    Parameters
    ----------
    segmenter : SegmenterLike
        Used on `runner` only.
    runner : JobRunner
    """

    def __init__(self, segmenter: SegmenterLike, runner: JobRunner) -> None:
        self._segmenter = segmenter
        self._runner = runner
        self._answers: OrderedDict[SliceKey, Answer] = OrderedDict()
        self._generation = 0
        self._asked: CancelToken | None = None
        self._about: tuple[SliceKey, PromptSet] | None = None
        self._warming: CancelToken | None = None
        self._looking: CancelToken | None = None

    @property
    def waiting(self) -> bool:
        """Whether a question has no answer yet."""
        return self._asked is not None

    def is_asking(self, key: SliceKey, prompts: PromptSet) -> bool:
        """Whether the question without an answer yet is about just these prompts."""
        return self._about == (key, prompts)

    def get(self, key: SliceKey, prompts: PromptSet) -> Answer | None:
        """The answer for one plane, if it was made from just these prompts."""
        answer = self._answers.get(key)
        return answer if answer is not None and answer.prompts == prompts else None

    def start(self, round_folder: Path | None) -> None:
        """Load the models ahead of the first question, which meets the error if there is one."""
        job = Job("Loading the models", lambda _p, _c: self._segmenter.prepare(round_folder))
        self._runner.run(job, _nothing, _nothing)

    def decode(
        self, question: Question, on_answer: Callable[[Answer], None], on_failed: OnFailed
    ) -> None:
        """Ask for the masks of the question's prompts."""
        self._ask("Drawing the outline", self._segmenter.decode, question, on_answer, on_failed)

    def suggest(
        self,
        question: Question,
        class_ids: Sequence[int],
        on_answer: Callable[[Answer], None],
        on_failed: OnFailed,
    ) -> None:
        """Ask for proposals and their masks."""

        def work(asked: Question) -> Answer:
            return self._segmenter.suggest(asked, class_ids)

        self._ask("Looking for the structures", work, question, on_answer, on_failed)

    def warm(self, question: Question, on_done: Callable[[Any], None], on_failed: OnFailed) -> None:
        """Prepare a plane's embedding ahead of the first click; the last one asked wins."""
        if self._warming is not None:
            self._warming.cancel()

        def work(_: ProgressFn, cancel: CancelToken) -> Any:
            cancel.check()
            self._segmenter.embed(question)
            return self._segmenter.describe()

        self._warming = self._runner.run(Job("Preparing the slice", work), on_done, on_failed)

    def prefetch(self, questions: Sequence[Question]) -> None:
        """Have planes embedded while nothing else is asked; the last ones named count."""
        if self._looking is not None:
            self._looking.cancel()
        job = Job("Looking ahead", lambda _p, _c: self._segmenter.prefetch(questions))
        self._looking = self._runner.run(job, _nothing, _nothing)

    def drop(self) -> None:
        """Take back the question that has no answer yet."""
        self._generation += 1
        self._about = None
        if self._asked is not None:
            self._asked.cancel()
            self._asked = None

    def close(self) -> None:
        """Ask nothing more, and draw nothing more."""
        self.drop()
        for token in (self._warming, self._looking):
            if token is not None:
                token.cancel()

    def forget(self, key: SliceKey | None = None) -> None:
        """Forget the answer for one plane, or all of them, the one still to come included."""
        if self._about is not None and key in (None, self._about[0]):
            self.drop()
        if key is None:
            self._answers.clear()
        else:
            self._answers.pop(key, None)

    def _ask(
        self,
        name: str,
        work: Callable[[Question], Answer],
        question: Question,
        on_answer: Callable[[Answer], None],
        on_failed: OnFailed,
    ) -> None:
        self.drop()
        self._about = (question.key, question.prompts)
        generation = self._generation

        def settled() -> bool:
            if generation != self._generation:
                return False
            self._asked = self._about = None
            return True

        def done(answer: Answer) -> None:
            if settled():
                self._answers[question.key] = answer
                self._answers.move_to_end(question.key)
                while len(self._answers) > PREVIEWS_KEPT:
                    self._answers.popitem(last=False)
                on_answer(answer)

        def failed(error: Exception) -> None:
            if settled() and not isinstance(error, Cancelled):
                on_failed(error)

        job = Job(name, lambda _progress, _cancel: work(question))
        self._asked = self._runner.run(job, done, failed)


def _nothing(_: Any) -> None:
    """Take an end that nobody waits for."""
