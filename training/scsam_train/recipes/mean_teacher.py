"""A baseline: a U-Net with a consistency loss to its own moving average on unlabelled planes.

Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017 (arXiv 1703.01780). The
student gets a strong view, the teacher a weak one of the same geometry.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch

from scsam_train.augment import Augmenter
from scsam_train.recipe_context import RecipeContext, StepReport
from scsam_train.recipes.supervised import Supervised
from scsam_train.sam_inputs import dropped
from scsam_train.schedules import ramp, shrunk, shrunk_labels

# Weight of the consistency loss relative to the supervised loss. Arbitrary.
WEIGHT = 10.0
# Stream of the random draws of views; any number that no other augmenter uses.
_STREAM = 5


class MeanTeacher(Supervised):
    """The supervised loss, plus the mean squared error to the teacher's probabilities."""

    uses_unlabelled: ClassVar[bool] = True
    from_scratch: ClassVar[bool] = False

    def __init__(self, context: RecipeContext) -> None:
        super().__init__(context)
        self._size = context.settings.labelled_batch
        self._unlabelled = (
            context.settings.unlabelled_batch if len(context.materials.unlabelled_images) else 0
        )
        self._augmenter = Augmenter(context.settings, _STREAM)

    def step(self, fraction: float) -> StepReport:
        """Take one step; see `Recipe.step`."""
        student, world = self._student, self._context.world
        labelled = self._context.pictures_at(fraction, self._size)
        unlabelled = self._context.pictures_at(fraction, self._unlabelled)
        batch = self._sampler.labelled(labelled, self._step, fraction)
        batch = batch.part(world.part(labelled))
        images, sam = batch.images, batch.sam
        consistency = torch.zeros((), device=student.device)
        if unlabelled:
            own = world.part(unlabelled)
            *views, maps = self._views(unlabelled, fraction)
            weak, strong, known = (view[own] for view in views)
            images = torch.cat([images, strong])
            maps = None if maps is None else maps[own]
            target = student.predicted(weak, maps)
            if sam is not None and maps is not None:
                sam = torch.cat([sam, dropped(maps, self._rng())])
        logits = student(images, sam)
        if unlabelled:
            distance = (logits[len(batch) :].softmax(1) - target).square().mean(1)
            consistency = (distance * known).mean() * len(weak) / unlabelled
        loss = self._supervised_loss(logits[: len(batch)], batch, fraction, labelled)
        student.learn(loss + WEIGHT * ramp(fraction) * consistency, fraction, batch.names)
        self._step, self._last = self._step + 1, fraction
        return StepReport(loss_unet=student.loss, pictures=labelled + unlabelled)

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng([self._context.settings.seed, 50, self._step])

    def _views(self, count: int, fraction: float) -> tuple[Any, Any, Any, Any]:
        """Draw `count` unlabelled planes.

        Returns
        -------
        weak, strong : Tensor of shape (count, 3, s, s), float32
            Two views of the same geometry.
        known : Tensor of shape (count, s, s), float32
            1 in the picture, 0 in the padding.
        maps : Tensor of shape (count, D + K, e, e), float32, or None
            SAM's features of the views; None for a U-Net of pixels alone.
        """
        data, joined = self._context.materials, self._context.sam_inputs
        everything = np.arange(len(data.unlabelled_images))
        drawn = self._sampler.choose_unlabelled(everything, count, self._step)
        chosen = torch.from_numpy(drawn)
        unknown = torch.where(data.unlabelled_valid[chosen], 0, 255).to(torch.uint8)
        side = self._context.side_at(fraction)
        images = shrunk(data.unlabelled_images[chosen], side)
        weak, label = self._augmenter.move(images, shrunk_labels(unknown, side), self._step)
        maps = None if joined is None else self._augmenter.carry(joined.unlabelled(drawn))
        return weak, self._augmenter.strong(weak, self._step), (label == 0).float(), maps
