"""The two students: each takes one step on labels and on the other's pseudo-labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from napari_scsam.core.settings import TrainSettings
from napari_scsam.models.adapters import trainable_parameters
from napari_scsam.models.sam import SamModel
from napari_scsam.models.unet import UNet
from scsam_train.augment import change_intensity, random_geometry, warp, warp_labels
from scsam_train.clicks import first_clicks, jittered_box, next_click
from scsam_train.decoding import Ask, Decoder
from scsam_train.losses import IGNORE, mask_iou, mask_loss, segmentation_loss
from scsam_train.precision import mixed_precision
from scsam_train.pseudo import PseudoLabels
from scsam_train.schedules import MovingAverage
from scsam_train.views import Materials, SamView

CLIP = 1.0
IOU_WEIGHT = 0.1
SAM_BATCH = 4
# Below this weight a pseudo-label is not worth a decode.
MIN_WEIGHT = 0.02
MAX_FIRST_CLICKS = 5
MAX_CORRECTIONS = 3
# How often SAM is asked with class tokens alone, and with clicks; the rest are boxes.
TOKENS_ONLY, CLICKS = 0.4, 0.45


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

    def update(self, rate: float, trust_in_pseudo: float) -> None:
        """Take one step; `rate` is the factor of the learning rate."""
        self._optimiser.param_groups[0]["lr"] = self._settings.unet_lr * rate
        images, targets, weights = self._batch(trust_in_pseudo)
        geometry = random_geometry(len(images), self._generator, mirror=self._settings.mirror)
        geometry = geometry.to(self._unet.device)
        views = change_intensity(warp(images, geometry), self._generator)
        with mixed_precision(self._unet.device):
            logits = self._unet.network(views).float()
        loss = segmentation_loss(logits, warp_labels(targets, geometry).long(), weights)
        self.loss = _descend(loss, self._optimiser)
        self.teacher.update()

    def _batch(self, trust_in_pseudo: float) -> tuple[Tensor, Tensor, Tensor]:
        labelled = self._draw(len(self._data.images), self._settings.labelled_batch)
        images, targets = [self._data.images[labelled]], [self._data.labels[labelled]]
        weights = [torch.ones(len(labelled))]
        ready = self._pseudo.ready
        if len(ready) and self._settings.unlabelled_batch:
            chosen = ready[self._draw(len(ready), self._settings.unlabelled_batch).numpy()]
            images.append(self._data.other_images[torch.from_numpy(chosen)])
            targets.append(self._pseudo.label_maps(chosen))
            weights.append(torch.full((len(chosen),), trust_in_pseudo))
        weight = torch.cat(weights).to(self._unet.device)
        return torch.cat(images), torch.cat(targets), weight

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
        self._optimiser = torch.optim.AdamW(parameters.values(), lr=settings.sam_lr)

    def update(self, rate: float, trust_in_pseudo: float) -> None:
        """Take one step; `rate` is the factor of the learning rate."""
        self._optimiser.param_groups[0]["lr"] = self._lr * rate
        kind = self._rng.random()
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
        loss = mask_loss(logits, target, weight) + IOU_WEIGHT * iou_loss
        self.loss = _descend(loss, self._optimiser)
        self.teacher.update()

    def _objects(self, kind: float, trust_in_pseudo: float) -> list[_Object]:
        """Labelled and pseudo-labelled ones by turns; prompts need something to point at."""
        pseudo = len(self._pseudo.ready) > 0 and trust_in_pseudo > MIN_WEIGHT
        objects = [
            self._pseudo_object(trust_in_pseudo) if pseudo and i % 2 else self._labelled_object()
            for i in range(SAM_BATCH)
        ]
        return [o for o in objects if kind < TOKENS_ONLY or bool((o.target == 1).any())]

    def _labelled_object(self) -> _Object:
        views = self._data.views[int(self._rng.integers(len(self._data.views)))]
        view = views[int(self._rng.integers(len(views)))]
        position = 1 + int(self._rng.integers(self._classes))
        target = (view.label == position).to(torch.uint8)
        return _Object(view, position, target.masked_fill(view.label == IGNORE, IGNORE), 1.0)

    def _pseudo_object(self, weight: float) -> _Object:
        ready = self._pseudo.ready
        index = int(ready[int(self._rng.integers(len(ready)))])
        position = 1 + int(self._rng.integers(self._classes))
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
    parameters = cast(list[nn.Parameter], optimiser.param_groups[0]["params"])
    nn.utils.clip_grad_norm_(parameters, CLIP)
    optimiser.step()
    return float(loss.detach())
