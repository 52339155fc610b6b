"""A baseline: SAM trained on labels alone, with class tokens, clicks and boxes as prompts."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from scsam_train.recipe_context import RecipeContext, StepReport
from scsam_train.sam_student import SamStudent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_scsam.models import Partner


class SamOnly:
    """SAM on labelled planes; no prompt comes from a U-Net."""

    members: ClassVar[tuple[str, ...]] = ("sam",)
    uses_unlabelled: ClassVar[bool] = False
    from_scratch: ClassVar[bool] = False
    partner: ClassVar[Partner] = "sam"

    def __init__(self, context: RecipeContext) -> None:
        self._student, self._size = SamStudent(context), context.settings.sam_batch

    def step(self, fraction: float) -> StepReport:
        """Take one step; see `Recipe.step`."""
        self._student.update(fraction)
        return StepReport(loss_sam=self._student.loss, pictures=self._size)

    @contextmanager
    def teachers_in_place(self) -> Iterator[None]:
        """Load the average into SAM inside the block."""
        with self._student.teacher.in_place():
            yield

    def finish(self) -> None:
        """Load the average into SAM for good."""
        self._student.teacher.copy_to_network()

    def state(self) -> dict[str, Any]:
        """Return everything that is needed to resume."""
        return {"student": self._student.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a saved `state`."""
        self._student.restore(state["student"])
