"""The baseline: two U-Nets that take each other's answers for labels.

Chen et al., Semi-supervised semantic segmentation with cross pseudo supervision, CVPR 2021.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from napari_scsam.models import Partner, twin_network
from scsam_train.batches import Batch, BatchSampler, SupervisedLoss
from scsam_train.losses import likeliest_known
from scsam_train.recipe_context import RecipeContext, StepReport
from scsam_train.schedules import ramp
from scsam_train.students import UNetStudent

if TYPE_CHECKING:
    from collections.abc import Iterator

# Of the cross pseudo-labels beside the labels. With 1 two U-Nets from 40 labels confirm each
# other's mistakes: Dice falls as the weight rises (docs/results/rounds.md).
WEIGHT = 0.1


class Cps:
    """Two U-Nets with different initial weights on the same views; the first one is kept.

    Both have a pretrained encoder where one has, as in the paper: what differs is all that starts
    from random weights. A second one from scratch would be the weaker teacher by far.
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
        self._lessons, self._marker = BatchSampler(context), SupervisedLoss(context)
        self._own = context.settings.labelled_batch
        self._others = (
            context.settings.unlabelled_batch if len(context.materials.unlabelled_images) else 0
        )
        self._step, self._last = 0, 0.0

    def step(self, fraction: float) -> StepReport:
        """Take one step; see `Recipe.step`."""
        labelled = self._context.pictures_at(fraction, self._own)
        unlabelled = self._context.pictures_at(fraction, self._others)
        own = self._lessons.labelled(labelled, self._step, fraction)
        own = own.part(self._context.world.part(labelled))
        others = self._unlabelled(unlabelled, fraction)
        seen = own if others is None else own + others
        answers = [student(seen.images, seen.sam) for student in self._students]
        for at, student in enumerate(self._students):
            loss = self._marker(answers[at][: len(own)], own, fraction, labelled)
            if others is not None:
                other, known = answers[1 - at][len(own) :].detach(), self._context.materials.known
                from_other = likeliest_known(other, known).to(torch.uint8)
                labels = from_other.masked_fill(others.labels != 0, 255)
                taught = replace(others, labels=labels)
                crossed = self._marker(answers[at][len(own) :], taught, fraction, unlabelled)
                loss = loss + WEIGHT * ramp(fraction) * crossed
            student.learn(loss, fraction, own.names)
        self._step, self._last = self._step + 1, fraction
        return StepReport(loss_unet=self._students[0].loss, pictures=labelled + unlabelled)

    def _unlabelled(self, count: int, fraction: float) -> Batch | None:
        """Unlabelled planes; the labels say only where there is a picture (0) and not (255)."""
        if not count:
            return None
        data = self._context.materials
        everything = np.arange(len(data.unlabelled_images))
        chosen = self._lessons.choose_others(everything, count, self._step)
        valid = data.unlabelled_valid[torch.from_numpy(chosen)]
        unknown = torch.where(valid, 0, 255).to(torch.uint8)
        found = self._lessons.others(chosen, unknown, 1.0, self._step, fraction)
        return found.part(self._context.world.part(count))

    @contextmanager
    def teachers_in_place(self) -> Iterator[None]:
        """Have the networks hold their averages inside the block."""
        with ExitStack() as stack, self._context.unet_at(self._last):
            for student in self._students:
                stack.enter_context(student.teacher.in_place())
            yield

    def finish(self) -> None:
        """Leave the averages in the networks."""
        for student in self._students:
            student.teacher.copy_to_network()

    def state(self) -> dict[str, Any]:
        """All that a resumed round needs."""
        return {"students": [student.state() for student in self._students], "step": self._step}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a kept `state`."""
        for student, kept in zip(self._students, state["students"], strict=True):
            student.restore(kept)
        self._step = int(state["step"])
