"""Answers to questions about a plane by one set of models."""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam import models
from napari_scsam.core.prompt_edits import (
    askable_objects,
    decode_steps,
    is_drawn,
    to_decode,
    with_proposals,
    without,
)
from napari_scsam.inference.composing import compose
from napari_scsam.inference.correcting import begun_from, left_of, says_nothing
from napari_scsam.inference.local_correction import (
    corrected_near,
    latest_click,
    log_odds_of,
    with_part,
)
from napari_scsam.inference.messages import Answer, Question

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam.core.arrays import Logits, Mask
    from napari_scsam.core.jobs import CancelToken
    from napari_scsam.core.prompts import ObjectKey, PointPrompt, Prompts, PromptSet
    from napari_scsam.models import Decoded, Embedding, EmbeddingCache, RoundModels, SamBackend

# Maximum number of stored masks, and of their bytes. Arbitrary.
MASKS_KEPT, MASKS_BYTES = 32, 256 * 2**20
GPU_FULL = "The GPU was full: continued on the CPU."


@dataclass(frozen=True, eq=False)
class LoadedModels:
    """The models that answer a question; all use the embeddings of the shipped SAM.

    Attributes
    ----------
    sam : SamBackend
        The active round's; the shipped one before the first.
    round : RoundModels, optional
        The active round.
    tuned : SamBackend, optional
        The SAM that was tuned on committed outlines.
    tuned_answers_clicks : bool
        Whether clicks go to it. One that was refused only suggests.
    """

    sam: SamBackend
    round: RoundModels | None = None
    tuned: SamBackend | None = None
    tuned_answers_clicks: bool = False

    @property
    def for_clicks(self) -> SamBackend:
        """The SAM for clicks: the tuned one if there is one, else the round's or shipped one.

        A round's SAM that does not follow clicks leaves them to the shipped one.
        """
        if self.tuned is not None and self.tuned_answers_clicks:
            return self.tuned
        if self.round is None or self.sam.understands_points:
            return self.sam
        return self.round.base if self.round.base.understands_points else self.sam

    @property
    def for_corrections(self) -> SamBackend:
        """The SAM for clicks that correct a mask: the tuned one if there is one, else the shipped.

        A round's SAM, trained to find classes, follows further clicks less than the shipped one
        (docs/explanation/tuning.md).
        """
        if self.round is None or self.for_clicks is self.tuned:
            return self.for_clicks
        return self.round.base if self.round.base.understands_points else self.for_clicks

    def knows(self, class_id: int) -> bool:
        """Whether the round has this class."""
        return self.round is not None and class_id in self.round.class_ids


