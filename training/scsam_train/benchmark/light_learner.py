"""A learner on SAM's stored features that is fitted in a second, in place of a whole round."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_scsam import io
from napari_scsam.core.geometry import Plane
from napari_scsam.core.spread_slices import spread
from napari_scsam.models import (
    ClassPrior,
    Doubt,
    Moments,
    disagreements,
    doubts,
    load_feature_encoder,
    load_sam,
    open_cache,
)
from scsam_train.benchmark.embedded import CACHE_GB, cache_of
from scsam_train.embedded_views import label_canvas
from scsam_train.losses import IGNORE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from scsam_train.benchmark.semi_sets import Member

# Side of the grid that features are averaged to: a quarter of the cells of SAM's embedding, in a
# quarter of the time. Arbitrary.
CELLS = 32
# Values tried as temperature of the probabilities, and the one without a second labelled plane to
# choose it on. Arbitrary.
TEMPERATURES, DEFAULT_TEMPERATURE = (1.0, 2.0, 4.0, 8.0, 16.0), 4.0
# Shrinkage of the covariance: there are as few as two labelled planes. Arbitrary.
SHRINKAGE = 0.1


@dataclass(frozen=True, eq=False)
class LearnerPlane:
    """A plane with the features and the truth of each cell.

    Attributes
    ----------
    image, case : str
    index : int
        Slice number.
    features : Tensor of shape (D, c, c), float16
        SAM's embedding, averaged.
    label : Tensor of shape (c, c), uint8
        Class ids, 0 background, 255 in the padding.
    pooled : ndarray of shape (512,), float32
        Features of the whole plane for the ranking.
    """

    image: str
    case: str
    index: int
    features: Tensor
    label: Tensor
    pooled: np.ndarray[Any, np.dtype[np.float32]]

    @cached_property
    def moments(self) -> Moments:
        """Sums over its cells, for the fit."""
        return Moments.of(self.features.float(), self.label)


def read_planes(
    out: Path, members: Sequence[Member], on_done: Callable[[str], None]
) -> list[LearnerPlane]:
    """Read planes, with embeddings from the cache of `out`; constant planes are left out."""
    sam = load_sam(device="cpu")
    store = open_cache(cache_of(out), memory_items=1, max_gb=CACHE_GB)
    encoder = load_feature_encoder("cpu")
    planes: list[LearnerPlane] = []
    for number, member in enumerate(members):
        if number % 100 == 0:
            on_done(f"{number} of {len(members)} images read")
        volume = io.read_volume(member.image)
        truth = io.read_labels(member.mask, like=volume)
        truth = truth.reshape(-1, *truth.shape[-2:]).astype(np.uint8)
        for index in spread(range(volume.plane_count())):
            pixels = np.array(volume.plane(Plane(0, index)))
            if pixels.min() == pixels.max():
                continue
            features = store.get_or_embed(sam, pixels).features
            planes.append(
                LearnerPlane(
                    member.name,
                    member.case,
                    index,
                    functional.adaptive_avg_pool2d(features[0].float(), CELLS).half(),
                    torch.from_numpy(label_canvas(truth[index], CELLS)),
                    encoder.features(pixels),
                )
            )
    return planes


@dataclass(frozen=True, eq=False)
class LightLearner:
    """Linear discriminants on SAM's features (`ClassPrior`), in place of U-Net and SAM.

    Attributes
    ----------
    whole : ClassPrior
        Sees all channels.
    halves : tuple of two ClassPrior
        See the even and the odd channels: two members that can disagree.
    class_ids : tuple of int
    temperature : float
        Divides the log-odds, which are overconfident.
    """

    whole: ClassPrior
    halves: tuple[ClassPrior, ClassPrior]
    class_ids: tuple[int, ...]
    temperature: float = field(default=DEFAULT_TEMPERATURE)

    @staticmethod
    def fit(planes: Sequence[LearnerPlane], class_ids: Sequence[int]) -> LightLearner:
        """Fit it on labelled planes.

        The temperature is the one with the highest likelihood of every second plane, given a fit
        on the others.
        """
        total = [plane.moments for plane in planes]
        halves = tuple(
            ClassPrior.fit([_channels(Moments.sum(total), start)], SHRINKAGE) for start in (0, 1)
        )
        whole = ClassPrior.fit(total, SHRINKAGE)
        ids = tuple(class_ids)
        learner = LightLearner(whole, (halves[0], halves[1]), ids)
        if len(planes) < 2:
            return learner
        half = LightLearner(ClassPrior.fit(total[::2], SHRINKAGE), learner.halves, ids)
        best = min(TEMPERATURES, key=lambda t: half.at(t).surprise(planes[1::2]))
        return learner.at(best)

    def at(self, temperature: float) -> LightLearner:
        """Return the same learner with another temperature."""
        return LightLearner(self.whole, self.halves, self.class_ids, temperature)

    def probabilities(self, plane: LearnerPlane) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return probabilities (K + 1, c, c), background first."""
        return self._probabilities(self.whole, plane.features.float())

    def doubts(self, plane: LearnerPlane) -> dict[int, Doubt]:
        """Return entropy, expected Dice and disagreement by class, as the ranking measures them."""
        rows, cols = _inside(plane)
        found = doubts(self.probabilities(plane)[:, :rows, :cols], self.class_ids)
        features = plane.features.float()
        one, other = (
            self._probabilities(half, features[start::2])[:, :rows, :cols]
            for start, half in enumerate(self.halves)
        )
        apart = disagreements(one, other, self.class_ids)
        return {c: Doubt(d.entropy, d.dice, apart[c]) for c, d in found.items()}

    def surprise(self, planes: Sequence[LearnerPlane]) -> float:
        """Return the mean negative log-likelihood of the planes' labels."""
        values = []
        for plane in planes:
            known = plane.label.numpy() != IGNORE
            position = np.zeros(256, int)
            position[list(self.class_ids)] = np.arange(1, len(self.class_ids) + 1)
            truth = position[plane.label.numpy()][None]
            chosen = np.take_along_axis(self.probabilities(plane), truth, 0)[0][known]
            values.append(float(-np.log(chosen.clip(1e-6)).mean()))
        return float(np.mean(values))

    def _probabilities(
        self, prior: ClassPrior, features: Tensor
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        known = [c for c in self.class_ids if prior.knows(c)]
        maps = np.zeros((len(self.class_ids) + 1, *features.shape[1:]), np.float32)
        if known:
            odds = prior.cell_log_odds(features[None], known)[0] / self.temperature
            for class_id, one in zip(known, odds.sigmoid().numpy(), strict=True):
                maps[self.class_ids.index(class_id) + 1] = one
        # One against all others: together the classes may claim more than everything.
        maps[1:] /= maps[1:].sum(0).clip(1.0)
        maps[0] = 1 - maps[1:].sum(0)
        return maps


def mean_dice(learner: LightLearner, planes: Sequence[LearnerPlane]) -> float:
    """Return mean Dice over classes and images, on cells; absent and not predicted counts as 1."""
    sums: dict[tuple[str, int], list[float]] = {}
    for plane in planes:
        winner = learner.probabilities(plane).argmax(0)
        known = plane.label.numpy() != IGNORE
        for position, class_id in enumerate(learner.class_ids, start=1):
            truth, mask = plane.label.numpy() == class_id, (winner == position) & known
            pair = sums.setdefault((plane.image, class_id), [0.0, 0.0])
            pair[0] += 2.0 * float((truth & mask).sum())
            pair[1] += float(truth.sum() + mask.sum())
    return float(np.mean([shared / total if total else 1.0 for shared, total in sums.values()]))


def _channels(moments: Moments, start: int) -> Moments:
    """Return the moments of every second channel."""
    return Moments(
        {
            c: (count, first[start::2].clone(), second[start::2, start::2].clone())
            for c, (count, first, second) in moments.by_class.items()
        }
    )


def _inside(plane: LearnerPlane) -> tuple[int, int]:
    """Return the rows and columns that are not padding."""
    known = plane.label.numpy() != IGNORE
    return int(known.any(1).sum()), int(known.any(0).sum())
