"""SAM as a student: what it is asked in a step, and how it learns from its answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from napari_scsam.models import log_odds, prompted_by, trainable_parameters
from scsam_train.clicks import first_clicks, jittered_box, next_click
from scsam_train.decoding import Decoder, PromptBatch, as_shown, class_probabilities
from scsam_train.encoding import encoding_of
from scsam_train.losses import IGNORE, IOU_WEIGHT_OF_ROUNDS, mask_iou, mask_loss
from scsam_train.pseudo import PseudoLabels, of_trusted
from scsam_train.refinement import CORRUPTED, EarlyMaps, corrupted, refinement_of
from scsam_train.schedules import MovingAverage, balance_power, learning_rate
from scsam_train.students import descend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_scsam.core.prompts import Prompts
    from scsam_train.embedded_views import SamView
    from scsam_train.recipe_context import RecipeContext

# What SAM is asked by: its class token alone, clicks, a box, or a map of the U-Net's.
Kind = Literal["token", "clicks", "box", "map"]

# Below this weight a pseudo-label is not worth a decode.
MIN_WEIGHT = 0.2
# The U-Net's share in what SAM is taught: only where both are sure. Its own mistakes would come
# back to it otherwise.
BOTH, UNET_ALONE = 0.5, 1.0
# Share of labelled objects that are asked for where they are; the others may be absent.
PRESENT = 0.7
# Class tokens start from nothing, the rest from a trained decoder.
TOKEN_RATE = 5.0
MAX_FIRST_CLICKS = 5
MAX_CORRECTIONS = 3
# How often SAM is asked with class tokens alone, and with clicks; the rest are boxes.
TOKENS_ONLY, CLICKS = 0.5, 0.35
# At first with class tokens only: SAM teaches by them.
TOKENS_FIRST = 0.4
# Share of the steps that ask by a map, once there are some; SAM is used so in the end.
REFINED = 0.5
# Share of these that show the middle of a part, too: a round's SAM that does not understand points
# is not shown any when it is used.
POINTED = 0.5
# Of a probability, so that it has a logarithm.
TINY = 1e-6


@dataclass(frozen=True, eq=False)
class _Object:
    """One object that SAM is asked for: a view, a class, its mask, its weight, its looks.

    `prompts` are those that a map of the U-Net's gives.
    """

    features: Tensor
    position: int
    target: Tensor
    weight: float
    name: str
    odds: Tensor | None = None
    prompts: Prompts | None = None


class SamStudent:
    """Learns to answer class tokens, clicks, corrections, boxes, and maps of the U-Net's.

    Parameters
    ----------
    context : RecipeContext
    pseudo : PseudoLabels, optional
        What else to learn from than labels.
    early : EarlyMaps, optional
        The U-Net's answers that it learns to correct, as soon as there are any.
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
        self._context, self._pseudo, self._early = context, pseudo, early or EarlyMaps()
        self._encoding = encoding_of(context.sam, context.settings)
        self._step = 0
        views = context.materials.views
        self._looks = context.class_priors
        if self._looks is not None:
            context.sam.prior = self._looks.named(context.unet.class_ids)
        self._holding = [
            [plane for plane, found in enumerate(views) if _holds(found[0], position)]
            for position in range(1, 1 + context.classes)
        ]
        # A class is asked for where it was judged: elsewhere nobody knows that it is absent.
        judged = context.materials.judged.cpu().T
        self._judged = [column.nonzero()[:, 0].tolist() for column in judged]
        self._asked = [position for position, planes in enumerate(self._judged, 1) if planes]
        tokens = [p for name, p in self._parameters.items() if "class_tokens" in name]
        others = [p for name, p in self._parameters.items() if "class_tokens" not in name]
        self._optimiser = torch.optim.AdamW([{"params": others}, {"params": tokens}])

    @property
    def is_told(self) -> bool:
        """Whether it is told how the classes look, and so answers from the start."""
        return self._looks is not None and self._looks.complete

    def update(self, fraction: float, trust_in_pseudo: NDArray[np.float64] | None = None) -> None:
        """Take one step.

        Parameters
        ----------
        fraction : float
            0..1, how much of the round is done.
        trust_in_pseudo : ndarray of shape (K,), optional
            Weight of the pseudo-labels of each class; none of them without it.
        """
        rng = np.random.default_rng([self._context.settings.seed, 2, self._step])
        self._step += 1
        rates = (1.0, TOKEN_RATE)
        for group, factor in zip(self._optimiser.param_groups, rates, strict=True):
            group["lr"] = self._context.settings.sam_lr * learning_rate(fraction) * factor
        kind = self._kind(fraction, rng)
        objects = self._objects(kind, trust_in_pseudo, rng)
        if not objects:
            return
        device = self.decoder.device
        own = self._context.world.part(len(objects))
        features = self._encoding(torch.cat([o.features for o in objects])[own])
        target = torch.stack([o.target for o in objects])[:, None][own].to(device)
        weight = torch.tensor([o.weight for o in objects], device=device)[own]
        ask = _part(self._prompts(kind, objects, rng), own)
        if kind == "clicks":
            ask = self._corrections(features, target, ask, rng)
        logits, iou = self.decoder(features, ask)
        # What the tool shows as confidence is learned from people's labels only.
        from_people = (weight == 1).float()
        iou_loss = (from_people * (iou - mask_iou(as_shown(ask, logits, iou), target)) ** 2).mean()
        loss = mask_loss(logits, target, weight, balance_power(fraction))
        loss = loss + IOU_WEIGHT_OF_ROUNDS * iou_loss
        share = len(target) / len(objects)
        names = [o.name for o in objects]
        parameters = self._parameters.values()
        self.loss = descend(loss * share, parameters, [self._optimiser], self._context.world, names)
        self.teacher.update()

    def _kind(self, fraction: float, rng: np.random.Generator) -> Kind:
        """What this step asks by."""
        if self._early.known and rng.random() < REFINED:
            return "map"
        if fraction <= TOKENS_FIRST or self._context.settings.without == "points":
            return "token"
        drawn = rng.random()
        if drawn < TOKENS_ONLY:
            return "token"
        return "clicks" if drawn < TOKENS_ONLY + CLICKS else "box"

    @torch.no_grad()
    def taught(self, features: Sequence[Tensor], size: int, plane: int | None = None) -> Tensor:
        """Probabilities (N, K + 1, size, size) by the moving average, asked by class tokens.

        Parameters
        ----------
        features : sequence of N Tensors
            As `SamView.features`.
        size : int
            Side of the U-Net's canvas.
        plane : int, optional
            The labelled plane that the features are of.
        """
        with self.teacher.in_place():
            embeddings = self._encoding(torch.cat(list(features)))
            odds = None if self._looks is None else self._looks.odds(embeddings, plane)
            known = self._context.materials.known
            return class_probabilities(self.decoder, embeddings, known, size, odds)

    @torch.no_grad()
    def refined(self, features: Sequence[Tensor], maps: Tensor) -> Tensor:
        """Probabilities (N, K + 1, s, s) by the moving average, prompted by the U-Net's.

        Parameters
        ----------
        features : sequence of N Tensors
            As `SamView.features`.
        maps : Tensor of shape (N, K + 1, s, s), float32
            The U-Net's probabilities. Where they have no part of a class that is worth asking
            about, they stay.
        """
        side, size = self.decoder.side, maps.shape[-1]
        finer = nn.functional.interpolate(maps, (side, side), mode="bilinear")
        logits = (finer.clamp(min=TINY).log() - finer[:, :1].clamp(min=TINY).log()).cpu()
        with self.teacher.in_place():
            embeddings = self._encoding(torch.cat(list(features)))
            for row, seen in enumerate(finer.cpu().numpy()):
                for position in range(1, len(seen)):
                    asked = prompted_by(log_odds(seen, position))
                    if asked:
                        answers = self._answers(embeddings[row], position, asked)
                        logits[row, position] = answers.amax(0).cpu()
        found = logits.to(maps.device).softmax(1)
        return nn.functional.interpolate(found, (size, size), mode="bilinear", antialias=True)

    def _answers(self, features: Tensor, position: int, asked: Sequence[Prompts]) -> Tensor:
        """Logits (P, side, side) of a class for the parts of a map."""
        count = len(asked)
        classes = torch.full((count,), position - 1, device=self.decoder.device)
        ask = _by_maps(classes, asked, pointed=False)
        return self.decoder(features[None].expand(count, -1, -1, -1), ask)[0][:, 0]

    def _objects(
        self, kind: Kind, trust: NDArray[np.float64] | None, rng: np.random.Generator
    ) -> list[_Object]:
        """Half of them labelled, half pseudo-labelled; prompts need something to point at.

        Maps are corrected where the truth is known, on labelled planes alone.
        """
        if kind == "map":
            found = [self._mapped_object(rng) for _ in range(self._context.settings.sam_batch)]
            return [one for one in found if one is not None]
        trusted: NDArray[np.int64] = np.zeros(0, np.int64)
        if trust is not None and self._pseudo is not None and len(self._pseudo.ready):
            trusted = np.flatnonzero(trust > MIN_WEIGHT)
        size = self._context.settings.sam_batch
        taught = size // 2 if trust is not None and len(trusted) else 0
        objects = [self._labelled_object(rng) for _ in range(size - taught)]
        if trust is not None and taught:
            objects += self._pseudo_objects(rng.choice(trusted, taught), trust, rng)
        return [o for o in objects if kind == "token" or bool((o.target == 1).any())]

    def _draw(self, rng: np.random.Generator) -> tuple[int, int]:
        """A class's position, and a labelled plane that was judged for it."""
        position = self._asked[int(rng.integers(len(self._asked)))]
        planes, present = self._judged[position - 1], self._holding[position - 1]
        if present and rng.random() < PRESENT:
            planes = present
        return position, int(rng.choice(planes))

    def _labelled_object(self, rng: np.random.Generator) -> _Object:
        position, plane = self._draw(rng)
        choices = self._context.materials.views[plane]
        view = choices[int(rng.integers(len(choices)))]
        features, target = self._encoding.weak(view.features, _mask_of(view, position), rng)
        name, odds = (
            self._context.materials.names[plane],
            self._odds(view.features, position, plane),
        )
        return _Object(features, position, target, 1.0, name, odds)

    def _mapped_object(self, rng: np.random.Generator) -> _Object | None:
        """A class on a labelled plane, by a map of it: the U-Net's, or a corrupted truth."""
        position, plane = self._draw(rng)
        choices, side = self._context.materials.views[plane], self.decoder.side
        # The U-Net's maps are of the planes as they lie; a moving view has none.
        is_made = len(self._early) == 0 or rng.random() < CORRUPTED
        view = choices[int(rng.integers(len(choices))) if is_made else 0]
        features, target = self._encoding.weak(view.features, _mask_of(view, position), rng)
        if is_made:
            odds = corrupted((target == 1).numpy(), rng)
        else:
            odds = self._early.odds(plane, position, side, rng)
        found = refinement_of(odds, target, rng)
        if found is None:
            return None
        name = self._context.materials.names[plane]
        return _Object(features, position, found.target, 1.0, name, prompts=found.prompts)

    def _odds(self, features: Tensor, position: int, plane: int | None = None) -> Tensor | None:
        """What is known of how a class looks, (side, side), on features before they are changed."""
        if self._looks is None:
            return None
        return self._looks.odds(features.float(), plane)[0, position - 1]

    def _pseudo_objects(
        self, columns: NDArray[np.int64], trust: NDArray[np.float64], rng: np.random.Generator
    ) -> list[_Object]:
        """One object of each of these classes, on random planes."""
        assert self._pseudo is not None
        data = self._context.materials
        indices = rng.choice(self._pseudo.ready, len(columns))
        leads = self._unet_leads()
        shares = [UNET_ALONE if leads[column] else BOTH for column in columns]
        maps = {share: self._labels(indices, share, trust) for share in set(shares)}
        objects = []
        for row, (index, column) in enumerate(zip(indices, columns, strict=True)):
            label = maps[shares[row]][row]
            target = (label == column + 1).to(torch.uint8).masked_fill(label == IGNORE, IGNORE)
            features, target = self._encoding.strong(data.unlabelled_features[index], target, rng)
            weight, name = float(trust[column]), data.unlabelled_names[index]
            odds = self._odds(data.unlabelled_features[index], int(column) + 1)
            objects.append(_Object(features, int(column) + 1, target, weight, name, odds))
        return objects

    def _labels(
        self, indices: NDArray[np.int64], share: float, trust: NDArray[np.float64]
    ) -> Tensor:
        """Pseudo-labels (N, side, side) of trusted classes, the U-Net having this share in them."""
        assert self._pseudo is not None
        side = self.decoder.side
        maps = self._pseudo.label_maps(indices, share=share)[:, None].float()
        sized = nn.functional.interpolate(maps, (side, side))[:, 0].to(torch.uint8).cpu()
        return of_trusted(sized, trust > MIN_WEIGHT)

    def _unet_leads(self) -> list[bool]:
        """For each class, whether the U-Net does at least as well as SAM on held-out planes.

        There alone its labels may contradict SAM; without held-out planes nobody knows.
        """
        unet, sam = (self._context.scores.get(member, {}) for member in ("unet", "sam"))
        names = [name for name in unet if name != "mean"] or [""] * self._context.classes
        pairs = [(unet.get(name), sam.get(name)) for name in names]
        return [a is not None and b is not None and a >= b for a, b in pairs]

    def _prompts(self, kind: Kind, objects: list[_Object], rng: np.random.Generator) -> PromptBatch:
        classes = torch.tensor([o.position - 1 for o in objects], device=self.decoder.device)
        known = [o.odds for o in objects if o.odds is not None]
        looks = torch.stack(known)[:, None].to(self.decoder.device) if known else None
        if kind == "map":
            prompts = [o.prompts for o in objects if o.prompts is not None]
            return _by_maps(classes, prompts, pointed=rng.random() < POINTED)
        if kind == "token":
            return PromptBatch(classes, masks=looks)
        # Named, with all that is known of the class, or not.
        named, looks = (classes, looks) if rng.random() < 0.5 else (None, None)
        masks = [(o.target == 1).numpy() for o in objects]
        if kind == "clicks":
            count = int(rng.integers(1, MAX_FIRST_CLICKS + 1))
            clicks = [first_clicks(mask, count, rng) for mask in masks]
            return PromptBatch(named, clicks=clicks, masks=looks)
        boxes = np.stack([jittered_box(mask, rng) for mask in masks])
        return PromptBatch(named, boxes=boxes, masks=looks)

    @torch.no_grad()
    def _corrections(
        self, features: Tensor, target: Tensor, ask: PromptBatch, rng: np.random.Generator
    ) -> PromptBatch:
        """Answer, click on the largest mistake, and so on, as a person would."""
        count, fed_back = int(rng.integers(MAX_CORRECTIONS + 1)), rng.random(MAX_CORRECTIONS) < 0.5
        for fed in fed_back[:count]:
            logits = as_shown(ask, *self.decoder(features, ask))
            clicks = [
                next_click((guess > 0).numpy(), (truth == 1).numpy(), (truth != IGNORE).numpy())
                for guess, truth in zip(logits[:, 0].cpu(), target[:, 0].cpu(), strict=True)
            ]
            found = [click for click in clicks if click is not None]
            if len(found) < len(clicks):
                break
            ask = ask.with_clicks(found, logits if fed else None)
        return ask

    def state(self) -> dict[str, Any]:
        """What is trained, its average and the optimiser's, to be kept."""
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
        """Go on from a kept `state`."""
        self.loss = state["loss"]
        for name, parameter in self._parameters.items():
            parameter.copy_(state["parameters"][name])
        self.teacher.restore(state["teacher"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._step = int(state["step"])
        self._context.scores.update(state["scores"])


def _by_maps(classes: Tensor, prompts: Sequence[Prompts], *, pointed: bool) -> PromptBatch:
    """Prompt by boxes and maps, and by the middles of the parts, too, if `pointed`."""
    boxes = np.array([one.box for one in prompts], np.float32)
    maps = torch.from_numpy(np.stack([np.asarray(one.mask) for one in prompts]))[:, None]
    clicks = [[(*one.points[0], 1)] for one in prompts] if pointed else None
    return PromptBatch(classes, clicks=clicks, boxes=boxes, masks=maps.to(classes.device))


def _mask_of(view: SamView, position: int) -> Tensor:
    """A class's mask on a view: 0, 1, and 255 where nothing is known."""
    mask = (view.label == position).to(torch.uint8)
    return mask.masked_fill(view.label == IGNORE, IGNORE)


def _holds(view: SamView, position: int) -> bool:
    return bool((view.label == position).any())


def _part(ask: PromptBatch, own: slice) -> PromptBatch:
    """The part of a batch that this process learns from."""
    return PromptBatch(
        None if ask.classes is None else ask.classes[own],
        None if ask.clicks is None else ask.clicks[own],
        None if ask.boxes is None else ask.boxes[own],
        None if ask.masks is None else ask.masks[own],
    )
