"""The worker's side of suggesting and decoding: models, embeddings, masks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from napari_scsam import models
from napari_scsam.controllers.work import (
    SliceKey,
    askable_objects,
    asked_in_turn,
    compose,
    to_decode,
    with_proposals,
)
from napari_scsam.core.prompts import ObjectKey, Prompts, PromptSet
from napari_scsam.core.volume import LabelArray, Pixels
from napari_scsam.models import Decoded, Embedding, EmbeddingCache, RoundModels, SamBackend

MASKS_KEPT = 32


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
    """

    key: SliceKey
    pixels: Pixels
    prompts: PromptSet
    round_folder: Path | None
    draft: LabelArray | None = None


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
    """

    prompts: PromptSet
    preview: LabelArray
    via: str
    iou: float | None = None


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

    def close(self) -> None:
        """Let go of the models; nothing is asked afterwards."""


class Segmenter:
    """Owns the models and their caches; every method belongs to one worker thread.

    Parameters
    ----------
    cache_folder : Path, optional
        Where embeddings are kept for later; in memory only when left out.
    load_sam : callable, optional
        Makes the SAM that is used before the first round.
    """

    def __init__(
        self,
        cache_folder: Path | None = None,
        load_sam: Callable[[], SamBackend] = models.load_sam,
    ) -> None:
        self._cache_folder = cache_folder
        self._load_sam = load_sam
        self._cache: EmbeddingCache | None = None
        self._base: SamBackend | None = None
        self._round: RoundModels | None = None
        self._round_folder: Path | None = None
        self._masks: OrderedDict[Any, Decoded] = OrderedDict()

    def prepare(self, round_folder: Path | None) -> SamBackend:
        """Load what the active round needs, once."""
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
        """What runs where, for the dock's foot, such as ``"LiteMedSAM on CPU, 2 threads"``."""
        text = models.describe(self.prepare(self._round_folder))
        return text if self._round is None else f"{text}, taught by round {self._round.number}"

    def embed(self, question: Question) -> Embedding:
        """Embedding of the plane, from the cache when it is there."""
        sam = self.prepare(question.round_folder)
        if self._cache is None:
            self._cache = models.open_cache(self._cache_folder)
        return self._cache.get_or_embed(sam, question.pixels)

    def decode(self, question: Question) -> Answer:
        """Masks of every class that has prompts, as one preview."""
        embedding = self.embed(question)
        sam = self.prepare(question.round_folder)
        prompts = to_decode(question.prompts)
        drafted = () if question.draft is None else np.unique(question.draft).tolist()
        decoded = {
            key: self._object(sam, embedding, question, prompts, key)
            for key in askable_objects(prompts, drafted)
        }
        vias = {answer.via for answer in decoded.values()}
        via = "box from clicks" if "box from clicks" in vias else next(iter(sorted(vias)), "")
        iou = min((answer.iou for answer in decoded.values()), default=None)
        preview = compose(decoded, embedding.shape, question.draft)
        return Answer(question.prompts, preview, via, iou)

    def suggest(self, question: Question, class_ids: Iterable[int]) -> Answer:
        """New proposals of the active round for `class_ids`, and their masks."""
        embedding = self.embed(question)
        if self._round is None:
            return self.decode(question)
        known = [c for c in class_ids if c in self._round.class_ids]
        proposals = [
            proposal
            for class_id in known
            for proposal in models.propose(self._round, question.pixels, embedding, class_id)
        ]
        prompts = with_proposals(question.prompts, proposals, known)
        return self.decode(Question(question.key, question.pixels, prompts, question.round_folder))

    def close(self) -> None:
        """Nothing to end: the models go with this object."""

    def _object(
        self,
        sam: SamBackend,
        embedding: Embedding,
        question: Question,
        prompts: PromptSet,
        key: ObjectKey,
    ) -> Decoded:
        """Mask of one object, each later click told what the ones before it gave."""
        drafted = None if question.draft is None or key[1] != 1 else question.draft == key[0]
        before = drafted if drafted is not None and drafted.any() else None
        turns = asked_in_turn(prompts, key)
        # A model of boxes makes nothing of its own answer: it is asked everything at once.
        for turn in turns if sam.understands_points else turns[-1:]:
            asked = turn.for_object(key, embedding.shape)
            if before is not None:
                asked = replace(asked, mask=before)
            answer = self._mask(sam, embedding, question, asked, key[0])
            before = answer.logits if sam.understands_points else before
        return answer

    def _mask(
        self,
        sam: SamBackend,
        embedding: Embedding,
        question: Question,
        prompts: Prompts,
        class_id: int,
    ) -> Decoded:
        told = None if prompts.mask is None else hash(prompts.mask.tobytes())
        asked = (prompts.points, prompts.labels, prompts.box, told)
        key = (question.key, class_id, embedding.key, asked)
        if key not in self._masks:
            if self._round is not None and class_id in self._round.class_ids:
                answer = self._round.decode(question.pixels, embedding, prompts, class_id)
            else:
                answer = sam.decode(embedding, prompts)
            self._masks[key] = answer
            if len(self._masks) > MASKS_KEPT:
                self._masks.popitem(last=False)
        self._masks.move_to_end(key)
        return self._masks[key]
