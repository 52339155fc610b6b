"""Suggesting and decoding in a worker: models, embeddings, and what is prepared ahead."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from napari_scsam import models
from napari_scsam.core.errors import ModelError
from napari_scsam.core.settings import CACHE_GB
from napari_scsam.inference.answering import Answering, LoadedModels, fell_back_to_cpu
from napari_scsam.inference.idle_worker import IdleWorker, Task
from napari_scsam.inference.suggestions_ahead import SuggestionsAhead
from napari_scsam.propagation import Carried, Trail, carry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from napari_scsam.core.jobs import CancelToken
    from napari_scsam.core.stretch import Stretch
    from napari_scsam.inference.messages import Answer, Question
    from napari_scsam.models import Embedding, EmbeddingCache, RoundModels, SamBackend

_log = logging.getLogger(__name__)

# Planes that are expected next on which suggestions are made ahead. Arbitrary.
SUGGESTED_AHEAD = 3


class Segmenter:
    """Owns the models and their caches; all methods must be called from one worker thread.

    Its own background thread prepares the planes given to `prefetch`, and yields to every request.

    Parameters
    ----------
    cache_folder : Path, optional
        Folder of the embedding cache; None: in memory only.
    cache_gb : float
        Size limit of the folder, in GB.
    load_sam : callable, optional
        Loads the SAM that is used before the first round.
    """

    def __init__(
        self,
        cache_folder: Path | None = None,
        load_sam: Callable[[], SamBackend] = models.load_sam,
        cache_gb: float = CACHE_GB,
    ) -> None:
        self._cache_folder = cache_folder
        self._cache_gb = cache_gb
        self._ahead = IdleWorker()
        self._load_sam = load_sam
        self._cache: EmbeddingCache | None = None
        self._base: SamBackend | None = None
        self._round: RoundModels | None = None
        self._round_folder: Path | None = None
        self._tuned = _Tuned()
        self._tuned_folder: Path | None = None
        # With the models of the latest request; None until they are loaded.
        self._answering: Answering | None = None
        self._suggested = SuggestionsAhead()

    def prepare(self, round_folder: Path | None) -> SamBackend:
        """Load the models of the active round, once."""
        if round_folder != self._round_folder:
            self._round = None if round_folder is None else models.load_round(round_folder)
            self._round_folder = round_folder
            self._answering = None
        if self._round is not None:
            return self._round.sam
        if self._base is None:
            self._base = self._load_sam()
        return self._base

    def describe(self) -> str:
        """Describe model and device, such as ``"LiteMedSAM on CPU, 2 threads"``."""
        sam = self.prepare(self._round_folder)
        text = models.describe(sam) + (" (the GPU was full)" if fell_back_to_cpu(sam) else "")
        if self._round is not None:
            text += f", trained in round {self._round.number}"
        return f"{text}, tuned on your labels" if self._tuned.answers_clicks else text

    @property
    def cache(self) -> EmbeddingCache:
        """Embedding cache, opened when first needed."""
        if self._cache is None:
            self._cache = models.open_cache(self._cache_folder, max_gb=self._cache_gb)
        return self._cache

    def embed(self, question: Question) -> Embedding:
        """Embed the plane, with the cache, and load everything that a click needs."""
        with self._ahead.paused_for(question.key):
            return self._with_models_for(question).embed(question.seen().squared())

    def prefetch(self, questions: Iterable[Question]) -> None:
        """Prepare these planes next, one by one, while there is no request; returns at once.

        All are embedded. If suggestions were requested before, they are made for the first ones.
        """
        tasks = []
        for number, question in enumerate(questions):
            answering = self._with_models_for(question)
            tasks.append(Task(question.key, partial(_embed_ahead, answering, question)))
            first = number < SUGGESTED_AHEAD and question.key[1].axis == 0
            if first and self._suggested.class_ids:
                suggest = partial(_suggest_ahead, answering.apart(), self._suggested, question)
                tasks.append(Task(question.key, suggest))
        self._ahead.schedule(tasks)

    def wait_ahead(self, seconds: float) -> bool:
        """Wait until all planes of `prefetch` are prepared; False if that takes longer."""
        return self._ahead.wait(seconds)

    def decode(self, question: Question) -> Answer:
        """Segment every class that has prompts, as one preview."""
        with self._ahead.paused_for(question.key):
            answer = self._with_models_for(question).decode(question.seen().squared())
        if question.stretch.is_none:
            return answer
        rows, cols = question.pixels.shape[:2]
        preview = question.stretch.label_back(answer.preview, (rows, cols))
        return replace(answer, prompts=question.prompts, preview=preview)

    def suggest(self, question: Question, class_ids: Iterable[int]) -> Answer:
        """Propose prompts of the active round or the tuned SAM for `class_ids`; decode them."""
        wanted = tuple(class_ids)
        with self._ahead.paused_for(question.key):
            self._suggested.class_ids = wanted
            found = self._suggested.find(question, wanted)
            if found is not None:
                return found
            return self._with_models_for(question).suggest(question.seen(), wanted)

    def carry(self, question: Question, trail: Trail) -> Carried:
        """Propagate masks of a neighbouring plane to the question's, ignoring its prompts."""
        stretch, shape = question.stretch, question.pixels.shape[:2]
        with self._ahead.paused_for(question.key):
            squared = question.seen().squared()
            carried = carry(
                self._with_models_for(question).models.for_clicks,
                squared.pixels,
                _squared(trail, stretch, shape),
                cache=self.cache,
                round_models=self._round,
                around=squared.around,
            )
        if stretch.is_none:
            return carried
        own = {c: stretch.odds_back(odds, shape) for c, odds in carried.logits.items()}
        return replace(carried, logits=own)

    def close(self) -> None:
        """Stop embedding ahead; the models are freed with this object."""
        self._ahead.close()

    def _with_models_for(self, question: Question) -> Answering:
        """Load the question's models; the latest masks are kept while they stay the same."""
        sam = self.prepare(question.round_folder)
        if question.tuned_folder != self._tuned_folder:
            self._tuned_folder = question.tuned_folder
            self._tuned = _load_tuned(question.tuned_folder)
            self._answering = None
        if self._answering is None:
            tuned = self._tuned.sam
            if tuned is not None and tuned.base_hash != sam.base_hash:
                tuned = None
            loaded = LoadedModels(sam, self._round, tuned, self._tuned.answers_clicks)
            self._answering = Answering(loaded, self.cache)
        return self._answering


