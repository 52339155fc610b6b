"""The ranking strategy `hybrid`, the default: coverage, doubt, and random checks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.models.core_set import core_set
from napari_scsam.models.doubt import NOTABLE
from napari_scsam.models.groups import DECIMALS, nearest_distances
from napari_scsam.models.picks import (
    Labelled,
    OpenSlice,
    Pick,
    as_random,
    best_of_each,
    random_slices,
    stacked_features,
    uniform,
)
from napari_scsam.models.reasons import dice_text, disagreement_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_scsam.core.arrays import DoubleArray

# Share of random picks in `hybrid`, which are the unbiased check of the models' quality. Arbitrary.
RANDOM_SHARE = 0.15
# Of so many picks that are not random, one goes by doubt, and the others cover the images. Chosen
# among 1, 2, 3 and never by simulation on training cases (docs/results/label-curve.md).
DOUBT_EVERY = 3
# Share of the novelty in a score of `hybrid`; the rest is doubt. Arbitrary.
NOVELTY_SHARE = 0.25
# The noise of `hybrid` is halved with so many more labelled images. Arbitrary.
HALVING = 20
# From here on no noise is left, and the power stays a number. Arbitrary.
_MOST_HALVINGS = 50
# Avoids a division by zero and the logarithm of zero.
_TINY = float(np.finfo(np.float32).eps)


def hybrid(
    slices: Sequence[OpenSlice],
    names: Mapping[int, str],
    labelled: Labelled | None = None,
    seed: int = 0,
) -> list[Pick]:
    """Return the images in the order worth labelling: coverage, doubt, and random checks.

    Without predictions the order is that of `core_set`. With them every third pick goes by doubt:
    a slice has a score for each class, the mean of entropy, one minus the expected Dice, and, if
    compared, the disagreement of the two models, mixed with the distance to what is labelled.
    These picks take turns among the classes, by scores with power noise that decays with the
    number of labelled images (as in ClaSP PE, arXiv 2601.13677; the weights and the schedule are
    ours). A fixed share of all picks is random. With predictions, `Pick.strategy` names what
    placed an image: 'core-set', 'hybrid' (doubt) or 'random'.

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
    covering = core_set(rest, labelled)
    if any(one.doubts for one in slices):
        ordered = _in_turns(covering, by_doubt(rest, names, labelled, seed))
    else:
        ordered = [_as_hybrid(pick) for pick in covering]
    return _interleaved(ordered, as_random(checks, "random check"))


def random_checks(slices: Sequence[OpenSlice], seed: int = 0) -> list[OpenSlice]:
    """Return a random slice of each image of the random share, in random order."""
    shuffled = random_slices(slices, seed)
    return shuffled[: round(RANDOM_SHARE * len(shuffled))]


def by_doubt(
    slices: Sequence[OpenSlice], names: Mapping[int, str], labelled: Labelled, seed: int = 0
) -> list[Pick]:
    """Return the images by doubt and novelty, in turns among the classes; see `hybrid`."""
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


def _in_turns(covering: Sequence[Pick], doubtful: Sequence[Pick]) -> list[Pick]:
    """Return picks of both lists, which are of the same images, each image once."""
    lists, picks = (iter(covering), iter(doubtful)), dict[str, Pick]()
    while len(picks) < len(covering):
        by_doubt = len(picks) % DOUBT_EVERY == DOUBT_EVERY - 1
        pick = next(p for p in lists[by_doubt] if p.image not in picks)
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
        gumbel = -math.log(-math.log(uniform(*seed, pick.image)))
        return math.log(round(pick.score or 0.0, DECIMALS) + _TINY) + gumbel / power

    best = best_of_each(picks)
    return sorted(best, key=lambda pick: (-value(pick), pick.image))


def _novelty(slices: Sequence[OpenSlice], labelled: Labelled) -> DoubleArray:
    """Return the distance of each slice to what is labelled, over the largest one: 0..1."""
    if not slices or not len(labelled.features):
        return np.ones(len(slices))
    distances = nearest_distances(stacked_features(slices), labelled.features)
    return distances / max(float(distances.max()), _TINY)


def _interleaved(ordered: Sequence[Pick], checks: Sequence[Pick]) -> list[Pick]:
    """Spread the random picks evenly over the others."""
    merged = list(ordered)
    for number, pick in enumerate(checks):
        merged.insert(int((number + 0.5) / RANDOM_SHARE), pick)
    return merged


def _as_hybrid(pick: Pick) -> Pick:
    return Pick(pick.image, pick.plane, pick.score, pick.reason, "hybrid")
