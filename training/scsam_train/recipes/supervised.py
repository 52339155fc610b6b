"""The baseline: a U-Net trained on labels alone."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from scsam_train.batches import BatchSampler, SupervisedLoss
from scsam_train.recipe_context import RecipeContext, StepReport
from scsam_train.students import UNetStudent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_scsam.models import Partner


class Supervised:
    """A U-Net on labelled planes; a batch is as large as both batches of other recipes."""

    members: ClassVar[tuple[str, ...]] = ("unet",)
    uses_unlabelled: ClassVar[bool] = False
    from_scratch: ClassVar[bool] = False
    partner: ClassVar[Partner] = "sam"

    def __init__(self, context: RecipeContext) -> None:
        self._context = context
        self._student = UNetStudent(context.unet.network, context)
        self._sampler, self._supervised_loss = BatchSampler(context), SupervisedLoss(context)
        self._size = context.settings.labelled_batch + context.settings.unlabelled_batch
        self._step, self._last = 0, 0.0

    def step(self, fraction: float) -> StepReport:
        """Take one step; see `Recipe.step`."""
        size = self._context.pictures_at(fraction, self._size)
        batch = self._sampler.labelled(size, self._step, fraction).part(
            self._context.world.part(size)
        )
        loss = self._supervised_loss(self._student(batch.images, batch.sam), batch, fraction, size)
        self._student.learn(loss, fraction, batch.names)
        self._step, self._last = self._step + 1, fraction
        return StepReport(loss_unet=self._student.loss, pictures=size)

    @contextmanager
    def teachers_in_place(self) -> Iterator[None]:
        """Load the average into the network inside the block."""
        with self._student.teacher.in_place(), self._context.unet_at(self._last):
            yield

    def finish(self) -> None:
        """Load the average into the network for good."""
        self._student.teacher.copy_to_network()

    def state(self) -> dict[str, Any]:
        """Return everything that is needed to resume."""
        return {"student": self._student.state(), "step": self._step}

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a saved `state`."""
        self._student.restore(state["student"])
        self._step = int(state["step"])