def _squared(trail: Trail, stretch: Stretch, shape: tuple[int, int]) -> Trail:
    """Resample a trail to square pixels, if it is on the plane's own grid (at its start)."""
    if stretch.is_none or trail.label.shape != shape:
        return trail
    return Trail.start(stretch.label(trail.label))


def _embed_ahead(answering: Answering, question: Question, cancel: CancelToken) -> None:
    answering.embed(question.seen().squared(), cancel)


def _suggest_ahead(
    answering: Answering, suggested: SuggestionsAhead, question: Question, cancel: CancelToken
) -> None:
    wanted = suggested.class_ids
    if suggested.find(question, wanted) is None:
        answer = answering.suggest(question.seen(), wanted, cancel.check)
        suggested.keep(question, wanted, answer)


@dataclass(frozen=True)
class _Tuned:
    """The SAM of a tuning, and whether it answers clicks; a refused one only suggests."""

    sam: SamBackend | None = None
    answers_clicks: bool = False


def _load_tuned(folder: Path | None) -> _Tuned:
    """Load the SAM of a tuning; none if it is damaged, since clicks must still work."""
    if folder is None:
        return _Tuned()
    try:
        return _Tuned(models.load_tuned(folder), models.answers_clicks(folder))
    except ModelError as error:
        _log.warning("Clicks are answered without the tuning %s: %s", folder.name, error)
        return _Tuned()
