"""Suggesting and decoding in a worker: models, embeddings, masks."""

from __future__ import annotations

import copy
import logging
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam import models
from napari_scsam.core.errors import ModelError
from napari_scsam.core.prompt_edits import (
    askable_objects,
    decode_steps,
    to_decode,
    with_proposals,
    without,
)
from napari_scsam.core.settings import CACHE_GB
from napari_scsam.inference.composing import compose
from napari_scsam.inference.correcting import begun_from, left_of, says_nothing
from napari_scsam.inference.idle_worker import IdleWorker, Task
from napari_scsam.inference.messages import Answer, Question
from napari_scsam.inference.suggestions_ahead import SuggestionsAhead
from napari_scsam.propagation import Carried, Trail, carry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from napari_scsam.core.arrays import Logits, Mask
    from napari_scsam.core.jobs import CancelToken
    from napari_scsam.core.prompts import ObjectKey, PointPrompt, Prompts, PromptSet
    from napari_scsam.core.stretch import Stretch
    from napari_scsam.models import Decoded, Embedding, EmbeddingCache, RoundModels, SamBackend

_log = logging.getLogger(__name__)

# Maximum number of stored masks, and of their bytes. Arbitrary.
MASKS_KEPT, MASKS_BYTES = 32, 256 * 2**20
# Planes that are expected next on which suggestions are made ahead. Arbitrary.
SUGGESTED_AHEAD = 3
GPU_FULL = "The GPU was full: continued on the CPU."


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
        self._masks: OrderedDict[Any, Decoded] = OrderedDict()
        self._suggested = SuggestionsAhead()

    def prepare(self, round_folder: Path | None) -> SamBackend:
        """Load the models of the active round, once."""
        if round_folder != self._round_folder:
            self._round = None if round_folder is None else models.load_round(round_folder)
            self._round_folder = round_folder
            self._masks.clear()
        if self._round is not None:
            return self._round.sam
        if self._base is None:
            self._base = self._load_sam()
        return self._base

    def describe(self) -> str:
        """Describe model and device, such as ``"LiteMedSAM on CPU, 2 threads"``."""
        sam = self.prepare(self._round_folder)
        text = models.describe(sam) + (" (the GPU was full)" if _fell_back_to_cpu(sam) else "")
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
            self._sam_for_clicks(question)
            return self._embed(question.seen().squared())

    def prefetch(self, questions: Iterable[Question]) -> None:
        """Prepare these planes next, one by one, while there is no request; returns at once.

        All are embedded. If suggestions were requested before, they are made for the first ones.
        """
        cache, tasks = self.cache, []
        for number, question in enumerate(questions):
            sam = self.prepare(question.round_folder)
            tasks.append(Task(question.key, partial(_embed_ahead, cache, sam, question)))
            first = number < SUGGESTED_AHEAD and question.key[1].axis == 0
            if first and self._suggested.class_ids:
                twin = self._twin(question)
                tasks.append(Task(question.key, partial(twin._suggest_ahead, question)))
        self._ahead.schedule(tasks)

    def wait_ahead(self, seconds: float) -> bool:
        """Wait until all planes of `prefetch` are prepared; False if that takes longer."""
        return self._ahead.wait(seconds)

    def decode(self, question: Question) -> Answer:
        """Segment every class that has prompts, as one preview."""
        with self._ahead.paused_for(question.key):
            answer = self._decode(question.seen().squared())
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
            return self._suggest(question.seen(), wanted) if found is None else found

    def carry(self, question: Question, trail: Trail) -> Carried:
        """Propagate masks of a neighbouring plane to the question's, ignoring its prompts."""
        stretch, shape = question.stretch, question.pixels.shape[:2]
        with self._ahead.paused_for(question.key):
            squared, sam = question.seen().squared(), self._sam_for_clicks(question)
            carried = carry(
                sam,
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

    def _twin(self, question: Question) -> Segmenter:
        """Return a segmenter on the question's models for the background thread."""
        self._sam_for_outlines(question)
        twin = copy.copy(self)
        twin._masks = OrderedDict()
        twin._round = copy.copy(self._round)  # it keeps the maps of one plane
        return twin

    def _suggest_ahead(self, question: Question, cancel: CancelToken) -> None:
        wanted = self._suggested.class_ids
        if self._suggested.find(question, wanted) is None:
            answer = self._suggest(question.seen(), wanted, cancel.check)
            self._suggested.keep(question, wanted, answer)

    def _embed(self, question: Question) -> Embedding:
        sam = self.prepare(question.round_folder)
        return self.cache.get_or_embed(sam, question.pixels)

    def _decode(self, question: Question) -> Answer:
        embedding = self._embed(question)
        sam = self._sam_for_clicks(question)
        prompts = without(to_decode(question.prompts), question.included)
        drafted = () if question.draft is None else np.unique(question.draft).tolist()
        keys = askable_objects(prompts, drafted)
        begun = {key: begun_from(question.draft, key, prompts) for key in keys}
        begun = {key: m for key, m in begun.items() if not says_nothing(prompts, key, m)}
        decoded = {
            key: self._object(sam, embedding, question, prompts, key, mask)
            for key, mask in begun.items()
        }
        vias = {answer.via for answer in decoded.values()}
        via = "box from clicks" if "box from clicks" in vias else next(iter(sorted(vias)), "")
        iou = min((answer.iou for answer in decoded.values()), default=None)
        preview = compose(decoded, embedding.shape, left_of(question.draft, begun.values()))
        note = GPU_FULL if _fell_back_to_cpu(sam) else ""
        return Answer(question.prompts, preview, via, iou, note)

    def _suggest(
        self,
        question: Question,
        class_ids: tuple[int, ...],
        check: Callable[[], None] = lambda: None,
    ) -> Answer:
        """Propose by the round, by the tuned SAM's class prior, or by the better of the two.

        `check` is called before each class; it may raise Cancelled.
        """
        embedding = self._embed(question)
        proposals: list[PointPrompt] = []
        for class_id in class_ids:
            check()
            proposals += self._propose(question, embedding, class_id)
        prompts = with_proposals(question.prompts, proposals, class_ids)
        answer = self._decode(replace(question, prompts=prompts))
        if question.tuned_folder is None or all(p.round is not None for p in proposals):
            return answer
        return replace(answer, from_outlines=models.outlines_of(question.tuned_folder))

    def _propose(
        self, question: Question, embedding: Embedding, class_id: int
    ) -> list[PointPrompt]:
        # The prior was fitted on square pixels, and the points are on the plane's own grid.
        tuned = self._sam_for_outlines(question) if question.stretch.is_none else None
        if self._round is None or class_id not in self._round.class_ids:
            return [] if tuned is None else models.propose_from_prior(tuned, embedding, class_id)
        image, around = question.pixels, question.around
        if tuned is None:
            return models.propose(self._round, image, embedding, class_id, around)
        return models.propose_either(self._round, tuned, image, embedding, class_id, around)

    def _sam_for_clicks(self, question: Question) -> SamBackend:
        """Return the SAM for clicks: the tuned one if requested, else the round's or shipped one.

        A round's SAM that does not follow clicks leaves them to the shipped one. All three use the
        embeddings of the shipped one.
        """
        sam, tuned = self.prepare(question.round_folder), self._sam_for_outlines(question)
        if tuned is not None and self._tuned.answers_clicks:
            return tuned
        if self._round is None or sam.understands_points:
            return sam
        return self._round.base if self._round.base.understands_points else sam

    def _sam_for_outlines(self, question: Question) -> SamBackend | None:
        """Return the SAM of the question's tuning; None without one for the present base."""
        sam = self.prepare(question.round_folder)
        if question.tuned_folder != self._tuned_folder:
            self._tuned_folder = question.tuned_folder
            self._tuned = _load_tuned(question.tuned_folder)
        tuned = self._tuned.sam
        return tuned if tuned is not None and tuned.base_hash == sam.base_hash else None

    def _object(
        self,
        sam: SamBackend,
        embedding: Embedding,
        question: Question,
        prompts: PromptSet,
        key: ObjectKey,
        begun: Mask | None,
    ) -> Decoded:
        """Segment one object, feeding the mask of earlier clicks back to later ones."""
        before: Mask | Logits | None = begun
        steps = decode_steps(prompts, key)
        # A box-only model does not use its own mask: all prompts are given at once.
        for step in steps if sam.understands_points else steps[-1:]:
            object_prompts = step.for_object(key, embedding.shape)
            if before is not None:
                object_prompts = replace(object_prompts, mask=before)
            # A draft is not the mask that the round's points summarise.
            proposed = before is None and self._has_class(key[0]) and _is_of_round(step, key)
            asked = self._sam_for_outlines(question) if _is_of_outlines(step, key) else None
            answer = self._mask(
                asked or sam, embedding, question, object_prompts, key[0], proposed=proposed
            )
            before = answer.logits if sam.understands_points else before
        return answer

    def _has_class(self, class_id: int) -> bool:
        return self._round is not None and class_id in self._round.class_ids

    def _mask(
        self,
        sam: SamBackend,
        embedding: Embedding,
        question: Question,
        prompts: Prompts,
        class_id: int,
        *,
        proposed: bool,
    ) -> Decoded:
        mask_hash = None if prompts.mask is None else hash(prompts.mask.tobytes())
        prompt_key = (prompts.points, prompts.labels, prompts.box, mask_hash)
        asked = (question.tuned_folder, id(sam), proposed)
        key = (question.key, class_id, embedding.key, prompt_key, asked)
        if key not in self._masks:
            from_round = self._round is not None and sam is self._round.sam
            outlined = proposed or (from_round and not sam.understands_points)
            if self._round is not None and outlined:
                answer = self._round.decode(
                    question.pixels,
                    embedding,
                    prompts,
                    class_id,
                    question.around,
                    proposed=proposed,
                )
            else:
                answer = models.decode_region(
                    sam, self.cache, question.pixels, embedding, prompts, class_id
                )
            self._masks[key] = answer
            self._forget_masks()
        self._masks.move_to_end(key)
        return self._masks[key]

    def _forget_masks(self) -> None:
        """Keep only the latest masks: one of a picture of 12 megapixels takes 60 MB."""
        size = sum(answer.logits.nbytes + answer.mask.nbytes for answer in self._masks.values())
        while len(self._masks) > MASKS_KEPT or (size > MASKS_BYTES and len(self._masks) > 1):
            _, answer = self._masks.popitem(last=False)
            size -= answer.logits.nbytes + answer.mask.nbytes


def _squared(trail: Trail, stretch: Stretch, shape: tuple[int, int]) -> Trail:
    """Resample a trail to square pixels, if it is on the plane's own grid (at its start)."""
    if stretch.is_none or trail.label.shape != shape:
        return trail
    return Trail.start(stretch.label(trail.label))


def _embed_ahead(
    cache: EmbeddingCache, sam: SamBackend, question: Question, cancel: CancelToken
) -> None:
    cache.get_or_embed(sam, question.seen().squared().pixels, cancel)


def _fell_back_to_cpu(sam: SamBackend) -> bool:
    """Whether the models fell back to the CPU because a better device was full."""
    return sam.device == "cpu" != models.available_devices()[0]


def _is_of_round(prompts: PromptSet, key: ObjectKey) -> bool:
    """Whether all prompts of an object were proposed by a round."""
    return _are_proposed(prompts, key) and all(p.round is not None for p in _points(prompts, key))


def _is_of_outlines(prompts: PromptSet, key: ObjectKey) -> bool:
    """Whether all prompts of an object were proposed by the class prior of a tuning."""
    return _are_proposed(prompts, key) and all(p.round is None for p in _points(prompts, key))


def _are_proposed(prompts: PromptSet, key: ObjectKey) -> bool:
    drawn = key in prompts.boxes or any(s.object_key == key for s in prompts.strokes)
    return not drawn and all(p.origin == "model" for p in _points(prompts, key))


def _points(prompts: PromptSet, key: ObjectKey) -> list[PointPrompt]:
    return [p for p in prompts.points if p.object_key == key]


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
