"""The two students: each takes one step on labels and on the other's pseudo-labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_scsam.core.settings import TrainSettings
from napari_scsam.models.adapters import trainable_parameters
from napari_scsam.models.sam import SamModel
from napari_scsam.models.unet import UNet
from scsam_train.augment import change_intensity, random_geometry, warp, warp_labels
from scsam_train.clicks import first_clicks, jittered_box, next_click
from scsam_train.decoding import Ask, Decoder
from scsam_train.losses import IGNORE, class_weights, mask_iou, mask_loss, segmentation_loss
from scsam_train.precision import mixed_precision
from scsam_train.pseudo import PseudoLabels
from scsam_train.schedules import MovingAverage, balance_power, learning_rate
from scsam_train.views import Materials, SamView

CLIP = 1.0
IOU_WEIGHT = 0.1
SAM_BATCH = 4
# Below this weight a pseudo-label is not worth a decode.
MIN_WEIGHT = 0.2
# Share of labelled objects that are asked for where they are; the others may be absent.
PRESENT = 0.7
# Class tokens start from nothing, the rest from a trained decoder.
TOKEN_RATE = 5.0
MAX_FIRST_CLICKS = 5
MAX_CORRECTIONS = 3
# How often SAM is asked with class tokens alone, and with clicks; the rest are boxes.
TOKENS_ONLY, CLICKS = 0.5, 0.35
# At first with class tokens only: SAM teaches by them.
TOKENS_FIRST = 0.5
# Of the change of intensity on labelled planes; on unlabelled ones it is 1.
LABELLED_STRENGTH = 0.5


class UNetStudent:
    """Learns from strong views of labelled planes and of pseudo-labelled ones.

    Parameters
    ----------
    unet : UNet
    materials : Materials
    pseudo : PseudoLabels
    settings : TrainSettings
    """

    def __init__(
        self, unet: UNet, materials: Materials, pseudo: PseudoLabels, settings: TrainSettings
    ) -> None:
        parameters = dict(unet.network.named_parameters())
        self.teacher = MovingAverage(parameters)
        self.loss: float | None = None
        self._unet, self._data, self._pseudo, self._settings = unet, materials, pseudo, settings
        self._generator = torch.Generator().manual_seed(settings.seed + 1)
        self._optimiser = torch.optim.AdamW(parameters.values(), lr=settings.unet_lr)

    def update(self, fraction: float, trust_in_pseudo: float) -> None:
        """Take one step at `fraction` of the round; `trust_in_pseudo` weighs pseudo-labels."""
        rate = learning_rate(fraction)
        self._optimiser.param_groups[0]["lr"] = self._settings.unet_lr * rate
        images, targets, weights, strength = self._batch(trust_in_pseudo)
        geometry = random_geometry(len(images), self._generator, mirror=self._settings.mirror)
        geometry = geometry.to(self._unet.device)
        views = change_intensity(warp(images, geometry), self._generator, strength)
        with mixed_precision(self._unet.device):
            logits = self._unet.network(views).float()
        balance = class_weights(
            self._data.labels, 1 + len(self._unet.class_ids), balance_power(fraction)
        )
        target = warp_labels(targets, geometry).long()
        loss = segmentation_loss(logits, target, weights, balance)
        self.loss = _descend(loss, self._optimiser)
        self.teacher.update()

    def _batch(self, trust_in_pseudo: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Images, label maps, weights, and how strong their views are.

        Until pseudo-labels can be trusted, labelled planes take their places.
        """
        labelled, unlabelled = self._settings.labelled_batch, self._settings.unlabelled_batch
        ready = self._pseudo.ready
        if not len(ready) or trust_in_pseudo < MIN_WEIGHT:
            labelled, unlabelled = labelled + unlabelled, 0
        own = self._draw(len(self._data.images), labelled)
        images, targets = self._data.images[own], self._data.labels[own]
        if unlabelled:
            others = ready[self._draw(len(ready), unlabelled).numpy()]
            images = torch.cat([images, self._data.other_images[torch.from_numpy(others)]])
            targets = torch.cat([targets, self._pseudo.label_maps(others)])
        weights = torch.tensor([1.0] * labelled + [trust_in_pseudo] * unlabelled)
        strength = torch.tensor([LABELLED_STRENGTH] * labelled + [1.0] * unlabelled)
        device = self._unet.device
        return images, targets, weights.to(device), strength.to(device)

    def _draw(self, count: int, size: int) -> Tensor:
        return torch.randint(count, (size,), generator=self._generator)


@dataclass(frozen=True, eq=False)
class _Object:
    """One object that SAM is asked for: a view, a class, its mask, and its weight."""

    view: SamView
    position: int
    target: Tensor
    weight: float


