"""Dice of a pair on held-out planes, counted per case, and what it can be asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_scsam.core.labels import BACKGROUND, NOT_ANNOTATED
from napari_scsam.core.prompts import Prompts, deepest
from napari_scsam.core.round_contract import MAX_CLICKED, MAX_JUDGED, SPLIT_FILE
from napari_scsam.models import Embedding, Pair, SamModel

if TYPE_CHECKING:
    from pathlib import Path

    from scsam_train.data import TrainPlane

Scores = dict[str, dict[str, float | None]]

MEMBERS = ("unet", "sam", "prompted", "pair")
# A round's SAM is trusted with points that answers one click in the middle this well, and not
# worse than its base by more than the second: clicks mend SAM's answer, an outline they only cut.
CLICK_DICE = 0.7
CLICK_LOSS = 0.02


# Embeds pixels for a SAM.
Embed = Callable[[Any, NDArray[Any]], Embedding]


def embed_anew(sam: Any, pixels: NDArray[Any]) -> Embedding:
    """Embed without looking whether that was done before."""
    found: Embedding = sam.embed(pixels)
    return found


@dataclass(frozen=True, eq=False)
class Marks:
    """What a pair got right on each plane.

    Attributes
    ----------
    planes : list of TrainPlane, length P
    counts : dict of str to ndarray of shape (P, K, 3), int64
        By member: pixels in both, in the answer, and in the truth, where it is annotated. All 0
        for a class that the plane was not judged for.
    class_names : dict of int to str
        K of them.
    """

    planes: list[TrainPlane]
    counts: dict[str, NDArray[np.int64]]
    class_names: dict[int, str]

    def dice(self) -> Scores:
        """Dice per member of the pair and class.

        Pixels are counted over all of a case's planes, then cases are averaged. A class
        that neither truth nor prediction holds in a case says nothing about it.
        """
        scores = empty_scores(self.class_names)
        by_case = self.cases()
        for member in self.counts:
            for name in self.class_names.values():
                found = [case[member][name] for case in by_case.values()]
                scores.setdefault(member, {})[name] = _mean(found)
            own = scores[member]
            own["mean"] = _mean([own[name] for name in self.class_names.values()])
        return scores

    def cases(self) -> dict[str, Scores]:
        """Dice by case, member and class; None for a class that a case says nothing about."""
        rows: dict[str, list[int]] = {}
        for row, plane in enumerate(self.planes):
            rows.setdefault(plane.case, []).append(row)
        return {
            case: {member: self._dice_of(counts[at]) for member, counts in self.counts.items()}
            for case, at in rows.items()
        }

    def _dice_of(self, counts: NDArray[np.int64]) -> dict[str, float | None]:
        both, guess, truth = counts.sum(axis=0).T
        found = zip(self.class_names.values(), both, guess + truth, strict=True)
        return {name: 2 * float(b) / float(total) if total else None for name, b, total in found}

    def on(self, names: Container[str]) -> Marks | None:
        """The marks on the planes of these names only; None where there is none of them."""
        rows = [row for row, plane in enumerate(self.planes) if plane.name in names]
        return self.at(rows) if rows else None

    def at(self, rows: Sequence[int]) -> Marks:
        """The marks on the planes of these rows only."""
        counts = {member: counts[list(rows)] for member, counts in self.counts.items()}
        return Marks([self.planes[row] for row in rows], counts, self.class_names)

    def with_pair(self, counts: NDArray[np.int64]) -> Marks:
        """The same with other counts (P, K, 3) of the pair."""
        return Marks(self.planes, {**self.counts, "pair": counts}, self.class_names)


class Judge:
    """Marks pairs on the same planes, with the same embeddings if they have one encoder.

    Parameters
    ----------
    planes : sequence of TrainPlane
        Labelled.
    class_names : dict of int to str
    embed : callable, optional
        Takes a SAM and pixels, gives their embedding; from a cache, say.
    """

    def __init__(
        self,
        planes: Sequence[TrainPlane],
        class_names: dict[int, str],
        embed: Embed = embed_anew,
    ) -> None:
        picks = np.linspace(0, len(planes) - 1, min(len(planes), MAX_JUDGED)).astype(int)
        self.planes = [planes[i] for i in picks]
        self._names, self._embed = class_names, embed
        self._embeddings: dict[int, Embedding] = {}

    def on(self, count: int) -> Judge:
        """One of at most so many of its planes, evenly spaced."""
        picks = np.linspace(0, len(self.planes) - 1, min(len(self.planes), count)).astype(int)
        return Judge([self.planes[i] for i in picks], self._names, self._embed)

    @property
    def cases(self) -> int:
        """How many cases the planes come from."""
        return len({plane.case for plane in self.planes})

    def mark(self, pair: Pair, check: Callable[[], None]) -> Marks:
        """Mark each member of a pair on all planes.

        Parameters
        ----------
        pair : Pair
        check : callable
            Called before each plane; raises Cancelled.
        """
        counts: dict[str, list[NDArray[np.int64]]] = {}
        for index, plane in enumerate(self.planes):
            check()
            for member, label in self._label_maps(pair, index, plane).items():
                counts.setdefault(member, []).append(self._count(label, plane))
        stacked = {member: np.stack(rows) for member, rows in counts.items()}
        return Marks(self.planes, stacked, self._names)

    def mark_joined(
        self,
        pair: Pair,
        ways: Sequence[tuple[Pair, Sequence[int]]],
        check: Callable[[], None],
    ) -> list[NDArray[np.int64]]:
        """Mark what a pair of two members answers when it is weighed in several ways.

        Parameters
        ----------
        pair : Pair
        ways : sequence of (Pair, sequence of int)
            `pair`, `Pair.weighed`, and the rows of the planes that it is marked on.
        check : callable
            Called before each plane; raises Cancelled.

        Returns
        -------
        list of ndarray of shape (P, K, 3), int64
            As `Marks.counts`, for each of `ways`; 0 on other rows than its own.
        """
        shape = (len(self.planes), len(self._names), 3)
        found: list[NDArray[np.int64]] = [np.zeros(shape, np.int64) for _ in ways]
        ids = np.array([0, *pair.class_ids])
        for row, plane in enumerate(self.planes):
            wanted = [
                (one, way) for (way, rows), one in zip(ways, found, strict=True) if row in rows
            ]
            check()
            if not wanted:
                continue
            embedding = self._embedding(pair, row, plane)
            assert embedding is not None
            unet = pair.probabilities(plane.pixels, embedding, "unet", plane.around)
            sam = pair.partners(unet, embedding)
            for counts, way in wanted:
                joined = way.joined(unet, sam, embedding)
                counts[row] = self._count(ids[joined.argmax(0)], plane)
        return found

    def _embedding(self, pair: Pair, index: int, plane: TrainPlane) -> Embedding | None:
        embedding = self._embeddings.get(index)
        needed = "sam" in pair.trained or pair.joins_sam
        wanted = pair.sam.embedding_key(plane.pixels) if needed else None
        if wanted is not None and (embedding is None or embedding.key != wanted):
            embedding = self._embeddings[index] = self._embed(pair.sam, plane.pixels)
        return embedding

    def _label_maps(
        self, pair: Pair, index: int, plane: TrainPlane
    ) -> dict[str, NDArray[np.int64]]:
        ids = np.array([0, *pair.class_ids])
        members = pair.members(plane.pixels, self._embedding(pair, index, plane), plane.around)
        return {name: ids[p.argmax(0)] for name, p in members.items()}

    def _count(self, label: NDArray[np.int64], plane: TrainPlane) -> NDArray[np.int64]:
        known = plane.label != NOT_ANNOTATED
        rows = []
        for class_id in self._names:
            if not plane.knows(class_id):
                rows.append([0, 0, 0])
                continue
            guess, truth = (label == class_id) & known, plane.label == class_id
            rows.append([(guess & truth).sum(), guess.sum(), truth.sum()])
        return np.array(rows, np.int64)


def _mean(values: Sequence[float | None]) -> float | None:
    seen = [value for value in values if value is not None]
    return sum(seen) / len(seen) if seen else None


def empty_scores(class_names: dict[int, str]) -> Scores:
    """Scores of a round that nothing was held out for."""
    return {member: dict.fromkeys([*class_names.values(), "mean"]) for member in MEMBERS}


def unet_share(unet: float | None, sam: float | None) -> float:
    """The U-Net's share by inverse error, as two measurements of one thing are averaged."""
    if unet is None or sam is None:
        return 0.5
    errors = (1 - unet) ** 2 + 1e-4, (1 - sam) ** 2 + 1e-4
    return errors[1] / sum(errors)