class Answering:
    """Suggests and decodes with one set of models; remembers the latest masks.

    The intensity window of a question is already applied (`Question.seen`), and its prompts are on
    square pixels (`Question.squared`).

    Parameters
    ----------
    loaded : LoadedModels
    cache : EmbeddingCache
    """

    def __init__(self, loaded: LoadedModels, cache: EmbeddingCache) -> None:
        self.models = loaded
        self._cache = cache
        self._masks: OrderedDict[Any, Decoded] = OrderedDict()

    def apart(self) -> Answering:
        """Return another one with the same models, for the use of another thread."""
        # A round keeps the maps of its latest plane.
        return Answering(replace(self.models, round=copy.copy(self.models.round)), self._cache)

    def embed(self, question: Question, cancel: CancelToken | None = None) -> Embedding:
        """Embed the plane, with the cache."""
        return self._cache.get_or_embed(self.models.sam, question.pixels, cancel)

    def decode(self, question: Question) -> Answer:
        """Segment every class that has prompts, as one preview."""
        embedding = self.embed(question)
        sam = self.models.for_clicks
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
        note = GPU_FULL if fell_back_to_cpu(sam) else ""
        return Answer(question.prompts, preview, via, iou, note)

    def suggest(
        self,
        question: Question,
        class_ids: tuple[int, ...],
        check: Callable[[], None] = lambda: None,
    ) -> Answer:
        """Propose by the round, by the tuned SAM's class prior, or by the better of the two.

        `check` is called before each class; it may raise Cancelled.
        """
        embedding = self.embed(question)
        proposals: list[PointPrompt] = []
        for class_id in class_ids:
            check()
            proposals += self._propose(question, embedding, class_id)
        prompts = with_proposals(question.prompts, proposals, class_ids)
        answer = self.decode(replace(question, prompts=prompts))
        if question.tuned_folder is None or all(p.round is not None for p in proposals):
            return answer
        return replace(answer, from_outlines=models.outlines_of(question.tuned_folder))

    def _propose(
        self, question: Question, embedding: Embedding, class_id: int
    ) -> list[PointPrompt]:
        # The prior was fitted on square pixels, and the points are on the plane's own grid.
        tuned = self.models.tuned if question.stretch.is_none else None
        by_round = self.models.round if self.models.knows(class_id) else None
        if by_round is None:
            return [] if tuned is None else models.propose_from_prior(tuned, embedding, class_id)
        image, around = question.pixels, question.around
        if tuned is None:
            return models.propose(by_round, image, embedding, class_id, around)
        return models.propose_either(by_round, tuned, image, embedding, class_id, around)

    def _object(
        self,
        sam: SamBackend,
        embedding: Embedding,
        question: Question,
        prompts: PromptSet,
        key: ObjectKey,
        begun: Mask | None,
    ) -> Decoded:
        """Segment one object, feeding the mask of earlier clicks back to later ones.

        Clicks change what was suggested, drafted, committed or boxed in their surroundings only.
        """
        before: Mask | Logits | None = begun
        outline = None if begun is None else log_odds_of(begun)
        steps = decode_steps(prompts, key, begun=begun is not None)
        # A box-only model does not use its own mask: all prompts are given at once.
        for step in steps if sam.understands_points else steps[-1:]:
            object_prompts = step.for_object(key, embedding.shape)
            if before is not None:
                object_prompts = replace(object_prompts, mask=before)
            # A draft is not the mask that the round's points summarise.
            proposed = before is None and self.models.knows(key[0]) and _is_of_round(step, key)
            click = latest_click(step, key)
            asked = self.models.tuned if _is_of_outlines(step, key) else None
            if before is not None and click is not None:
                asked = self.models.for_corrections
            answer = self._mask(
                asked or sam, embedding, question, object_prompts, key[0], proposed=proposed
            )
            if outline is not None and click is not None and sam.understands_points:
                answer = corrected_near(outline, answer, click)
            elif begun is not None:
                # What only later clicks correct stays until then.
                reached = begun_from(question.draft, key, step)
                answer = with_part(answer, begun if reached is None else begun & ~reached)
            if outline is not None or latest_click(step, key) is None:
                outline = answer.logits
            before = answer.logits if sam.understands_points else before
        return answer

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
        key = (question.key, class_id, embedding.key, prompt_key, id(sam), proposed)
        if key not in self._masks:
            by_round = self.models.round
            outlines = proposed or (sam is self.models.sam and not sam.understands_points)
            if by_round is not None and outlines:
                answer = by_round.decode(
                    question.pixels,
                    embedding,
                    prompts,
                    class_id,
                    question.around,
                    proposed=proposed,
                )
            else:
                answer = models.decode_region(
                    sam, self._cache, question.pixels, embedding, prompts, class_id
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


def fell_back_to_cpu(sam: SamBackend) -> bool:
    """Whether the models fell back to the CPU because a better device was full."""
    return sam.device == "cpu" != models.available_devices()[0]


def _is_of_round(prompts: PromptSet, key: ObjectKey) -> bool:
    """Whether all prompts of an object were proposed by a round."""
    return _are_proposed(prompts, key) and all(p.round is not None for p in _points(prompts, key))


def _is_of_outlines(prompts: PromptSet, key: ObjectKey) -> bool:
    """Whether all prompts of an object were proposed by the class prior of a tuning."""
    return _are_proposed(prompts, key) and all(p.round is None for p in _points(prompts, key))


def _are_proposed(prompts: PromptSet, key: ObjectKey) -> bool:
    return not is_drawn(prompts, key) and all(p.origin == "model" for p in _points(prompts, key))


def _points(prompts: PromptSet, key: ObjectKey) -> list[PointPrompt]:
    return [p for p in prompts.points if p.object_key == key]
