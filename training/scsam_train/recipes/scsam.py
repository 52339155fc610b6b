"""SC-SAM, corrected: U-Net and SAM are trained on labels and on pseudo-labels from both.

SC-SAM (arXiv 2601.17934) with the agreement weighting of SynFoC (arXiv 2503.16997): the more U-Net
and SAM agree on a plane, the higher the weight of the U-Net in its pseudo-label. Where they
disagree, SynFoC lets the foundation model decide. So does this recipe beside a U-Net from scratch,
once SAM's class tokens are trained; until then the one that is better on labelled planes has the
higher weight. Beside a pretrained U-Net, SAM is prompted by the U-Net's maps, and both have equal
weights.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from scsam_train.batches import Batch, BatchSampler, SupervisedLoss
from scsam_train.cutmix import cutmix
from scsam_train.pseudo import of_trusted
from scsam_train.recipe_context import RecipeContext, StepReport
from scsam_train.recipes.scsam_schedule import Schedule
from scsam_train.recipes.scsam_teachers import AT_ONCE, Teachers
from scsam_train.sam_objects import MIN_WEIGHT
from scsam_train.schedules import ramp
from scsam_train.students import UNetStudent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_scsam.models import Partner

# Pseudo-labelled pictures that the U-Net is trained on for each plane that SAM's teacher predicts
# anew, and steps between evaluations of both teachers on a labelled plane. Arbitrary.
PICTURES_PER_PREDICTION, EVALUATION_EVERY = 32, 24
# Fraction of the round after SAM's lead from which the U-Net's pseudo-labels for SAM have their
# full weight. Arbitrary.
RAMP_TO_SAM = 0.5


class ScSam:
    """Teachers predict the weak view, students are trained on a strong view of the same geometry.

    The teachers are moving averages. First SAM alone is trained, on labels and mostly by class
    tokens. Then its teacher predicts every unlabelled plane once, by class tokens or, beside a
    pretrained U-Net, prompted by the U-Net's maps. From then on both networks are trained on labels
    and on pseudo-labels from both.
    """

    members: ClassVar[tuple[str, ...]] = ("unet", "sam")
    uses_unlabelled: ClassVar[bool] = True
    from_scratch: ClassVar[bool] = False
    partner: ClassVar[Partner] = "prompted"

    def __init__(self, context: RecipeContext) -> None:
        self._context, self._schedule = context, Schedule.of(context)
        self._unet = UNetStudent(context.unet.network, context)
        self._teachers = Teachers(context, self._unet, refines=self._schedule.refines)
        self._sam = self._teachers.sam
        self._sampler, self._supervised_loss = BatchSampler(context), SupervisedLoss(context)
        self._step = self._shown = 0

    def step(self, fraction: float) -> StepReport:
        """Take one step; see `Recipe.step`."""
        pictures, teachers, settings = 0, self._teachers, self._context.settings
        if fraction < self._schedule.lead:
            self._sam.update(fraction)
            pictures = settings.labelled_batch + settings.unlabelled_batch
        elif teachers.predicted < len(teachers.pseudo) and fraction >= self._schedule.predicts_from:
            teachers.predict_next(AT_ONCE)
        else:
            pictures = self._train(fraction)
        self._step += 1
        return StepReport(self._unet.loss, self._sam.loss, teachers.pseudo.agreement, pictures)

    def _train(self, fraction: float) -> int:
        """Train both networks, and return the number of pictures that the U-Net was trained on."""
        teachers, lead = self._teachers, self._schedule.lead
        since = teachers.fraction = (fraction - lead) / (1 - lead)
        teachers.predict_next(self._due(since))
        if self._step % EVALUATION_EVERY == 0 or not teachers.evaluated:
            teachers.evaluate_next()
        reliability = teachers.reliability
        sam_learns_from_unet = self._context.settings.without != "unet-to-sam"
        if sam_learns_from_unet:
            teachers.keep_early_maps()
        pictures = self._update_unet(since, ramp(fraction, self._schedule.ramp) * reliability)
        if self._step % self._schedule.sam_every == 0:
            weights = ramp(since, RAMP_TO_SAM) * reliability
            self._sam.update(fraction, weights if sam_learns_from_unet else None)
        return pictures

    def _due(self, fraction: float) -> int:
        """Return how many unlabelled planes are predicted anew in this step."""
        if not self._teachers.predicted:
            return 0
        before = self._shown
        self._shown += self._context.pictures_at(fraction, self._context.settings.unlabelled_batch)
        return self._shown // PICTURES_PER_PREDICTION - before // PICTURES_PER_PREDICTION

    def _update_unet(self, fraction: float, reliability: NDArray[np.float64]) -> int:
        """Train the U-Net for one step, and return the number of pictures.

        Until the pseudo-labels of any class are reliable, labelled planes take their place.
        """
        settings = self._context.settings
        own = self._context.pictures_at(fraction, settings.labelled_batch)
        unlabelled = self._context.pictures_at(fraction, settings.unlabelled_batch)
        ready = self._teachers.pseudo.ready
        if not len(ready) or reliability.max() < MIN_WEIGHT:
            own, unlabelled = own + unlabelled, 0
        batch = self._sampler.labelled(own, self._step, fraction)
        if unlabelled:
            batch = batch + self._pseudo_labelled(ready, unlabelled, reliability, fraction)
        size = len(batch)
        batch = batch.part(self._context.world.part(size))
        logits = self._unet(batch.images, batch.sam)
        loss = self._supervised_loss(logits, batch, fraction, size)
        self._unet.learn(loss, fraction, batch.names)
        return size

    def _pseudo_labelled(
        self,
        ready: NDArray[np.int64],
        count: int,
        reliability: NDArray[np.float64],
        fraction: float,
    ) -> Batch:
        """Draw pseudo-labelled planes with the reliable classes, each weighted by its reliability.

        Pixels of other classes are ignored. A background pixel may belong to one of them: it only
        means that the pixel belongs to no reliable class.
        """
        reliable = reliability >= MIN_WEIGHT
        known = torch.from_numpy(np.where(reliable, reliability, 0.0) / reliability.max()).float()
        chosen = self._sampler.choose_unlabelled(ready, count, self._step)
        side = self._context.side_at(fraction)
        labels = of_trusted(self._teachers.pseudo.label_maps(chosen, side), reliable)
        weight = float(reliability.max())
        batch = self._sampler.unlabelled(
            chosen, labels, weight, self._step, fraction, known, distorted=True
        )
        return cutmix(batch, np.random.default_rng([self._context.settings.seed, 60, self._step]))

    @contextmanager
    def teachers_in_place(self) -> Iterator[None]:
        """Load the teachers' weights into both networks inside the block."""
        with (
            self._unet.teacher.in_place(),
            self._sam.teacher.in_place(),
            self._context.unet_at(self._teachers.fraction),
        ):
            yield

    def finish(self) -> None:
        """Load the teachers' weights into both networks for good."""
        self._unet.teacher.copy_to_network()
        self._sam.teacher.copy_to_network()

    def state(self) -> dict[str, Any]:
        """Return everything that is needed to resume."""
        teachers = self._teachers
        counts = [self._step, teachers.predicted, teachers.evaluated]
        return {
            "unet": self._unet.state(),
            **teachers.state(),
            "counts": [*counts, self._shown, teachers.kept_early],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a saved `state`."""
        teachers = self._teachers
        self._unet.restore(state["unet"])
        teachers.restore(state)
        self._step, teachers.predicted, teachers.evaluated, self._shown, teachers.kept_early = (
            state["counts"]
        )
