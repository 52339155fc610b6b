"""Whole rounds on the slices that a ranking strategy chose, to confirm a light learner's curves."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam import io
from napari_scsam.core.labels import NOT_ANNOTATED
from napari_scsam.models import load_round
from scsam_train.benchmark.embedded import cache_of, embed_all, own_copy
from scsam_train.benchmark.plan import Candidate, Plan
from scsam_train.benchmark.records import key_of
from scsam_train.benchmark.rounds import inputs_of, train_in
from scsam_train.benchmark.scoring import choosing_members, score, with_choice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from napari_scsam.core.settings import TrainSettings
    from scsam_train.benchmark.light_learner import LearnerPlane
    from scsam_train.benchmark.semi_sets import Member, SemiSet

# The default round.
CANDIDATE = Candidate("scsam", "pretrained+sam")


class CurveRounds:
    """Trains a round on chosen slices, and tests it; what was done before is read.

    Parameters
    ----------
    out : Path
        Folder of embeddings, rounds, and their scores.
    chosen : SemiSet
    pictures : int
        Budget of each round.
    threads : int, optional
        Torch threads.
    on_done : callable
        Called with progress messages.
    """

    def __init__(
        self,
        out: Path,
        chosen: SemiSet,
        pictures: int,
        threads: int | None,
        on_done: Callable[[str], None],
    ) -> None:
        self._out, self._set, self._pictures = out, chosen, pictures
        self._threads, self._on_done = threads, on_done

    def dice(
        self,
        pool: Sequence[Member],
        tested: Sequence[Member],
        labelled: Iterable[LearnerPlane],
        seed: int,
    ) -> dict[str, float]:
        """Train on the labelled slices and all others of the pool without labels.

        Parameters
        ----------
        pool, tested : sequence of Member
            A fifth of the tested cases chooses the weights of the pair; the others are scored.
        labelled : iterable of LearnerPlane
        seed : int

        Returns
        -------
        dict
            Mean Dice by member of the pair.
        """
        planes: dict[str, list[int]] = {}
        for plane in labelled:
            planes.setdefault(plane.image, []).append(plane.index)
        known = [self._annotated(m, planes[m.name]) for m in pool if m.name in planes]
        others = [m for m in pool if m.name not in planes]
        choosing = choosing_members(self._set, tested, seed)
        settings = self._settings(seed)
        roles = {"labelled": known, "unlabelled": others, "tested": tested, "judges": choosing}
        key = key_of(self._set, [settings], roles, name=CANDIDATE.name, threads=self._threads)
        folder = self._out / "curve-rounds" / f"{self._set.name}-{seed}-{key}"
        kept = folder / "dice.json"
        if not kept.exists():
            embed_all(self._out, f"{self._set.name}-curve", [*pool, *tested], self._on_done)
            with own_copy(cache_of(self._out), folder / "cache") as own:
                inputs = inputs_of(self._set, known, others, choosing, settings, own)
                trained = train_in(folder / "0001", inputs, self._threads)
            pair = load_round(trained, device="cpu")
            found = with_choice(score(pair, self._set, tested, cache_of(self._out)), choosing)
            kept.write_text(json.dumps(found["dice"]))
        read: dict[str, float] = json.loads(kept.read_text())
        return read

    def _settings(self, seed: int) -> TrainSettings:
        plan = Plan(
            self._set.name, 0, (seed,), (CANDIDATE.name,), (CANDIDATE.unet,), self._pictures
        )
        return CANDIDATE.settings(plan, self._set.settings, seed)

    def _annotated(self, member: Member, planes: Sequence[int]) -> Member:
        """Return the member with a mask of which only some slices are annotated."""
        if len(planes) == member.planes:
            return member
        volume = io.read_volume(member.image)
        label = io.read_labels(member.mask, like=volume).astype(np.uint8)
        label[np.setdiff1d(np.arange(len(label)), planes)] = NOT_ANNOTATED
        name = hashlib.sha256(repr((member.mask_hash, sorted(planes))).encode()).hexdigest()[:16]
        path = self._out / "curve-labels" / f"{name}.nii.gz"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            io.write_labels(path, label, volume)
        return replace(member, mask=path)
