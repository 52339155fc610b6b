"""Scores of the members of a pair on the tested cases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam import io
from napari_scsam.core.geometry import Plane
from napari_scsam.core.windows import AUTO
from napari_scsam.models import Pair, evaluate, open_cache
from scsam_train.benchmark.embedded import CACHE_GB

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from scsam_train.benchmark.semi_sets import Member, SemiSet

MEASURES = ("dice", "iou", "hd95", "assd")
# Predictions of a round, in the order of tables; not every round has all of them.
COLUMNS = ("unet", "sam", "prompted", "pair")


def choosing_members(chosen: SemiSet, test: Sequence[Member], seed: int) -> list[Member]:
    """Draw the tested members that choose the weights and the best member of a pair."""
    cases = np.random.default_rng([seed, 7]).permutation(sorted({m.case for m in test})).tolist()
    drawn = set(cases[: max(1, round(chosen.to_choose * len(cases)))])
    return [member for member in test if member.case in drawn]


def score(
    models: Pair, chosen: SemiSet, members: Sequence[Member], cache: Path | None
) -> dict[str, Any]:
    """Return the measures of `evaluate` by case, image, member of the pair and class.

    `cache` contains SAM's embeddings; None for models that need none.
    """
    found: dict[str, Any] = {case: {} for case in sorted({member.case for member in members})}
    for member in members:
        found[member.case][member.name] = _score_image(models, chosen, member, cache)
    return found


def with_choice(found: dict[str, Any], choosing: Sequence[Member]) -> dict[str, Any]:
    """Choose the best member on some cases, and report the others.

    Returns
    -------
    dict
        ``cases``, ``chosen_by`` (the choosing cases), ``best`` (the member with the best Dice on
        them) and ``dice`` (by member, the mean over the other cases).
    """
    to_choose = sorted({member.case for member in choosing})
    by_choice = mean_dice(found, to_choose)
    return {
        "cases": found,
        "chosen_by": to_choose,
        "best": max(by_choice, key=lambda member: by_choice[member]),
        "dice": mean_dice(found, reported({"cases": found, "chosen_by": to_choose})),
    }


def reported(run: dict[str, Any]) -> list[str]:
    """Return the cases that nothing was chosen on."""
    return sorted(set(run["cases"]) - set(run["chosen_by"]))


def mean_dice(found: dict[str, Any], cases: Sequence[str]) -> dict[str, float]:
    """Return mean Dice by member: over classes, then the images of a case, then cases."""
    values: dict[str, list[float]] = {}
    for case in cases:
        per_image: dict[str, list[float]] = {}
        for scores in found[case].values():
            for member, classes in scores.items():
                mean = np.mean([measures["dice"] for measures in classes.values()])
                per_image.setdefault(member, []).append(float(mean))
        for member, image_means in per_image.items():
            values.setdefault(member, []).append(float(np.mean(image_means)))
    return {member: float(np.mean(means)) for member, means in values.items()}


def _score_image(
    models: Pair, chosen: SemiSet, member: Member, cache: Path | None
) -> dict[str, Any]:
    truth = io.read_labels(member.mask, like=io.read_volume(member.image))
    truth = truth.reshape(-1, *truth.shape[-2:]).astype(np.uint8)
    planes = _label_maps(models, member, cache)
    scores = {}
    for which in next((found for found in planes if found), dict.fromkeys(models.trained)):
        guess = np.stack(
            [
                np.zeros_like(true) if found is None else found[which]
                for found, true in zip(planes, truth, strict=True)
            ]
        )
        whole = (guess[0], truth[0]) if len(guess) == 1 else (guess, truth)
        result = evaluate(*whole, class_names=chosen.classes)
        scores[which] = {
            one.name: {name: getattr(one, name) for name in MEASURES} for one in result.classes
        }
    return scores


def _label_maps(
    models: Pair, member: Member, cache: Path | None
) -> list[dict[str, NDArray[np.uint8]] | None]:
    """Return label maps of each plane by member; None for a constant plane, i.e. background."""
    store = None if cache is None else open_cache(cache, memory_items=1, max_gb=CACHE_GB)
    ids = np.array([0, *models.class_ids], np.uint8)
    volume = io.read_volume(member.image)
    maps: list[dict[str, NDArray[np.uint8]] | None] = []
    for index in range(volume.plane_count()):
        place = Plane(0, index)
        pixels = np.array(volume.plane(place))
        if pixels.min() == pixels.max():
            maps.append(None)
            continue
        embedding = None if store is None else store.get_or_embed(models.sam, pixels)
        found = models.members(pixels, embedding, AUTO.around(volume, place))
        if len(models.trained) == 1:  # the pair is that member
            del found["pair"]
        maps.append({which: ids[each.argmax(0)] for which, each in found.items()})
    return maps
