"""Objects of committed planes, and their division into folds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from napari_scsam.core.labels import BACKGROUND, NOT_ANNOTATED
from napari_scsam.models import ClassPrior, EmbeddingCache, Moments, SamModel
from scsam_train.class_priors import fit_priors, prior_label
from scsam_train.embedded_views import label_canvas
from scsam_train.episodes import Embedded
from scsam_train.losses import IGNORE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from napari_scsam.core.arrays import LabelArray
    from scsam_train.data import TrainPlane

# On the grid of SAM's low-resolution masks; a smaller object can't be clicked reliably. Arbitrary.
MIN_PIXELS = 12
# A connected part of at least this share of the largest one is a separate object. Arbitrary.
PART = 0.25
# Folds of the cross-validation (docs/explanation/tuning.md). Arbitrary.
FOLDS = 3


@dataclass(frozen=True, eq=False)
class Clickable(Embedded):
    """An embedded plane with its objects.

    Attributes
    ----------
    plane : TrainPlane
    class_ids : tuple of N int
        Classes of the objects.
    moments : Moments
        Feature statistics of its classes, for the class prior.
    """

    plane: TrainPlane
    class_ids: tuple[int, ...]
    moments: Moments


def embed_planes(
    sam: SamModel, planes: Sequence[TrainPlane], cache: EmbeddingCache
) -> list[Clickable]:
    """Embed each plane once and find its objects; planes without objects are left out."""
    side = 4 * sam.entry.embedding_size
    shown = {int(value) for plane in planes for value in np.unique(plane.label)}
    found = []
    for plane in planes:
        label = label_canvas(plane.label, side)
        objects = targets_of(label)
        if objects:
            features: Tensor = cache.get_or_embed(sam, plane.pixels).features[0].cpu()
            class_ids, targets = zip(*objects, strict=True)
            stacked = torch.from_numpy(np.stack(targets))
            known = shown if plane.judged is None else plane.judged
            moments = Moments.of(features, prior_label(torch.from_numpy(label), shown, known))
            half = features.half().contiguous()
            found.append(Clickable(half, stacked, plane, class_ids, moments))
    return found


def prior_of(corpus: Iterable[Clickable]) -> ClassPrior:
    """Fit the class prior on these planes."""
    return ClassPrior.fit(item.moments for item in corpus)


def with_priors(corpus: Sequence[Clickable]) -> list[Clickable]:
    """Add to each plane the class priors fitted on the others, as for a new plane."""
    cases = [item.plane.case for item in corpus]
    priors = fit_priors((item.moments for item in corpus), cases)[1]
    return [
        clickable
        for item, prior in zip(corpus, priors, strict=True)
        for clickable in with_prior([item], prior)
    ]


def with_prior(corpus: Sequence[Clickable], prior: ClassPrior) -> list[Clickable]:
    """Add to the planes the log-odds of `prior`, which was fitted without them."""
    return [
        replace(item, priors=tuple(_odds(prior, item, c) for c in item.class_ids))
        for item in corpus
    ]


def _odds(prior: ClassPrior, item: Clickable, class_id: int) -> Tensor | None:
    if not prior.knows(class_id):
        return None
    return prior.log_odds(item.features[None].float(), class_id)[0, 0]


def targets_of(label: LabelArray) -> list[tuple[int, NDArray[np.uint8]]]:
    """Return one target per class, or per large connected part of a class.

    Parameters
    ----------
    label : ndarray of shape (side, side), uint8
        0 background, class ids, 255 unknown.

    Returns
    -------
    list of (int, ndarray of shape (side, side), uint8)
        The class, and 0, 1, or 255 for unknown pixels. Other parts of the same class are unknown,
        since a click on one part may have meant all of them or only that part.
    """
    targets = []
    for class_id in np.unique(label):
        if class_id in (BACKGROUND, NOT_ANNOTATED):
            continue
        whole = label == class_id
        parts, count = ndimage.label(whole)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
        large = 1 + np.flatnonzero((sizes >= PART * sizes.max()) & (sizes >= MIN_PIXELS))
        for part in large:
            mask = whole if len(large) == 1 else parts == part
            target = np.where(label == NOT_ANNOTATED, IGNORE, mask).astype(np.uint8)
            target[whole & ~mask] = IGNORE
            targets.append((int(class_id), target))
    return targets


def folds(
    corpus: Sequence[Clickable],
) -> tuple[list[list[int]], Literal["cases", "slices"]]:
    """Divide planes into at most three folds, each held out once.

    Returns
    -------
    parts : list of list of int
        Indices into `corpus`. Whole cases if there are at least three; with fewer cases,
        neighbouring planes stay together, because they are nearly identical.
    unit : {'cases', 'slices'}
    """
    order = sorted(range(len(corpus)), key=lambda i: _place(corpus[i].plane))
    cases = sorted({item.plane.case for item in corpus})
    count = min(FOLDS, len(corpus))
    if len(cases) < FOLDS:
        return [list(map(int, part)) for part in np.array_split(order, count)], "slices"
    chunks = np.array_split(np.array(cases), count)
    held = [set(chunk.tolist()) for chunk in chunks]
    return [[i for i in order if corpus[i].plane.case in part] for part in held], "cases"


def _place(plane: TrainPlane) -> tuple[str, str, int, int]:
    return plane.case, plane.image, plane.axis, plane.index