def best_member(scores: Scores) -> str:
    """The member with the best mean Dice; the pair where several are as good."""
    order = sorted(scores, key=lambda member: member != "pair")
    means = {member: scores[member]["mean"] for member in order}
    return max(means, key=lambda member: -1.0 if means[member] is None else means[member] or 0.0)


def forgetting(now: Marks, before: Marks, parent: Path) -> dict[str, Any] | None:
    """Whether a round does worse than its parent on what the parent was judged on.

    Parameters
    ----------
    now, before : Marks
        Of the round and of its parent, on the planes that the round holds out.
    parent : Path
        The parent's folder.

    Returns
    -------
    dict or None
        ``planes``: how many of these planes the parent held out, too; ``parent`` and
        ``round``: mean Dice of each pair on them. None where there is none, or the parent's
        split can't be read.
    """
    try:
        split = json.loads((parent / SPLIT_FILE).read_text())
        names = {str(name) for name in split["held_out"]} - {str(name) for name in split["train"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    now_there, before_there = now.on(names), before.on(names)
    if now_there is None or before_there is None:
        return None
    return {
        "planes": len(now_there.planes),
        "parent": before_there.dice()["pair"]["mean"],
        "round": now_there.dice()["pair"]["mean"],
    }


def click_dice(
    sam: SamModel, planes: Sequence[TrainPlane], embed: Embed = embed_anew, *, named: bool
) -> float | None:
    """Mean Dice of a SAM's answer to one click in the middle of each object.

    Parameters
    ----------
    sam : SamModel
    planes : sequence of TrainPlane
        At most twelve objects on them are clicked on.
    embed : callable, optional
        As for `Judge`.
    named : bool
        Whether the object's class is told; a round's SAM knows it.

    Returns
    -------
    float or None
        None where there is no object to click on.
    """
    objects = [
        (plane, int(class_id))
        for plane in planes
        for class_id in np.unique(plane.label)
        if class_id not in (BACKGROUND, NOT_ANNOTATED)
    ]
    picks = np.linspace(0, len(objects) - 1, min(len(objects), MAX_CLICKED)).astype(int)
    chosen = [objects[i] for i in picks]
    values = [_one_click(sam, plane, which, embed, named=named) for plane, which in chosen]
    return float(np.mean(values)) if values else None


def follows_clicks(dice: float, base_dice: float) -> bool:
    """Whether a round's SAM may answer clicks itself, by `click_dice` of it and of its base."""
    return dice >= CLICK_DICE and dice >= base_dice - CLICK_LOSS


def _one_click(
    sam: SamModel, plane: TrainPlane, class_id: int, embed: Embed, *, named: bool
) -> float:
    embedding = embed(sam, plane.pixels)
    asked = Prompts(points=[deepest(plane.label == class_id)], labels=[1])
    found = sam.decode(embedding, asked, class_id=class_id if named else None)
    return _dice(found.mask, plane, class_id)


def _dice(mask: NDArray[np.bool_], plane: TrainPlane, class_id: int) -> float:
    """Dice where the plane is annotated, of a class that is on it."""
    truth, mask = plane.label == class_id, mask & (plane.label != NOT_ANNOTATED)
    return 2 * float((mask & truth).sum()) / float(mask.sum() + truth.sum())
