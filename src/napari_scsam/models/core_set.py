"""The ranking strategy `core-set`: the labelled slices represent all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.models.groups import DECIMALS, group_count, grouped
from napari_scsam.models.picks import Labelled, OpenSlice, Pick, rank, stacked_features
from napari_scsam.models.reasons import group_text

if TYPE_CHECKING:
    from collections.abc import Sequence


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
    features = stacked_features(slices)
    every = features if known is None else np.concatenate([features, known])
    groups, distances = grouped(every, group_count(len(every)))
    count = len(slices)
    sizes = np.bincount(groups[:count], minlength=int(groups.max()) + 1)
    served = np.bincount(groups[count:], minlength=len(sizes))
    labelled_before = served.copy()
    near = distances.round(DECIMALS)
    order = sorted(range(count), key=lambda i: (near[i], slices[i].image, slices[i].plane))
    picks: dict[str, Pick] = {}
    for i in order:
        one, group = slices[i], int(groups[i])
        if one.image in picks:
            continue
        score = float(sizes[group] / count / (2 * served[group] + 1))
        reason = group_text(sizes[group] / count, labelled_before[group], known is not None)
        picks[one.image] = Pick(one.image, one.plane, score, reason, "core-set")
        served[group] += 1
    return sorted(picks.values(), key=rank)
