"""What every recipe is made from, and what it has to offer to the loop."""

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
    """A loss is no longer a number; nothing was learned from it."""


@dataclass(frozen=True, eq=False)
class RecipeContext:
    """What a recipe is made from.

    Attributes
    ----------
    unet : UNet
    sam : SamModel
        Adapted, on cached embeddings.
    materials : Materials
    settings : TrainSettings
    world : World
    fresh : bool
        Whether both networks start from nothing, and not from an earlier round.
    scores : dict
        The latest Dice on held-out planes by member and class; empty before the first, and
        where nothing is held out.
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
        """K."""
        return len(self.unet.class_ids)

    @cached_property
    def looks(self) -> ClassPriors | None:
        """What the classes look like to SAM; None where that is not known, or not to be told."""
        if self.sam.adapts_encoder or self.settings.without == "prior":
            return None
        return ClassPriors.of(self.materials.views, self.materials.cases, self.materials.judged)

    @cached_property
    def sam_inputs(self) -> SamInputs | None:
        """What joins the U-Net of SAM; None for a U-Net of pixels alone."""
        if not (self.unet.sees_sam and self.materials.views):
            return None
        return SamInputs(self.materials, self.looks, self.classes)

    def pictures_at(self, fraction: float, count: int) -> int:
        """How many of `count` pictures of the whole side a step takes of the side by now."""
        return pictures_at(fraction, count, self._side) if self._grows else count

    def side_at(self, fraction: float) -> int:
        """Side of the U-Net's pictures at `fraction` of the round.

        They grow for a U-Net from scratch, which needs to see many. An encoder from ImageNet does
        worse on small ones: after 800 and 1,600 pictures, a third of the way seen at half of
        128 px, Dice is .72 and .78, and .78 and .81 without (Kvasir-SEG, one seed).
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
        """Have the U-Net look at pictures of the size that it learns at, inside the block."""
        size = self.unet.image_size
        self.unet.image_size = self.side_at(fraction)
        try:
            yield
        finally:
            self.unet.image_size = size


@dataclass(frozen=True)
class StepReport:
    """What one step says of itself.

    Attributes
    ----------
    loss_unet, loss_sam : float or None
        The latest ones; not each network learns in every step. None before the first.
    agreement : float or None
        Mean agreement of the two, 0..1, over the pseudo-labels that there are.
    pictures : int
        How many the step learned from: views of planes for a U-Net, objects where SAM is all
        that is trained. A step in which SAM learns alone beside a U-Net counts as one of both.
    """

    loss_unet: float | None = None
    loss_sam: float | None = None
    agreement: float | None = None
    pictures: int = 0


class Recipe(Protocol):
    """How the networks of a round learn, step by step.

    Attributes
    ----------
    members : tuple of {'unet', 'sam'}
        The networks that it trains, and that a round of it answers with.
    uses_unlabelled : bool
    partner : {'sam', 'prompted'}
        Which of SAM's answers the U-Net's is mixed with in the pair.
    from_scratch : bool
        Whether its U-Net starts from nothing, whatever the settings say.
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
            If a loss is no longer a number; the weights are those of the step before.
        """

    def teachers_in_place(self) -> AbstractContextManager[None]:
        """Have the networks hold the weights that a round would keep now, inside the block."""

    def finish(self) -> None:
        """Leave these weights in the networks for good."""

    def state(self) -> dict[str, Any]:
        """All that a resumed round needs, of tensors, numbers, lists and dicts."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a kept `state`."""
