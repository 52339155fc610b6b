"""Suggestions that were made before they were requested."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_scsam.inference.messages import Answer, Question

# Answers that are kept; one of a picture of 12 megapixels takes 12 MB. Arbitrary.
KEPT = 8


class SuggestionsAhead:
    """Keeps the latest answers, each for exactly one request.

    Safe with one thread that keeps and another that finds.

    Attributes
    ----------
    class_ids : tuple of int
        Classes of the latest request, which the next one is expected to have; empty before it.
    """

    def __init__(self) -> None:
        self.class_ids: tuple[int, ...] = ()
        self._answers: OrderedDict[Any, Answer] = OrderedDict()

    def keep(self, question: Question, class_ids: tuple[int, ...], answer: Answer) -> None:
        """Keep the answer to a question without prompts and draft."""
        self._answers[_identity(question, class_ids)] = answer
        while len(self._answers) > KEPT:
            self._answers.popitem(last=False)

    def find(self, question: Question, class_ids: tuple[int, ...]) -> Answer | None:
        """Return the answer that was kept for this question; None if there is none."""
        if not question.prompts.is_empty or question.draft is not None:
            return None
        return self._answers.get(_identity(question, class_ids))


def _identity(question: Question, class_ids: tuple[int, ...]) -> tuple[Any, ...]:
    """All that an answer depends on."""
    planes = (question.pixels, *(question.around or ()))
    return (
        question.key,
        tuple(hash(plane.tobytes()) for plane in planes),
        question.round_folder,
        question.tuned_folder,
        question.window,
        question.stretch,
        class_ids,
    )
