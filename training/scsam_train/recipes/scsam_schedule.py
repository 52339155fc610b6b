"""When the parts of a `scsam` round start, and how often they are repeated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scsam_train.recipe_context import RecipeContext

# Fraction of a round in which SAM is trained alone, without and with class priors. With few labels
# it is soon better than a U-Net from scratch (docs/results/probes.md), and sooner with priors. The
# values are arbitrary.
LEAD, LEAD_WITH_PRIORS = 0.1, 0.05
# Steps of the U-Net for one step of SAM, beside a U-Net from scratch and beside a pretrained one,
# which needs fewer steps in all. Arbitrary.
SAM_EVERY, SAM_EVERY_PRETRAINED = 8, 3
# Pseudo-labels of SAM get their full weight after so many leads, beside a U-Net from scratch.
# Arbitrary.
RAMP_IN_LEADS = 3
# Fraction of a round after which there are pseudo-labels beside a pretrained U-Net. Until then both
# networks are trained on labels, and SAM to correct the U-Net. With pseudo-labels from 5 % on, by
# SAM's class tokens, the Dice of the U-Net was .82 instead of .86 (docs/results/rounds.md).
REFINES_FROM = 0.35


@dataclass(frozen=True)
class Schedule:
    """The parts of a round, as fractions 0..1 of it.

    Attributes
    ----------
    lead : float
        Until then SAM is trained alone. 0 in a round that continues from an earlier one.
    predicts_from : float
        From then on SAM's teacher predicts the unlabelled planes.
    ramp : float
        From then on pseudo-labels have their full weight.
    sam_every : int
        Steps of the U-Net for one step of SAM.
    refines : bool
        Whether SAM's pseudo-labels are prompted by the U-Net's maps, instead of class tokens.
    """

    lead: float
    predicts_from: float
    ramp: float
    sam_every: int
    refines: bool

    @classmethod
    def of(cls, context: RecipeContext) -> Schedule:
        """Return the schedule of a round, by its U-Net, its parent and its class priors."""
        priors = context.class_priors
        usual = LEAD_WITH_PRIORS if priors is not None and priors.complete else LEAD
        lead = usual if context.fresh else 0.0
        if context.unet.kind == "scratch":
            return cls(lead, lead, RAMP_IN_LEADS * usual, SAM_EVERY, refines=False)
        refines = context.settings.without != "unet-to-sam"
        return cls(lead, REFINES_FROM, REFINES_FROM, SAM_EVERY_PRETRAINED, refines)
