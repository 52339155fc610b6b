"""What a recipe is built from, and the interface that it offers to the training loop."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from napari_scsam.core.errors import ScsamError
from scsam_train.class_priors import ClassPriors
from scsam_train.sam_inputs import SamInputs
from scsam_train.schedules import pictures_at, side_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_scsam.core.settings import TrainSettings
    from napari_scsam.models import Partner, SamModel, UNet
    from scsam_train.distributed import World
    from scsam_train.embedded_views import Materials


class Diverged(ScsamError):
    """A loss or gradient is not finite; the weights were not changed."""


@dataclass(frozen=True, eq=False)
class RecipeContext:
    """Everything that a recipe is built from.

    Attributes
    ----------
    unet : UNet
    sam : SamModel
        Adapted SAM; its embeddings are cached unless the encoder is trained.
    materials : Materials
    settings : TrainSettings
    world : World
    fresh : bool
        Whether both networks are newly initialised instead of loaded from an earlier round.
    scores : dict
        Latest Dice on held-out planes by member and class. Empty before the first evaluation and
        if nothing is held out.
    """

    unet: UNet
    sam: SamModel
    materials: Materials
    settings: TrainSettings
    world: World
    fresh: bool = True
    scores: dict[str, dict[str, float | None]] = field(default_factory=dict)

    @property
    def classes(self) -> int:
        """Number of foreground classes, K."""
        return len(self.unet.class_ids)

    @cached_property
    def class_priors(self) -> ClassPriors | None:
        """Class priors for SAM; None if the encoder is trained or the settings disable them."""
        if self.sam.adapts_encoder or self.settings.without == "prior":
            return None
        return ClassPriors.of(self.materials.views, self.materials.cases, self.materials.judged)

    @cached_property
    def sam_inputs(self) -> SamInputs | None:
        """SAM features for the U-Net; None for a U-Net that gets pixels alone."""
        if not (self.unet.sees_sam and self.materials.views):
            return None
        return SamInputs(self.materials, self.class_priors, self.classes)

    def pictures_at(self, fraction: float, count: int) -> int:
        """Return the batch size at `fraction` of the round, for `count` pictures of full size."""
        return pictures_at(fraction, count, self._side) if self._grows else count

    def side_at(self, fraction: float) -> int:
        """Return the side of the U-Net's input at `fraction` of the round.

        It grows for a U-Net trained from scratch, which needs many samples. A pretrained encoder
        does worse on small inputs: after 800 and 1,600 pictures Dice is 0.72 and 0.78 if the first
        third is seen at half of 128 px, and 0.78 and 0.81 otherwise (Kvasir-SEG, one seed).
        """
        return side_at(fraction, self._side) if self._grows else self._side

    @property
    def _side(self) -> int:
        return self.materials.images.shape[-1]

    @property
    def _grows(self) -> bool:
        return self.unet.kind == "scratch"

    @contextmanager
    def unet_at(self, fraction: float) -> Iterator[None]:
        """Run the U-Net at the input size of this fraction of the round, inside the block."""
        size = self.unet.image_size
        self.unet.image_size = self.side_at(fraction)
        try:
            yield
        finally:
            self.unet.image_size = size


@dataclass(frozen=True)
class StepReport:
    """Figures of one training step.

    Attributes
    ----------
    loss_unet, loss_sam : float or None
        Latest losses; not every step trains both networks. None before the first.
    agreement : float or None
        Mean agreement (Dice) of the two teachers over the current pseudo-labels, 0..1.
    pictures : int
        Samples that the step was trained on: views of planes for a U-Net, objects if SAM alone
        is trained. A step that trains only SAM beside a U-Net counts as a step of both.
    """

    loss_unet: float | None = None
    loss_sam: float | None = None
    agreement: float | None = None
    pictures: int = 0


class Recipe(Protocol):
    """How the networks of a round are trained, step by step.

    Attributes
    ----------
    members : tuple of {'unet', 'sam'}
        The networks that it trains, and that predict after the round.
    uses_unlabelled : bool
    partner : {'sam', 'prompted'}
        SAM output that is mixed with the U-Net's in the pair.
    from_scratch : bool
        Whether its U-Net is always randomly initialised, whatever the settings.
    """

    members: ClassVar[tuple[str, ...]]
    uses_unlabelled: ClassVar[bool]
    from_scratch: ClassVar[bool]
    partner: ClassVar[Partner]

    def __init__(self, context: RecipeContext) -> None: ...

    def step(self, fraction: float) -> StepReport:
        """Take one step at `fraction` (0..1) of the round.

        Raises
        ------
        Diverged
            If a loss is not finite; the weights are those of the step before.
        """

    def teachers_in_place(self) -> AbstractContextManager[None]:
        """Load the weights that a round would keep now into the networks, inside the block."""

    def finish(self) -> None:
        """Load these weights into the networks for good."""

    def state(self) -> dict[str, Any]:
        """Return what is needed to resume: tensors, numbers, lists and dicts."""

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a saved `state`."""
