"""A baseline: two U-Nets, each trained on the predictions of the other as pseudo-labels.

Chen et al., "Semi-supervised semantic segmentation with cross pseudo supervision", CVPR 2021
(arXiv 2106.01226).
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from napari_scsam.models import Partner, twin_network
from scsam_train.batches import Batch, BatchSampler, SupervisedLoss
from scsam_train.losses import IGNORE, likeliest_known
from scsam_train.recipe_context import RecipeContext, StepReport
from scsam_train.schedules import ramp
from scsam_train.students import UNetStudent

if TYPE_CHECKING:
    from collections.abc import Iterator

# Weight of the loss on pseudo-labels relative to that on labels. With 1, two U-Nets trained on 40
# labels confirm each other's mistakes: Dice falls as the weight rises (docs/results/rounds.md).
WEIGHT = 0.1


class Cps:
    """Two U-Nets with different initial weights on the same views; the first one is kept.

    Both have a pretrained encoder, or neither, as in the paper: only the randomly initialised
    weights differ. Beside a pretrained U-Net, one from scratch would be a much weaker teacher.
    """

    members: ClassVar[tuple[str, ...]] = ("unet",)
    uses_unlabelled: ClassVar[bool] = True
    from_scratch: ClassVar[bool] = False
    partner: ClassVar[Partner] = "sam"

    def __init__(self, context: RecipeContext) -> None:
        self._context = context
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.settings.seed + 1)
            second = twin_network(context.unet.network).to(context.unet.device)
        self._students = [
            UNetStudent(network, context) for network in (context.unet.network, second)
        ]
        self._sampler, self._supervised_loss = BatchSampler(context), SupervisedLoss(context)
        self._labelled_batch = context.settings.labelled_batch
        self._unlabelled_batch = (
            context.settings.unlabelled_batch if len(context.materials.unlabelled_images) else 0
        )
        self._step, self._last = 0, 0.0

    def step(self, fraction: float) -> StepReport:
        """Take one step; see `Recipe.step`."""
        labelled = self._context.pictures_at(fraction, self._labelled_batch)
        unlabelled = self._context.pictures_at(fraction, self._unlabelled_batch)
        own = self._sampler.labelled(labelled, self._step, fraction)
        own = own.part(self._context.world.part(labelled))
        extra = self._unlabelled(unlabelled, fraction)
        seen = own if extra is None else own + extra
        logits = [student(seen.images, seen.sam) for student in self._students]
        for at, student in enumerate(self._students):
            loss = self._supervised_loss(logits[at][: len(own)], own, fraction, labelled)
            if extra is not None:
                other, known = logits[1 - at][len(own) :].detach(), self._context.materials.known
                from_other = likeliest_known(other, known).to(torch.uint8)
                labels = from_other.masked_fill(extra.labels != 0, IGNORE)
                pseudo = replace(extra, labels=labels)
                crossed = self._supervised_loss(
                    logits[at][len(own) :], pseudo, fraction, unlabelled
                )
                loss = loss + WEIGHT * ramp(fraction) * crossed
            student.learn(loss, fraction, own.names)
        self._step, self._last = self._step + 1, fraction
        return StepReport(loss_unet=self._students[0].loss, pictures=labelled + unlabelled)

    def _unlabelled(self, count: int, fraction: float) -> Batch | None:
        """Draw `count` unlabelled planes; labels are 0 in the picture and 255 in the padding."""
        if not count:
            return None
        data = self._context.materials
        everything = np.arange(len(data.unlabelled_images))
        chosen = self._sampler.choose_unlabelled(everything, count, self._step)
        valid = data.unlabelled_valid[torch.from_numpy(chosen)]
        unknown = torch.where(valid, 0, IGNORE).to(torch.uint8)
        found = self._sampler.unlabelled(chosen, unknown, 1.0, self._step, fraction)
        return found.part(self._context.world.part(count))

    @contextmanager
    def teachers_in_place(self) -> Iterator[None]:
        """Load the averages into the networks inside the block."""
        with ExitStack() as stack, self._context.unet_at(self._last):
            for student in self._students:
                stack.enter_context(student.teacher.in_place())
            yield

    def finish(self) -> None:
        """Load the averages into the networks for good."""
        for student in self._students:
            student.teacher.copy_to_network()

    def state(self) -> dict[str, Any]:
        """Return everything that is needed to resume."""
        return {"students": [student.state() for student in self._students], "step": self._step}

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a saved `state`."""
        for student, kept in zip(self._students, state["students"], strict=True):
            student.restore(kept)
        self._step = int(state["step"])
