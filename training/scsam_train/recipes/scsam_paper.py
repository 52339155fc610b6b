"""SC-SAM as its paper has it (arXiv 2601.17934), with the two faults of its prompts mended.

From what is published of it (METHOD 1.2 to 1.9): U-Net and SAM see the same view; SAM gets
five random points in and five outside of each class of the U-Net's label map, beside the
class's learned tokens; each learns the other's hard label map, SAM's for the U-Net at full
weight from the start, the U-Net's for SAM along a ramp; the U-Net's entropy is pushed down
on all images. SGD for the U-Net, Adam for SAM, rates falling linearly. Points here are where
the U-Net put them, in SAM's order (its code had them nowhere, METHOD 1.7). The background is
not asked for, and both see the unchanged planes, whose embeddings are at hand.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_scsam.models.adapters import trainable_parameters
from scsam_train.clicks import Click
from scsam_train.decoding import Ask, Decoder
from scsam_train.encoding import encoding_of
from scsam_train.kit import Kit, StepReport
from scsam_train.losses import IGNORE, likeliest, segmentation_loss
from scsam_train.precision import mixed_precision
from scsam_train.students import descend

POINTS = 5
ENTROPY = 0.9
UNET_RATE, MOMENTUM, DECAY = 0.01, 0.9, 1e-4
SAM_RATE = 1e-4
# Of the whole training, when the ramp of the U-Net's labels for SAM ends (10,000 of 40,000).
RAMP_END = 0.25


class ScSamPaper:
    """Cross hard pseudo-labels on one view, and point prompts from the U-Net."""

    members: ClassVar[tuple[str, ...]] = ("unet", "sam")
    uses_unlabelled: ClassVar[bool] = True

    def __init__(self, kit: Kit) -> None:
        self._kit, self._data = kit, kit.materials
        self._network = kit.unet.network
        self._decoder = Decoder(kit.sam.module)
        self._encoding = encoding_of(kit.sam, kit.settings)
        self._sam_parameters = trainable_parameters(kit.sam.module)
        self._unet_parameters = list(self._network.parameters())
        self._unet_optimiser = torch.optim.SGD(
            self._unet_parameters, lr=UNET_RATE, momentum=MOMENTUM, weight_decay=DECAY
        )
        self._sam_optimiser = torch.optim.Adam(self._sam_parameters.values(), lr=SAM_RATE)
        self._step = 0

    def step(self, fraction: float) -> StepReport:
        """Take one step; see `Recipe.step`."""
        rng = np.random.default_rng([self._kit.settings.seed, 30, self._step])
        images, labels, features, names = self._batch(rng)
        own = self._kit.world.part(len(images))
        images, features = images[own], self._encoding(features[own])
        with mixed_precision(self._kit.unet.device):
            from_unet = self._network(images).float()
        guess = likeliest(from_unet)
        from_sam = self._ask(features, guess, rng)
        known = labels[own]
        taught = [self._crossed(known, likeliest(other)) for other in (from_sam, from_unet)]
        back = math.exp(-5 * (1 - min(fraction / RAMP_END, 1.0)) ** 2)
        of = len(labels)
        unet_loss = self._loss(from_unet, known, taught[0], 1.0, of)
        unet_loss = unet_loss + ENTROPY * _entropy(from_unet) * len(images) / of
        sam_loss = self._loss(from_sam, known, taught[1], back, of)
        for optimiser, rate in ((self._unet_optimiser, UNET_RATE), (self._sam_optimiser, SAM_RATE)):
            optimiser.param_groups[0]["lr"] = rate * max(1 - fraction, 0.0)
        world = self._kit.world
        losses = (
            descend(unet_loss, self._unet_parameters, [self._unet_optimiser], world, names),
            descend(sam_loss, self._sam_parameters.values(), [self._sam_optimiser], world, names),
        )
        self._step += 1
        return StepReport(*losses, pictures=of)

    def _batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, list[str]]:
        """Images, label maps (all 255 where unlabelled), what SAM is given, names."""
        settings, data = self._kit.settings, self._data
        own = rng.integers(len(data.images), size=settings.labelled_batch)
        others = rng.integers(
            max(1, len(data.other_features)),
            size=settings.unlabelled_batch if data.other_features else 0,
        )
        unknown = torch.full((len(others), *data.labels.shape[1:]), IGNORE, dtype=torch.uint8)
        images = torch.cat([data.images[torch.from_numpy(own)], self._others(others)])
        labels = torch.cat([data.labels[torch.from_numpy(own)], unknown.to(data.labels.device)])
        features = [data.views[i][0].features for i in own]
        features += [data.other_features[i] for i in others]
        names = [data.names[i] for i in own] + [data.other_names[i] for i in others]
        return images, labels, torch.cat(features), names

    def _others(self, chosen: Any) -> Tensor:
        return self._data.other_images[torch.from_numpy(np.asarray(chosen, np.int64))]

    def _ask(self, features: Tensor, guess: Tensor, rng: np.random.Generator) -> Tensor:
        """SAM's logits (N, K + 1, s, s), the background's 0, by class tokens and points."""
        side, size = self._decoder.side, guess.shape[-1]
        logits = []
        for position in range(1, 1 + self._kit.classes):
            classes = torch.full((len(guess),), position - 1, device=features.device)
            clicks = [
                _random_clicks((one == position).cpu().numpy(), side / size, rng) for one in guess
            ]
            logits.append(self._decoder(features, Ask(classes, clicks=clicks))[0])
        found = torch.cat(logits, dim=1)
        found = functional.interpolate(found, (size, size), mode="bilinear", antialias=True)
        return torch.cat([torch.zeros_like(found[:, :1]), found], dim=1)

    def _crossed(self, known: Tensor, answer: Tensor) -> Tensor:
        """The other's label map on unlabelled images; nothing on labelled ones."""
        unlabelled = (known == IGNORE).flatten(1).all(1)
        return answer.to(torch.uint8).masked_fill(~unlabelled[:, None, None], IGNORE)

    def _loss(
        self, logits: Tensor, known: Tensor, taught: Tensor, weight: float, of: int
    ) -> Tensor:
        ones = torch.ones(len(logits), device=logits.device)
        own = segmentation_loss(logits, known.long(), ones)
        return (own + weight * segmentation_loss(logits, taught.long(), ones)) * len(logits) / of

    @contextmanager
    def teachers_in_place(self) -> Iterator[None]:
        """The paper keeps no averages: the networks are their own teachers."""
        yield

    def finish(self) -> None:
        """Leave the networks as they are."""

    def state(self) -> dict[str, Any]:
        """All that a resumed round needs."""
        return {
            "unet": self._network.state_dict(),
            "sam": {name: p.detach() for name, p in self._sam_parameters.items()},
            "optimisers": [
                self._unet_optimiser.state_dict(),
                self._sam_optimiser.state_dict(),
            ],
            "step": self._step,
        }

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a kept `state`."""
        self._network.load_state_dict(state["unet"])
        for name, parameter in self._sam_parameters.items():
            parameter.copy_(state["sam"][name])
        for optimiser, kept in zip(
            (self._unet_optimiser, self._sam_optimiser), state["optimisers"], strict=True
        ):
            optimiser.load_state_dict(kept)
        self._step = int(state["step"])


def _random_clicks(mask: Any, scale: float, rng: np.random.Generator) -> list[Click]:
    """Five places in the mask and five outside; where there are none, -1 as SAM pads."""
    clicks: list[Click] = []
    for inside in (True, False):
        places = np.argwhere(mask == inside)
        for _ in range(POINTS):
            if len(places):
                row, col = (places[int(rng.integers(len(places)))] + 0.5) * scale - 0.5
                clicks.append((float(row), float(col), int(inside)))
            else:
                clicks.append((0.0, 0.0, -1))
    return clicks


def _entropy(logits: Tensor) -> Tensor:
    """Mean entropy over its maximum, ln (K + 1)."""
    probability = logits.softmax(1)
    entropy = -(probability * probability.clamp(min=1e-6).log()).sum(1).mean()
    return entropy / math.log(logits.shape[1])
