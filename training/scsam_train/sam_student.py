"""SAM as a student: its optimiser step, and the predictions of its moving average."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_scsam.models import log_odds, prompted_by, trainable_parameters
from scsam_train.decoding import Decoder, as_shown, class_probabilities
from scsam_train.encoding import encoding_of
from scsam_train.losses import IOU_WEIGHT_OF_ROUNDS, mask_iou, mask_loss
from scsam_train.refinement import EarlyMaps
from scsam_train.sam_objects import ObjectSampler, SamObject
from scsam_train.sam_prompts import Kind, part_of, prompt_batch, prompts_of_maps, with_corrections
from scsam_train.schedules import MovingAverage, balance_power, learning_rate
from scsam_train.students import descend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_scsam.core.prompts import Prompts
    from scsam_train.pseudo import PseudoLabels
    from scsam_train.recipe_context import RecipeContext

# Learning rate of the class tokens relative to the other parameters: they are randomly initialised,
# the others pretrained. Arbitrary.
TOKEN_RATE = 5.0
# Until this fraction of the round all prompts are class tokens, because the pseudo-labels are
# predicted with them. Arbitrary.
TOKENS_FIRST = 0.4
# Shares of the steps after that with class tokens alone, and with clicks; the others have boxes.
# Arbitrary.
TOKENS_ONLY, CLICKS = 0.5, 0.35
# Share of the steps that are prompted by maps, once there are some: this is how SAM is prompted
# when the round is used. Arbitrary.
REFINED = 0.5
# Lower limit of a probability, so that its logarithm is finite.
TINY = 1e-6


class SamStudent:
    """SAM, its optimiser, and its moving average (the teacher).

    It is trained on class tokens, clicks with corrections, boxes, and maps of the U-Net.

    Parameters
    ----------
    context : RecipeContext
        Its SAM gets the class priors of the round.
    pseudo : PseudoLabels, optional
        Pseudo-labels to train on besides the labels.
    early : EarlyMaps, optional
        Predictions of the U-Net that it is trained to correct, once there are any.

    Attributes
    ----------
    decoder : Decoder
    teacher : MovingAverage
    objects : ObjectSampler
        Draws the training samples.
    loss : float or None
        Loss of the last step; None before the first.
    """

    def __init__(
        self,
        context: RecipeContext,
        pseudo: PseudoLabels | None = None,
        early: EarlyMaps | None = None,
    ) -> None:
        self._parameters = trainable_parameters(context.sam.module)
        self.decoder = Decoder(context.sam.module)
        self.teacher = MovingAverage(self._parameters)
        self.loss: float | None = None
        self._context, self._early = context, early or EarlyMaps()
        self._encoding = encoding_of(context.sam, context.settings)
        self._step = 0
        if context.class_priors is not None:
            context.sam.prior = context.class_priors.named(context.unet.class_ids)
        self.objects = ObjectSampler(
            context, self._encoding, self.decoder.side, pseudo, self._early
        )
        tokens = [p for name, p in self._parameters.items() if "class_tokens" in name]
        others = [p for name, p in self._parameters.items() if "class_tokens" not in name]
        self._optimiser = torch.optim.AdamW([{"params": others}, {"params": tokens}])

    def update(self, fraction: float, reliability: NDArray[np.float64] | None = None) -> None:
        """Take one optimiser step.

        Parameters
        ----------
        fraction : float
            Fraction of the round that is done, 0..1.
        reliability : ndarray of shape (K,), optional
            Weights of the pseudo-labels by class, 0..1. Without it, only labels are used.
        """
        rng = np.random.default_rng([self._context.settings.seed, 2, self._step])
        self._step += 1
        rates = (1.0, TOKEN_RATE)
        for group, factor in zip(self._optimiser.param_groups, rates, strict=True):
            group["lr"] = self._context.settings.sam_lr * learning_rate(fraction) * factor
        kind = self._kind(fraction, rng)
        objects = self._objects(kind, reliability, rng)
        if not objects:
            return
        loss = self._loss(kind, objects, fraction, rng)
        names = [o.name for o in objects]
        parameters = self._parameters.values()
        self.loss = descend(loss, parameters, [self._optimiser], self._context.world, names)
        self.teacher.update()

    def _kind(self, fraction: float, rng: np.random.Generator) -> Kind:
        """Draw the kind of prompts of this step."""
        if self._early.known and rng.random() < REFINED:
            return "map"
        if fraction <= TOKENS_FIRST or self._context.settings.without == "points":
            return "token"
        drawn = rng.random()
        if drawn < TOKENS_ONLY:
            return "token"
        return "clicks" if drawn < TOKENS_ONLY + CLICKS else "box"

    def _objects(
        self, kind: Kind, reliability: NDArray[np.float64] | None, rng: np.random.Generator
    ) -> list[SamObject]:
        """Draw the samples of a step. Clicks and boxes need an object that is present."""
        if kind == "map":
            return self.objects.mapped(rng)
        objects = self.objects.mixed(reliability, rng)
        return [o for o in objects if kind == "token" or bool((o.target == 1).any())]

    def _loss(
        self, kind: Kind, objects: Sequence[SamObject], fraction: float, rng: np.random.Generator
    ) -> Tensor:
        """Return the loss of this process's part of the batch, as a share of the whole batch's."""
        device = self.decoder.device
        own = self._context.world.part(len(objects))
        features = self._encoding(torch.cat([o.features for o in objects])[own])
        target = torch.stack([o.target for o in objects])[:, None][own].to(device)
        weight = torch.tensor([o.weight for o in objects], device=device)[own]
        prompts = part_of(prompt_batch(kind, objects, device, rng), own)
        if kind == "clicks":
            prompts = with_corrections(self.decoder, features, target, prompts, rng)
        logits, iou = self.decoder(features, prompts)
        # The predicted IoU, which the tool shows as confidence, is trained on labels only.
        labelled = (weight == 1).float()
        found = mask_iou(as_shown(prompts, logits, iou), target)
        iou_loss = (labelled * (iou - found) ** 2).mean()
        loss = mask_loss(logits, target, weight, balance_power(fraction))
        return (loss + IOU_WEIGHT_OF_ROUNDS * iou_loss) * (len(target) / len(objects))

    @torch.no_grad()
    def predicted(self, features: Sequence[Tensor], size: int, plane: int | None = None) -> Tensor:
        """Predict probabilities (N, K + 1, size, size) with the moving average and class tokens.

        Parameters
        ----------
        features : sequence of N Tensors
            As `SamView.features`.
        size : int
            Side of the U-Net's canvas, in px.
        plane : int, optional
            Index of the labelled plane that the features belong to: its class prior is then the
            one that was fitted without it.
        """
        priors = self._context.class_priors
        with self.teacher.in_place():
            embeddings = self._encoding(torch.cat(list(features)))
            odds = None if priors is None else priors.odds(embeddings, plane)
            known = self._context.materials.known
            return class_probabilities(self.decoder, embeddings, known, size, odds)

    @torch.no_grad()
    def refined(self, features: Sequence[Tensor], maps: Tensor) -> Tensor:
        """Predict probabilities (N, K + 1, s, s) with the moving average, prompted by `maps`.

        Parameters
        ----------
        features : sequence of N Tensors
            As `SamView.features`.
        maps : Tensor of shape (N, K + 1, s, s), float32
            Probabilities predicted by the U-Net. They are returned for a class without a part
            that is large enough to prompt with.
        """
        side, size = self.decoder.side, maps.shape[-1]
        finer = functional.interpolate(maps, (side, side), mode="bilinear")
        logits = (finer.clamp(min=TINY).log() - finer[:, :1].clamp(min=TINY).log()).cpu()
        with self.teacher.in_place():
            embeddings = self._encoding(torch.cat(list(features)))
            for row, seen in enumerate(finer.cpu().numpy()):
                for position in range(1, len(seen)):
                    prompts = prompted_by(log_odds(seen, position))
                    if prompts:
                        decoded = self._decoded(embeddings[row], position, prompts)
                        logits[row, position] = decoded.amax(0).cpu()
        found = logits.to(maps.device).softmax(1)
        return functional.interpolate(found, (size, size), mode="bilinear", antialias=True)

    def _decoded(self, features: Tensor, position: int, prompts: Sequence[Prompts]) -> Tensor:
        """Return logits (P, side, side) of a class, one mask for each part of its map."""
        count = len(prompts)
        classes = torch.full((count,), position - 1, device=self.decoder.device)
        batch = prompts_of_maps(classes, prompts, pointed=False)
        return self.decoder(features[None].expand(count, -1, -1, -1), batch)[0][:, 0]

    def state(self) -> dict[str, Any]:
        """Return the trained parameters, their average and the optimiser state."""
        return {
            "loss": self.loss,
            "parameters": {name: p.detach() for name, p in self._parameters.items()},
            "teacher": self.teacher.state(),
            "optimiser": self._optimiser.state_dict(),
            "step": self._step,
            "scores": dict(self._context.scores),
        }

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a saved `state`."""
        self.loss = state["loss"]
        for name, parameter in self._parameters.items():
            parameter.copy_(state["parameters"][name])
        self.teacher.restore(state["teacher"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._step = int(state["step"])
        self._context.scores.update(state["scores"])
