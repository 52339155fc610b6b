"""The teachers of `scsam`: moving averages of both networks, which predict pseudo-labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scsam_train.losses import likeliest
from scsam_train.pseudo import PseudoLabels
from scsam_train.refinement import EarlyMaps
from scsam_train.sam_student import SamStudent
from scsam_train.schedules import shrunk
from scsam_train.teacher_reliability import TeacherReliability

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scsam_train.recipe_context import RecipeContext
    from scsam_train.students import UNetStudent

# The weight of a U-Net from scratch in a pseudo-label is the agreement of the two to this power.
# With power 1, a pixel on which the U-Net is confident and wrong never gets a confident label, and
# the U-Net does not learn what it misses. The value is arbitrary.
AGREEMENT_POWER = 4
# SAM decides where the two disagree if its mean Dice on labelled planes is at least this; otherwise
# the weights follow the Dice of both. The U-Net's figure alone says little, because the U-Net has
# memorised these planes. Arbitrary.
FAIR_DICE = 0.5
# Equal weights beside a pretrained U-Net: U-Net weights of .3, .5 and .7 gave a Dice of .822, .822
# and .817 on Kvasir-SEG (docs/results/rounds.md).
EQUAL_WEIGHT = 0.5
# Planes that are predicted at a time, which limits the memory. Arbitrary.
AT_ONCE = 16
# Fractions of the round after which the U-Net's predictions for the labelled planes are kept for
# SAM to correct: early, while its errors there are similar to those on new planes. Arbitrary.
EARLY_AT = (0.1, 0.2, 0.35)


class Teachers:
    """Predicts pseudo-labels, and evaluates both teachers on labelled planes.

    Parameters
    ----------
    context : RecipeContext
    unet : UNetStudent
        Its moving average is the U-Net's teacher.
    refines : bool
        Whether SAM is prompted by the U-Net's maps, instead of class tokens.

    Attributes
    ----------
    pseudo : PseudoLabels
    sam : SamStudent
        Its moving average is SAM's teacher.
    predicted, evaluated, kept_early : int
        Numbers of SAM's predictions of unlabelled planes, of evaluations of labelled planes, and
        of times at which the U-Net's predictions were kept, so far.
    fraction : float
        Fraction of the round after SAM's lead, 0..1; it determines the U-Net's input size.
    """

    def __init__(self, context: RecipeContext, unet: UNetStudent, *, refines: bool) -> None:
        self._context, self._unet, self._refines = context, unet, refines
        usable = len(context.materials.unlabelled_features)
        valid = context.materials.unlabelled_valid[:usable]
        self.pseudo = PseudoLabels(valid, context.classes, self._unlabelled_maps, self._unet_weight)
        self._early = EarlyMaps()
        self.sam = SamStudent(context, self.pseudo, self._early)
        self._reliability = TeacherReliability(context.classes)
        self.fraction = 0.0
        self.predicted = self.evaluated = self.kept_early = 0

    @property
    def reliability(self) -> NDArray[np.float64]:
        """Expected Dice of the pseudo-labels by class, shape (K,), 0..1."""
        return self._reliability.reliability

    def predict_next(self, count: int) -> None:
        """Predict the next `count` unlabelled planes with SAM's teacher; the first follow the last.

        The predictions replace older ones of the same planes in `pseudo`.
        """
        total = len(self.pseudo)
        chosen = [(self.predicted + i) % total for i in range(min(count, total))]
        self.predicted += len(chosen)
        if not chosen:
            return
        features = [self._context.materials.unlabelled_features[i] for i in chosen]
        if self._refines:
            maps = self._full_size(self._unlabelled_maps(np.array(chosen)))
            found = self.sam.refined(features, maps)
        else:
            found = self.sam.predicted(features, self._side)
        for index, from_sam in zip(chosen, found, strict=True):
            self.pseudo.keep(index, from_sam)

    def keep_early_maps(self) -> None:
        """Keep the U-Net's predictions for the labelled planes at the fractions `EARLY_AT`.

        Not in a round that continues from an earlier one: its U-Net has memorised these planes.
        """
        if self.kept_early == len(EARLY_AT) or self.fraction < EARLY_AT[self.kept_early]:
            return
        self.kept_early += 1
        self._early.known = True
        if self._context.sam.adapts_encoder or not self._context.fresh:
            return
        count = len(self._context.materials.images)
        parts = [np.arange(count)[at : at + AT_ONCE] for at in range(0, count, AT_ONCE)]
        self._early.keep(torch.cat([self._full_size(self._labelled_maps(p)) for p in parts]))

    def evaluate_next(self) -> None:
        """Evaluate both teachers on the next labelled plane."""
        data = self._context.materials
        index = self.evaluated % len(data.views)
        self.evaluated += 1
        from_unet = self._full_size(self._labelled_maps(np.array([index])))
        from_sam = self.sam.predicted([data.views[index][0].features], self._side, index)
        truth, judged = data.labels[index].cpu().numpy(), data.judged[index].cpu().numpy()
        self._reliability.update(_label_map(from_unet), _label_map(from_sam), truth, judged)

    @property
    def _side(self) -> int:
        return self._context.materials.images.shape[-1]

    def _full_size(self, maps: Tensor) -> Tensor:
        return functional.interpolate(maps, (self._side, self._side), mode="bilinear")

    def _unlabelled_maps(self, indices: NDArray[np.int64]) -> Tensor:
        """Predict unlabelled planes with the U-Net's teacher; see `_maps`."""
        joined = self._context.sam_inputs
        features = None if joined is None else joined.unlabelled(indices)
        images = self._context.materials.unlabelled_images[torch.from_numpy(indices)]
        return self._maps(images, features)

    def _labelled_maps(self, indices: NDArray[np.int64]) -> Tensor:
        """Predict labelled planes with the U-Net's teacher; see `_maps`."""
        joined = self._context.sam_inputs
        features = None if joined is None else joined.labelled(indices)
        return self._maps(self._context.materials.images[torch.from_numpy(indices)], features)

    def _maps(self, images: Tensor, features: Tensor | None) -> Tensor:
        """Return probabilities (N, K + 1, t, t), where t is the present input size in training."""
        return self._unet.predicted(shrunk(images, self._context.side_at(self.fraction)), features)

    def _unet_weight(self, agreement: float) -> float:
        """Return the weight of the U-Net in a pseudo-label, 0..1."""
        without = self._context.settings.without
        if without == "sam-to-unet":
            return 1.0
        if self._refines or without == "agreement":
            return EQUAL_WEIGHT
        if self._reliability.means[1] >= FAIR_DICE:
            return agreement**AGREEMENT_POWER
        return agreement + (1 - agreement) * self._reliability.unet_share

    def state(self) -> dict[str, Any]:
        """Return SAM's state, the pseudo-labels, the reliability and the early maps; no counts."""
        return {
            "sam": self.sam.state(),
            "pseudo": self.pseudo.state(),
            "exam": self._reliability.state(),
            "early": self._early.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a saved `state`; the counts are restored by the recipe."""
        self.sam.restore(state["sam"])
        self.pseudo.restore(state["pseudo"])
        self._reliability.restore(state["exam"])
        self._early.restore(state["early"])


def _label_map(maps: Tensor) -> NDArray[np.int64]:
    """Return the label map (s, s) of probabilities (1, K + 1, s, s)."""
    found: NDArray[np.int64] = likeliest(maps)[0].cpu().numpy()
    return found
