"""Dice of a pair on held-out planes, counted per case, and the test of clicks."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_scsam.core.labels import BACKGROUND, NOT_ANNOTATED
from napari_scsam.core.prompts import Prompts
from napari_scsam.core.round_contract import MAX_CLICKED, MAX_EVALUATED
from napari_scsam.models import Embedding, Pair, SamModel
from scsam_train.clicks import next_click

if TYPE_CHECKING:
    from scsam_train.data import TrainPlane

Scores = dict[str, dict[str, float | None]]

MEMBERS = ("unet", "sam", "prompted", "pair")
# A round's SAM decodes clicks if one click in the centre of an object gives at least this Dice, and
# at most so much less than its base does, and if that holds after so many clicks as well, of which
# each corrects the largest error. A round whose SAM passed the first test and hardly followed
# corrections took twice as many prompts (docs/results/effort.md). All three are arbitrary.
CLICK_DICE, CLICK_LOSS, CLICKS = 0.7, 0.02, 3


# Mean Dice after one click, and after CLICKS.
Clicked = tuple[float, float]
# Computes the embedding of pixels for a SAM.
Embed = Callable[[Any, NDArray[Any]], Embedding]


def embed_anew(sam: Any, pixels: NDArray[Any]) -> Embedding:
    """Embed without a cache."""
    found: Embedding = sam.embed(pixels)
    return found


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Pixel counts of a pair on each plane, from which Dice is computed.

    Attributes
    ----------
    planes : list of TrainPlane, length P
    counts : dict of str to ndarray of shape (P, K, 3), int64
        By member: pixels in the intersection, in the prediction, and in the truth, where it is
        annotated. All 0 for a class that was not judged on the plane.
    class_names : dict of int to str
        K classes by id.
    """

    planes: list[TrainPlane]
    counts: dict[str, NDArray[np.int64]]
    class_names: dict[int, str]

    def dice(self) -> Scores:
        """Return the Dice per member of the pair and class.

        Pixels are counted over all planes of a case, then the Dice is averaged over cases. A case
        where neither truth nor prediction contains a class is not counted for it.
        """
        scores = empty_scores(self.class_names)
        by_case = self.cases()
        for member in self.counts:
            for name in self.class_names.values():
                found = [case[member][name] for case in by_case.values()]
                scores.setdefault(member, {})[name] = mean_of(found)
            own = scores[member]
            own["mean"] = mean_of([own[name] for name in self.class_names.values()])
        return scores

    def cases(self) -> dict[str, Scores]:
        """Return the Dice by case, member and class; None for an absent class."""
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

    def of_planes(self, names: Container[str]) -> Evaluation | None:
        """Return the counts on the planes with these names only; None if there are none."""
        rows = [row for row, plane in enumerate(self.planes) if plane.name in names]
        return self.subset(rows) if rows else None

    def subset(self, rows: Sequence[int]) -> Evaluation:
        """Return the counts on the planes of these rows only."""
        counts = {member: counts[list(rows)] for member, counts in self.counts.items()}
        return Evaluation([self.planes[row] for row in rows], counts, self.class_names)

    def of_classes(self, class_names: dict[int, str]) -> Evaluation:
        """Return the counts of these of its classes only."""
        at = [position for position, one in enumerate(self.class_names) if one in class_names]
        counts = {member: counts[:, at] for member, counts in self.counts.items()}
        names = {one: class_names[one] for one in self.class_names if one in class_names}
        return Evaluation(self.planes, counts, names)

    def with_pair(self, counts: NDArray[np.int64]) -> Evaluation:
        """Return a copy with other counts (P, K, 3) of the pair."""
        return Evaluation(self.planes, {**self.counts, "pair": counts}, self.class_names)


class Evaluator:
    """Evaluates pairs on the same planes, with cached embeddings for the same encoder.

    Parameters
    ----------
    planes : sequence of TrainPlane
        Labelled planes.
    class_names : dict of int to str
    embed : callable, optional
        Takes a SAM and pixels and returns their embedding, for example from a cache.
    """

    def __init__(
        self,
        planes: Sequence[TrainPlane],
        class_names: dict[int, str],
        embed: Embed = embed_anew,
    ) -> None:
        picks = np.linspace(0, len(planes) - 1, min(len(planes), MAX_EVALUATED)).astype(int)
        self.planes = [planes[i] for i in picks]
        self.class_names, self._embed = class_names, embed
        self._embeddings: dict[int, Embedding] = {}

    def subset(self, count: int) -> Evaluator:
        """Return an evaluator with at most `count` of the planes, evenly spaced."""
        picks = np.linspace(0, len(self.planes) - 1, min(len(self.planes), count)).astype(int)
        return Evaluator([self.planes[i] for i in picks], self.class_names, self._embed)

    def of_classes(self, class_names: dict[int, str]) -> Evaluator:
        """Return an evaluator of other classes on the same planes."""
        other = copy(self)
        other.class_names = class_names
        return other

    @property
    def cases(self) -> int:
        """Number of cases that the planes come from."""
        return len({plane.case for plane in self.planes})

    def evaluate(self, pair: Pair, check: Callable[[], None]) -> Evaluation:
        """Evaluate each member of a pair on all planes.

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
        return Evaluation(self.planes, stacked, self.class_names)

    def evaluate_mixtures(
        self,
        pair: Pair,
        mixtures: Sequence[tuple[Pair, Sequence[int]]],
        check: Callable[[], None],
    ) -> list[NDArray[np.int64]]:
        """Evaluate a pair of two members with several weightings of its members.

        Parameters
        ----------
        pair : Pair
        mixtures : sequence of (Pair, sequence of int)
            `pair` with other weights (`Pair.weighed`), and the rows of planes to evaluate it on.
        check : callable
            Called before each plane; raises Cancelled.

        Returns
        -------
        list of ndarray of shape (P, K, 3), int64
            As `Evaluation.counts`, for each of `mixtures`; 0 on all other rows.
        """
        shape = (len(self.planes), len(self.class_names), 3)
        found: list[NDArray[np.int64]] = [np.zeros(shape, np.int64) for _ in mixtures]
        ids = np.array([0, *pair.class_ids])
        for row, plane in enumerate(self.planes):
            wanted = [
                (one, mixture)
                for (mixture, rows), one in zip(mixtures, found, strict=True)
                if row in rows
            ]
            check()
            if not wanted:
                continue
            embedding = self._embedding(pair, row, plane)
            assert embedding is not None
            unet = pair.probabilities(plane.pixels, embedding, "unet", plane.around)
            sam = pair.partners(unet, embedding)
            for counts, mixture in wanted:
                joined = mixture.joined(unet, sam, embedding)
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
        for class_id in self.class_names:
            if not plane.knows(class_id):
                rows.append([0, 0, 0])
                continue
            guess, truth = (label == class_id) & known, plane.label == class_id
            rows.append([(guess & truth).sum(), guess.sum(), truth.sum()])
        return np.array(rows, np.int64)


def mean_of(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values that are not None; None without any."""
    seen = [value for value in values if value is not None]
    return sum(seen) / len(seen) if seen else None


