"""Requests previews from the models, one at a time, and drops late results."""

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
    """Connects the main thread and the models.

    Each new request cancels the previous one and gets a generation number. Results of an older
    generation are dropped, so that a click during a decode never shows the older mask over the
    newer one.

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
        self._request: CancelToken | None = None
        self._request_for: tuple[SliceKey, PromptSet] | None = None
        self._warming: CancelToken | None = None
        self._prefetching: CancelToken | None = None
        # Names of the jobs that have not ended, in the order in which they are done.
        self._jobs: list[str] = []

    @property
    def doing(self) -> str:
        """What the models do now, in words; empty if nothing that a person waits for."""
        return self._jobs[0] if self._jobs else ""

    @property
    def waiting(self) -> bool:
        """Whether a request is in progress."""
        return self._request is not None

    def is_asking(self, key: SliceKey, prompts: PromptSet) -> bool:
        """Whether the request in progress is for exactly these prompts."""
        return self._request_for == (key, prompts)

    def get(self, key: SliceKey, prompts: PromptSet) -> Answer | None:
        """Return the result for one plane, if it was computed from exactly these prompts."""
        answer = self._answers.get(key)
        return answer if answer is not None and answer.prompts == prompts else None

    def last(self, key: SliceKey) -> Answer | None:
        """The last answer for one plane, perhaps made from older prompts."""
        return self._answers.get(key)

    def start(self, round_folder: Path | None) -> None:
        """Load the models ahead of the first request, which will raise any error."""
        job = Job(
            "Loading the model, the first time only",
            lambda _p, _c: self._segmenter.prepare(round_folder),
        )
        self._run(job, _nothing, _nothing)

    def decode(
        self, question: Question, on_answer: Callable[[Answer], None], on_failed: OnFailed
    ) -> None:
        """Request the masks for the prompts of a question."""
        self._submit("Drawing the outline", self._segmenter.decode, question, on_answer, on_failed)

    def suggest(
        self,
        question: Question,
        class_ids: Sequence[int],
        on_answer: Callable[[Answer], None],
        on_failed: OnFailed,
    ) -> None:
        """Request proposals and their masks."""

        def work(question: Question) -> Answer:
            return self._segmenter.suggest(question, class_ids)

        self._submit("Looking for the structures", work, question, on_answer, on_failed)

    def warm(self, question: Question, on_done: Callable[[Any], None], on_failed: OnFailed) -> None:
        """Compute a plane's embedding ahead of the first click; the latest request wins."""
        if self._warming is not None:
            self._warming.cancel()

        def work(_: ProgressFn, cancel: CancelToken) -> Any:
            cancel.check()
            self._segmenter.embed(question)
            return self._segmenter.describe()

        self._warming = self._run(Job("Preparing the slice", work), on_done, on_failed)

    def prefetch(self, questions: Sequence[Question]) -> None:
        """Embed planes while nothing else is requested; the latest list counts."""
        if self._prefetching is not None:
            self._prefetching.cancel()
        job = Job("Looking ahead", lambda _p, _c: self._segmenter.prefetch(questions))
        self._prefetching = self._runner.run(job, _nothing, _nothing)

    def drop(self) -> None:
        """Cancel the request in progress."""
        self._generation += 1
        self._request_for = None
        if self._request is not None:
            self._request.cancel()
            self._request = None

    def close(self) -> None:
        """Cancel all requests."""
        self.drop()
        for token in (self._warming, self._prefetching):
            if token is not None:
                token.cancel()

    def forget(self, key: SliceKey | None = None) -> None:
        """Discard the result for one plane, or all, including the one in progress."""
        if self._request_for is not None and key in (None, self._request_for[0]):
            self.drop()
        if key is None:
            self._answers.clear()
        else:
            self._answers.pop(key, None)

    def _submit(
        self,
        name: str,
        work: Callable[[Question], Answer],
        question: Question,
        on_answer: Callable[[Answer], None],
        on_failed: OnFailed,
    ) -> None:
        self.drop()
        self._request_for = (question.key, question.prompts)
        generation = self._generation

        def settled() -> bool:
            if generation != self._generation:
                return False
            self._request = self._request_for = None
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
        self._request = self._run(job, done, failed)

    def _run(self, job: Job, on_done: Callable[[Any], None], on_failed: OnFailed) -> CancelToken:
        self._jobs.append(job.name)

        def ended(then: Callable[[Any], None]) -> Callable[[Any], None]:
            def end(result: Any) -> None:
                self._jobs.remove(job.name)
                then(result)

            return end

        return self._runner.run(job, ended(on_done), ended(on_failed))


def _nothing(_: Any) -> None:
    """Ignore a result or error that nobody waits for."""
