"""Which image to label next: strategies as pure functions of what was measured on the slices.

Each strategy takes the open slices and returns one pick for each image, best first. Nothing here
reads a file or runs a model, and the same measurements always give the same order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_scsam.models.core_set import core_set
from napari_scsam.models.groups import DECIMALS
from napari_scsam.models.hybrid_ranking import hybrid, random_checks
from napari_scsam.models.picks import (
    Labelled,
    OpenSlice,
    Pick,
    as_random,
    best_of_each,
    random_slices,
)
from napari_scsam.models.reasons import dice_text, disagreement_text, entropy_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_scsam.core.settings import RankStrategy

__all__ = [
    "DECIMALS",
    "FEATURES_VERSION",
    "Labelled",
    "OpenSlice",
    "Pick",
    "core_set",
    "disagreement",
    "entropy",
    "foreground_random",
    "hybrid",
    "ordered",
    "random",
    "random_checks",
    "sequential",
    "slice_order",
]

# Part of the name under which pooled features are stored: raise it when they change.
FEATURES_VERSION = 1


def ordered(
    strategy: RankStrategy,
    slices: Sequence[OpenSlice],
    names: Mapping[int, str],
    labelled: Labelled | None = None,
    seed: int = 0,
) -> list[Pick]:
    """Return the picks of a strategy by its name.

    Parameters
    ----------
    strategy : str
    slices : sequence of OpenSlice
    names : mapping of int to str
        Class names by id.
    labelled : Labelled, optional
    seed : int
        Of the random picks and of the noise.
    """
    match strategy:
        case "sequential":
            return sequential(slices)
        case "random":
            return random(slices, seed)
        case "foreground-random":
            return foreground_random(slices, seed)
        case "entropy":
            return entropy(slices, names)
        case "disagreement":
            return disagreement(slices, names)
        case "core-set":
            return core_set(slices, labelled)
        case "hybrid":
            return hybrid(slices, names, labelled, seed)


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
        for one in random_slices(slices, seed)
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
        *as_random(random_slices(found, seed), reason, name),
        *as_random(random_slices(rest, seed), nothing, name),
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

    return best_of_each(map(pick, slices))


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

    return best_of_each(map(pick, slices))


def slice_order(slices: Sequence[OpenSlice], pick: Pick) -> list[int]:
    """Return the slices of a picked volume, the picked one first, then by falling doubt."""

    def doubtful(one: OpenSlice) -> float:
        return max(((d.entropy + 1 - d.dice) / 2 for d in one.doubts.values()), default=0.0)

    others = [one for one in slices if one.image == pick.image and one.plane != pick.plane]
    others.sort(key=lambda one: (-doubtful(one), one.plane))
    return [pick.plane, *(one.plane for one in others)]