def empty_scores(class_names: dict[int, str]) -> Scores:
    """Return the scores of a round without held-out planes: all None."""
    return {member: dict.fromkeys([*class_names.values(), "mean"]) for member in MEMBERS}


def unet_share(unet: float | None, sam: float | None) -> float:
    """Return the U-Net's weight by inverse squared error."""
    if unet is None or sam is None:
        return 0.5
    errors = (1 - unet) ** 2 + 1e-4, (1 - sam) ** 2 + 1e-4
    return errors[1] / sum(errors)


def best_member(scores: Scores) -> str:
    """Return the member with the best mean Dice; the pair in case of a tie."""
    order = sorted(scores, key=lambda member: member != "pair")
    means = {member: scores[member]["mean"] for member in order}
    return max(means, key=lambda member: -1.0 if means[member] is None else means[member] or 0.0)


def click_dice(
    sam: SamModel, planes: Sequence[TrainPlane], embed: Embed = embed_anew, *, named: bool
) -> Clicked | None:
    """Return the mean Dice of SAM after one click in the centre of each object, and after three.

    Each further click is in the centre of the largest error, and SAM gets its last mask with it.

    Parameters
    ----------
    sam : SamModel
    planes : sequence of TrainPlane
        At most twelve objects on them are clicked.
    embed : callable, optional
        As for `Evaluator`.
    named : bool
        Whether SAM gets the object's class; a round's SAM has class tokens.

    Returns
    -------
    (float, float) or None
        None if there is no object.
    """
    objects = [
        (plane, int(class_id))
        for plane in planes
        for class_id in np.unique(plane.label)
        if class_id not in (BACKGROUND, NOT_ANNOTATED)
    ]
    picks = np.linspace(0, len(objects) - 1, min(len(objects), MAX_CLICKED)).astype(int)
    chosen = [objects[i] for i in picks]
    values = [_click(sam, plane, which, embed, named=named) for plane, which in chosen]
    if not values:
        return None
    first, last = np.mean(values, axis=0)
    return float(first), float(last)


def follows_clicks(dice: float, base_dice: float) -> bool:
    """Whether a round's SAM is good enough after some clicks, by its Dice and that of its base."""
    return dice >= CLICK_DICE and dice >= base_dice - CLICK_LOSS


def may_answer_clicks(by_round: Clicked, by_base: Clicked) -> bool:
    """Whether a round's SAM follows the first click and corrections, beside its base."""
    return all(follows_clicks(dice, base) for dice, base in zip(by_round, by_base, strict=True))


def _click(
    sam: SamModel, plane: TrainPlane, class_id: int, embed: Embed, *, named: bool
) -> Clicked:
    """Return the Dice after the first and after the last click on an object."""
    embedding, truth = embed(sam, plane.pixels), plane.label == class_id
    prompts, guess, values = Prompts(), np.zeros_like(truth), []
    for _ in range(CLICKS):
        click = next_click(guess, truth, plane.label != NOT_ANNOTATED)
        if click is None:
            break
        row, col, inside = click
        prompts = replace(
            prompts, points=[*prompts.points, (row, col)], labels=[*prompts.labels, inside]
        )
        found = sam.decode(embedding, prompts, class_id=class_id if named else None)
        # A box-only model does not use its own mask.
        prompts = replace(prompts, mask=found.logits if sam.understands_points else None)
        guess = found.mask
        values.append(_dice(found.mask, plane, class_id))
    return values[0], values[-1]


def _dice(mask: NDArray[np.bool_], plane: TrainPlane, class_id: int) -> float:
    """Return the Dice on annotated pixels of a class that is on the plane."""
    truth, mask = plane.label == class_id, mask & (plane.label != NOT_ANNOTATED)
    return 2 * float((mask & truth).sum()) / float(mask.sum() + truth.sum())