class SamStudent:
    """Learns to answer class tokens, clicks, corrections and boxes.

    Parameters
    ----------
    sam : SamModel
        Adapted; its image encoder is not trained.
    classes : int
        K.
    materials : Materials
    pseudo : PseudoLabels
    settings : TrainSettings
    """

    def __init__(
        self,
        sam: SamModel,
        classes: int,
        materials: Materials,
        pseudo: PseudoLabels,
        settings: TrainSettings,
    ) -> None:
        parameters = trainable_parameters(sam.module)
        self.decoder = Decoder(sam.module)
        self.teacher = MovingAverage(parameters)
        self.loss: float | None = None
        self._classes, self._data, self._pseudo, self._lr = (
            classes,
            materials,
            pseudo,
            settings.sam_lr,
        )
        self._rng = np.random.default_rng(settings.seed + 2)
        tokens = [p for name, p in parameters.items() if "class_tokens" in name]
        others = [p for name, p in parameters.items() if "class_tokens" not in name]
        self._optimiser = torch.optim.AdamW([{"params": others}, {"params": tokens}])

    def update(self, fraction: float, trust_in_pseudo: NDArray[np.float64]) -> None:
        """Take one step.

        Parameters
        ----------
        fraction : float
            0..1, how much of the round is done.
        trust_in_pseudo : ndarray of shape (K,)
            Weight of the pseudo-labels of each class.
        """
        for group, factor in zip(self._optimiser.param_groups, (1.0, TOKEN_RATE), strict=True):
            group["lr"] = self._lr * learning_rate(fraction) * factor
        kind = self._rng.random() if fraction > TOKENS_FIRST else 0.0
        objects = self._objects(kind, trust_in_pseudo)
        if not objects:
            return
        device = self.decoder.device
        features = torch.cat([o.view.features for o in objects]).to(device).float()
        target = torch.stack([o.target for o in objects])[:, None].to(device)
        weight = torch.tensor([o.weight for o in objects], device=device)
        ask = self._prompts(kind, objects)
        if ask.clicks is not None:
            ask = self._corrections(features, target, ask)
        logits, iou = self.decoder(features, ask)
        # What the tool shows as confidence is learned from people's labels only.
        from_people = (weight == 1).float()
        iou_loss = (from_people * (iou - mask_iou(logits, target)) ** 2).mean()
        loss = mask_loss(logits, target, weight, balance_power(fraction)) + IOU_WEIGHT * iou_loss
        self.loss = _descend(loss, self._optimiser)
        self.teacher.update()

    def _objects(self, kind: float, trust_in_pseudo: NDArray[np.float64]) -> list[_Object]:
        """Labelled and pseudo-labelled ones by turns; prompts need something to point at."""
        ready = len(self._pseudo.ready) > 0
        trusted = np.flatnonzero(ready & (trust_in_pseudo > MIN_WEIGHT))
        objects = []
        for i in range(SAM_BATCH):
            if i % 2 and len(trusted):
                column = int(self._rng.choice(trusted))
                objects.append(self._pseudo_object(column + 1, float(trust_in_pseudo[column])))
            else:
                objects.append(self._labelled_object())
        return [o for o in objects if kind < TOKENS_ONLY or bool((o.target == 1).any())]

    def _labelled_object(self) -> _Object:
        position = 1 + int(self._rng.integers(self._classes))
        planes = list(range(len(self._data.views)))
        present = [plane for plane in planes if self._holds(plane, position)]
        if present and self._rng.random() < PRESENT:
            planes = present
        views = self._data.views[int(self._rng.choice(planes))]
        view = views[int(self._rng.integers(len(views)))]
        target = (view.label == position).to(torch.uint8)
        return _Object(view, position, target.masked_fill(view.label == IGNORE, IGNORE), 1.0)

    def _holds(self, plane: int, position: int) -> bool:
        return bool((self._data.views[plane][0].label == position).any())

    def _pseudo_object(self, position: int, weight: float) -> _Object:
        index = int(self._rng.choice(self._pseudo.ready))
        target = self._pseudo.mask(index, position, self.decoder.side).cpu()
        return _Object(self._data.other_views[index][1], position, target, weight)

    def _prompts(self, kind: float, objects: list[_Object]) -> Ask:
        classes = torch.tensor([o.position - 1 for o in objects], device=self.decoder.device)
        if kind < TOKENS_ONLY:
            return Ask(classes)
        named = classes if self._rng.random() < 0.5 else None
        masks = [(o.target == 1).numpy() for o in objects]
        if kind < TOKENS_ONLY + CLICKS:
            count = int(self._rng.integers(1, MAX_FIRST_CLICKS + 1))
            return Ask(named, clicks=[first_clicks(mask, count, self._rng) for mask in masks])
        return Ask(named, boxes=np.stack([jittered_box(mask, self._rng) for mask in masks]))

    @torch.no_grad()
    def _corrections(self, features: Tensor, target: Tensor, ask: Ask) -> Ask:
        """Answer, click on the largest mistake, and so on, as a person would."""
        for _ in range(int(self._rng.integers(MAX_CORRECTIONS + 1))):
            logits = self.decoder(features, ask)[0]
            clicks = [
                next_click((guess > 0).numpy(), (truth == 1).numpy(), (truth != IGNORE).numpy())
                for guess, truth in zip(logits[:, 0].cpu(), target[:, 0].cpu(), strict=True)
            ]
            found = [click for click in clicks if click is not None]
            if len(found) < len(clicks):
                break
            ask = ask.corrected(found, logits if self._rng.random() < 0.5 else None)
        return ask


def _descend(loss: Tensor, optimiser: torch.optim.Optimizer) -> float:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(parameters, CLIP)
    optimiser.step()
    return float(loss.detach())
