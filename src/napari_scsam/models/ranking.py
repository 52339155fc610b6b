"""Which image to label next: strategies as pure functions of what was measured on the slices.

Each strategy takes the open slices and returns one pick for each image, best first. Nothing here
reads a file or runs a model, and the same measurements always give the same order.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.models.groups import group_count, grouped, nearest_distances
from napari_scsam.models.reasons import (
    dice_text,
    disagreement_text,
    entropy_text,
    group_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_scsam.core.arrays import DoubleArray, FloatArray
    from napari_scsam.models.doubt import Doubt

# Part of the name under which pooled features are stored: raise it when they change.
FEATURES_VERSION = 1
# Share of random picks in `hybrid`, which are the unbiased check of the models' quality. Arbitrary.
RANDOM_SHARE = 0.15
# Share of the novelty in a score of `hybrid`; the rest is doubt. Arbitrary.
NOVELTY_SHARE = 0.25
# From this share of the outline on, a disagreement is given as the reason. Arbitrary.
NOTABLE = 0.2
# The noise of `hybrid` is halved with so many more labelled images. Arbitrary.
HALVING = 20
# From here on no noise is left, and the power stays a number. Arbitrary.
_MOST_HALVINGS = 50
# Avoids a division by zero and the logarithm of zero.
_TINY = float(np.finfo(np.float32).eps)


@dataclass(frozen=True, eq=False)
class OpenSlice:
    """An open slice and what was measured on it.

    Attributes
    ----------
    image : str
        ID of the image.
    plane : int
        Slice number; 0 for a two-dimensional image.
    features : ndarray of shape (D,), float32, or None
        Pooled features of the pretrained encoder.
    doubts : mapping of int to Doubt
        By class id, for those that are seen on the slice; empty without a trained round.
    """

    image: str
    plane: int
    features: FloatArray | None = None
    doubts: Mapping[int, Doubt] = field(default_factory=dict)


@dataclass(frozen=True)
class Pick:
    """One image of the queue, with its slice most worth labelling.

    Attributes
    ----------
    image : str
    plane : int
    score : float or None
        Comparable within a strategy; None for random picks.
    reason : str
        For the person.
    strategy : str
        The strategy that made this pick: 'random' for the random checks of `hybrid`.
    """

    image: str
    plane: int
    score: float | None
    reason: str
    strategy: str


@dataclass(frozen=True, eq=False)
class Labelled:
    """What is labelled already.

    Attributes
    ----------
    images : int
        Number of images with a label.
    features : ndarray of shape (M, D), float32
        Of labelled slices.
    """

    images: int = 0
    features: FloatArray = field(default_factory=lambda: np.zeros((0, 0), np.float32))


def sequential(slices: Sequence[OpenSlice]) -> list[Pick]:
    """Return the images in the order given; the score falls evenly from 1."""
    firsts = list({one.image: one for one in reversed(slices)}.values())[::-1]
    return [
        Pick(one.image, one.plane, 1 - at / len(firsts), "next in the list", "sequential")
        for at, one in enumerate(firsts)
    ]


def random(slices: Sequence[OpenSlice], seed: int = 0) -> list[Pick]:
    """Return the images in random order, each with a random slice."""
    return [
        Pick(one.image, one.plane, None, "random order", "random")
        for one in _random_slices(slices, seed)
    ]


def foreground_random(slices: Sequence[OpenSlice], seed: int = 0) -> list[Pick]:
    """Return the images in random order, those with predicted foreground first.

    In nnActive (arXiv 2511.19183) no method was reliably better than such a baseline. Without
    predictions all slices count as foreground.
    """
    predicted = any(one.doubts for one in slices)
    found = [one for one in slices if one.doubts] if predicted else slices
    reason = "random, foreground predicted" if predicted else "random, nothing predicted yet"
    seen = {one.image for one in found}
    rest = [one for one in slices if one.image not in seen]
    name, nothing = "foreground-random", "random, no foreground predicted"
    return [
        *_as_random(_random_slices(found, seed), reason, name),
        *_as_random(_random_slices(rest, seed), nothing, name),
    ]


def entropy(slices: Sequence[OpenSlice], names: Mapping[int, str]) -> list[Pick]:
    """Return the images by the largest mean entropy of a class around its predicted foreground.

    Parameters
    ----------
    slices : sequence of OpenSlice
    names : mapping of int to str
        Class names by id, for the reasons.
    """

    def pick(one: OpenSlice) -> Pick:
        class_id = max(one.doubts, key=lambda c: (one.doubts[c].entropy, -c), default=None)
        if class_id is None:
            return Pick(one.image, one.plane, 0.0, "no foreground predicted", "entropy")
        value = one.doubts[class_id].entropy
        reason = entropy_text(value, class_id, names)
        return Pick(one.image, one.plane, value, reason, "entropy")

    return _best_of_each(map(pick, slices))


def disagreement(slices: Sequence[OpenSlice], names: Mapping[int, str]) -> list[Pick]:
    """Return the images by the share of a class's outline on which U-Net and SAM disagree.

    Images that were not compared follow, by their expected Dice, with lower scores: from 0 to -1.
    """

    def pick(one: OpenSlice) -> Pick:
        compared = {c: d.disagreement for c, d in one.doubts.items() if d.disagreement is not None}
        if compared:
            class_id = max(compared, key=lambda c: (compared[c], -c))
            reason = disagreement_text(compared[class_id], class_id, names)
            return Pick(one.image, one.plane, compared[class_id], reason, "disagreement")
        if not one.doubts:
            return Pick(one.image, one.plane, -1.0, "no foreground predicted", "disagreement")
        class_id = min(one.doubts, key=lambda c: (one.doubts[c].dice, c))
        value = one.doubts[class_id].dice
        return Pick(one.image, one.plane, -value, dice_text(value, class_id, names), "disagreement")

    return _best_of_each(map(pick, slices))


def core_set(slices: Sequence[OpenSlice], labelled: Labelled | None = None) -> list[Pick]:
    """Return the images so that every beginning of the list represents all of them.

    Slices are grouped by k-means on their features. Groups are served in proportion to their size
    by Sainte-Laguë's method, where labelled slices count as served, and within a group the slice
    nearest to its centre comes first (a medoid). The score is the share of the group among all
    slices, divided by 1, 3, 5, ... with each slice of the group that is labelled or comes before.

    Parameters
    ----------
    slices : sequence of OpenSlice
        All with features.
    labelled : Labelled, optional
    """
    if not slices:
        return []
    known = labelled.features if labelled is not None and len(labelled.features) else None
    features = _features(slices)
    every = features if known is None else np.concatenate([features, known])
    groups, distances = grouped(every, group_count(len(every)))
    count = len(slices)
    sizes = np.bincount(groups[:count], minlength=int(groups.max()) + 1)
    served = np.bincount(groups[count:], minlength=len(sizes))
    labelled_before = served.copy()
    order = sorted(range(count), key=lambda i: (distances[i], slices[i].image, slices[i].plane))
    picks: dict[str, Pick] = {}
    for i in order:
        one, group = slices[i], int(groups[i])
        if one.image in picks:
            continue
        score = float(sizes[group] / count / (2 * served[group] + 1))
        reason = group_text(sizes[group] / count, labelled_before[group], known is not None)
        picks[one.image] = Pick(one.image, one.plane, score, reason, "core-set")
        served[group] += 1
    return sorted(picks.values(), key=_rank)


def hybrid(
    slices: Sequence[OpenSlice],
    names: Mapping[int, str],
    labelled: Labelled | None = None,
    seed: int = 0,
) -> list[Pick]:
    """Return the images in the order worth labelling: doubt, novelty, and random checks.

    Without predictions the order is that of `core_set`. With them a slice has a score for each
    class: the mean of entropy, one minus the expected Dice, and, if compared, the disagreement of
    the two models, mixed with the distance to what is labelled. Picks take turns among the
    classes, by scores with power noise that decays with the number of labelled images (as in
    ClaSP PE, arXiv 2601.13677; the weights and the schedule are ours). A fixed share is random.

    Parameters
    ----------
    slices : sequence of OpenSlice
        All with features.
    names : mapping of int to str
        Class names by id.
    labelled : Labelled, optional
    seed : int
        Of the noise and of the random picks.
    """
    labelled = labelled or Labelled()
    checks = random_checks(slices, seed)
    chosen = {one.image for one in checks}
    rest = [one for one in slices if one.image not in chosen]
    if any(one.doubts for one in slices):
        ordered = _stratified(rest, names, labelled, seed)
    else:
        ordered = [_as_hybrid(pick) for pick in core_set(rest, labelled)]
    return _interleaved(ordered, _as_random(checks, "random check"))


def random_checks(slices: Sequence[OpenSlice], seed: int = 0) -> list[OpenSlice]:
    """Return a random slice of each image of the random share, in random order."""
    shuffled = _random_slices(slices, seed)
    return shuffled[: round(RANDOM_SHARE * len(shuffled))]


def slice_order(slices: Sequence[OpenSlice], pick: Pick) -> list[int]:
    """Return the slices of a picked volume, the picked one first, then by falling doubt."""

    def doubtful(one: OpenSlice) -> float:
        return max(((d.entropy + 1 - d.dice) / 2 for d in one.doubts.values()), default=0.0)

    others = [one for one in slices if one.image == pick.image and one.plane != pick.plane]
    others.sort(key=lambda one: (-doubtful(one), one.plane))
    return [pick.plane, *(one.plane for one in others)]


def _stratified(
    slices: Sequence[OpenSlice], names: Mapping[int, str], labelled: Labelled, seed: int
) -> list[Pick]:
    """Return picks that take turns among the classes, each by its own noised scores."""
    novelty = _novelty(slices, labelled)
    lists = [
        _noised(
            [_scored(one, float(new), c, names) for one, new in zip(slices, novelty, strict=True)],
            labelled.images,
            (seed, c),
        )
        for c in sorted(names)
    ]
    picks: dict[str, Pick] = {}
    turns = [iter(items) for items in lists]
    images = len({one.image for one in slices})
    while len(picks) < images:
        for turn in turns:
            pick = next((p for p in turn if p.image not in picks), None)
            if pick is not None:
                picks[pick.image] = pick
    return list(picks.values())


def _scored(one: OpenSlice, novelty: float, class_id: int, names: Mapping[int, str]) -> Pick:
    """Return a slice as a pick for a class."""
    doubt = one.doubts.get(class_id)
    parts = [0.0]
    if doubt is not None:
        parts = [doubt.entropy, 1 - doubt.dice]
        parts += [] if doubt.disagreement is None else [doubt.disagreement]
    doubtful = (1 - NOVELTY_SHARE) * float(np.mean(parts))
    score = doubtful + NOVELTY_SHARE * novelty
    disagreeing = doubt is not None and (doubt.disagreement or 0) >= NOTABLE
    if doubt is not None and doubt.disagreement is not None and disagreeing:
        reason = disagreement_text(doubt.disagreement, class_id, names)
    elif NOVELTY_SHARE * novelty > doubtful:
        reason = "unlike anything labelled"
    elif doubt is not None:
        reason = dice_text(doubt.dice, class_id, names)
    else:
        reason = "no foreground predicted"
    return Pick(one.image, one.plane, score, reason, "hybrid")


def _noised(picks: Iterable[Pick], labelled: int, seed: tuple[int, int]) -> list[Pick]:
    """Return the best pick of each image by log-score with Gumbel noise, which decays."""
    power = 2 ** min(labelled / HALVING, _MOST_HALVINGS)

    def value(pick: Pick) -> float:
        uniform = _uniform(*seed, pick.image)
        gumbel = -math.log(-math.log(uniform))
        return math.log((pick.score or 0.0) + _TINY) + gumbel / power

    best = _best_of_each(picks)
    return sorted(best, key=lambda pick: (-value(pick), pick.image))


def _novelty(slices: Sequence[OpenSlice], labelled: Labelled) -> DoubleArray:
    """Return the distance of each slice to what is labelled, over the largest one: 0..1."""
    if not slices or not len(labelled.features):
        return np.ones(len(slices))
    distances = nearest_distances(_features(slices), labelled.features)
    return distances / max(float(distances.max()), _TINY)


def _features(slices: Sequence[OpenSlice]) -> FloatArray:
    return np.stack([np.asarray(one.features, np.float32) for one in slices])


def _random_slices(slices: Sequence[OpenSlice], seed: int) -> list[OpenSlice]:
    """Return one random slice of each image, in random order."""
    by_image: dict[str, list[OpenSlice]] = defaultdict(list)
    for one in slices:
        by_image[one.image].append(one)
    images = sorted(by_image, key=lambda image: (_uniform(seed, image), image))
    return [
        min(by_image[image], key=lambda one: _uniform(seed, one.image, one.plane))
        for image in images
    ]


def _interleaved(ordered: Sequence[Pick], checks: Sequence[Pick]) -> list[Pick]:
    """Spread the random picks evenly over the others."""
    merged = list(ordered)
    for number, pick in enumerate(checks):
        merged.insert(int((number + 0.5) / RANDOM_SHARE), pick)
    return merged


def _best_of_each(picks: Iterable[Pick]) -> list[Pick]:
    """Return the best pick of each image, best first; ties by id, then by slice."""
    best: dict[str, Pick] = {}
    for pick in sorted(picks, key=_rank):
        best.setdefault(pick.image, pick)
    return list(best.values())


def _rank(pick: Pick) -> tuple[float, str, int]:
    return (-(pick.score or 0.0), pick.image, pick.plane)


def _as_random(slices: Iterable[OpenSlice], reason: str, strategy: str = "random") -> list[Pick]:
    return [Pick(one.image, one.plane, None, reason, strategy) for one in slices]


def _as_hybrid(pick: Pick) -> Pick:
    return Pick(pick.image, pick.plane, pick.score, pick.reason, "hybrid")


def _uniform(*parts: object) -> float:
    """Return a number in (0, 1) that only depends on the arguments."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return (int.from_bytes(digest[:6], "big") + 0.5) / 2**48
