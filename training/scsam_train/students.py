"""The U-Net as a student: its optimiser step, for all recipes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from scsam_train.losses import merged
from scsam_train.optimisers import unet_optimisers
from scsam_train.precision import mixed_precision
from scsam_train.recipe_context import Diverged, RecipeContext
from scsam_train.schedules import MovingAverage, learning_rate

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from scsam_train.distributed import World

# Maximum norm of the gradient. Arbitrary.
CLIP = 1.0


class UNetStudent:
    """A U-Net, its optimisers, and its moving average (the teacher).

    Parameters
    ----------
    network : nn.Module
        Logits (N, K + 1, s, s) of images (N, 3, s, s).
    context : RecipeContext
    """

    def __init__(self, network: nn.Module, context: RecipeContext) -> None:
        parameters = dict(network.named_parameters())
        self.network = network
        self.teacher = MovingAverage(parameters)
        self.loss: float | None = None
        self.device = context.unet.device
        self._world = context.world
        self._parameters = list(parameters.values())
        self._optimisers = unet_optimisers(network, context.settings.unet_lr)
        self._known = context.materials.known

    def __call__(self, images: Tensor, sam: Tensor | None = None) -> Tensor:
        """Return logits with gradients; `sam` holds SAM features of the views, if they join."""
        joined = () if sam is None else (sam,)
        with mixed_precision(self.device):
            logits: Tensor = self.network(images, *joined).float()
        return logits

    @torch.no_grad()
    def predicted(self, images: Tensor, sam: Tensor | None = None) -> Tensor:
        """Predict probabilities (N, K + 1, s, s) with the moving average; 0 for unknown classes."""
        with self.teacher.in_place():
            logits = self(images, sam)
        return logits.softmax(1) if self._known.all() else merged(logits, self._known).exp()

    def learn(self, loss: Tensor, fraction: float, names: Sequence[str] = ()) -> None:
        """Take an optimiser step on `loss`, this process's share, at `fraction` of the round.

        `names` are the images of the batch, reported if the loss is not finite.
        """
        for optimiser, rate in self._optimisers.items():
            optimiser.param_groups[0]["lr"] = rate * learning_rate(fraction)
        self.loss = descend(loss, self._parameters, self._optimisers, self._world, names)
        self.teacher.update()

    def state(self) -> dict[str, Any]:
        """Return the weights, their average and the optimiser states."""
        return {
            "loss": self.loss,
            "network": self.network.state_dict(),
            "teacher": self.teacher.state(),
            "optimisers": [optimiser.state_dict() for optimiser in self._optimisers],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a saved `state`."""
        self.loss = state["loss"]
        self.network.load_state_dict(state["network"])
        self.teacher.restore(state["teacher"])
        for optimiser, kept in zip(self._optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(kept)


def descend(
    loss: Tensor,
    parameters: Collection[nn.Parameter],
    optimisers: Iterable[torch.optim.Optimizer],
    world: World,
    names: Sequence[str] = (),
    clip: float = CLIP,
) -> float:
    """Take an optimiser step on the loss summed over all processes, and return that loss.

    `parameters` are those of all `optimisers`; `clip` is the maximum norm of the gradient.

    Raises
    ------
    Diverged
        If the loss or a gradient is not finite; no weight is changed.
    """
    for parameter in parameters:
        parameter.grad = None
    loss.backward()  # type: ignore[no-untyped-call]
    world.sum_gradients(parameters)
    total = float(world.sum(loss.detach().clone()))
    norm = nn.utils.clip_grad_norm_(_with_gradient(parameters), clip)
    if not (math.isfinite(total) and bool(torch.isfinite(norm))):
        seen = f", with the images {', '.join(sorted(set(names)))}" if names else ""
        raise Diverged(f"the loss is {total}, its gradient's length {float(norm)}{seen}")
    for optimiser in optimisers:
        optimiser.step()
    return total


def _with_gradient(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    return [parameter for parameter in parameters if parameter.grad is not None]
