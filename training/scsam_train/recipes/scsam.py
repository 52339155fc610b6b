"""SC-SAM, corrected: U-Net and SAM teach each other with agreement-weighted pseudo-labels.

SC-SAM (arXiv 2601.17934) with the weighting of SynFoC (arXiv 2503.16997): where U-Net and
SAM disagree SAM leads, and the more they agree the more the U-Net counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_scsam.core.settings import TrainSettings
from napari_scsam.models.adapters import trainable_parameters
from napari_scsam.models.pair import sure_points
from napari_scsam.models.sam import SamModel
from napari_scsam.models.unet import UNet
from scsam_train.augment import change_intensity, random_geometry, warp, warp_labels
from scsam_train.clicks import first_clicks, jittered_box, next_click
from scsam_train.decoding import Ask, Decoder
from scsam_train.losses import IGNORE, hard_dice, mask_iou, mask_loss, segmentation_loss
from scsam_train.schedules import MovingAverage, learning_rate, ramp
from scsam_train.views import Materials, SamView

# Pixels that teach: the mixed teacher is this sure of them.
CONFIDENT = 0.9
# A decoding step costs as much as two of the U-Net's.
SAM_EVERY = 2
SAM_BATCH = 4
CLIP = 1.0
IOU_WEIGHT = 0.1
MAX_FIRST_CLICKS = 5
MAX_CORRECTIONS = 3
# How often SAM is asked with what; the rest are boxes.
TOKENS_ONLY, CLICKS = 0.4, 0.45


@dataclass(frozen=True)
class StepReport:
    """What one step says of itself.

    Attributes
    ----------
    loss_unet, loss_sam : float
        `loss_sam` is the latest one, NaN before the first.
    agreement : float or None
        Mean trust in the U-Net, 0..1, over the pseudo-labels that there are.
    """

    loss_unet: float
    loss_sam: float
    agreement: float | None


@dataclass(frozen=True, eq=False)
class _Object:
    """One object that SAM is asked for: a view, a class, its mask, and its weight."""

    view: SamView
    position: int
    target: Tensor
    weight: float


class CoTraining:
    """Teachers on the weak view, students on the strong view of the same geometry.

    Teachers are moving averages. Their pseudo-labels are kept for every unlabelled plane
    and renewed one plane per step, so that a step stays short on a CPU.

    Parameters
    ----------
    unet : UNet
    sam : SamModel
        Adapted, on cached embeddings.
    materials : Materials
    settings : TrainSettings
    """

    def __init__(
        self, unet: UNet, sam: SamModel, materials: Materials, settings: TrainSettings
    ) -> None:
        self._unet, self._sam, self._data, self._settings = unet, sam, materials, settings
        self._device = unet.device
        self._decoder = Decoder(sam.module)
        self._generator = torch.Generator().manual_seed(settings.seed + 1)
        self._rng = np.random.default_rng(settings.seed + 2)
        unet_parameters = dict(unet.network.named_parameters())
        sam_parameters = trainable_parameters(sam.module)
        self._unet_optimiser = torch.optim.AdamW(unet_parameters.values(), lr=settings.unet_lr)
        self._sam_optimiser = torch.optim.AdamW(sam_parameters.values(), lr=settings.sam_lr)
        self._unet_teacher = MovingAverage(unet_parameters)
        self._sam_teacher = MovingAverage(sam_parameters)
        count, side = len(materials.other_views), unet.image_size
        classes = len(unet.class_ids)
        self._pseudo = torch.zeros((count, classes + 1, side, side), device=self._device)
        self._trust = torch.full((count,), torch.nan)
        self._step = 0
        self._loss_sam = float("nan")

    def step(self, fraction: float) -> StepReport:
        """Take one step at `fraction` (0..1) of the round."""
        for optimiser, rate in (
            (self._unet_optimiser, self._settings.unet_lr),
            (self._sam_optimiser, self._settings.sam_lr),
        ):
            optimiser.param_groups[0]["lr"] = rate * learning_rate(fraction)
        if len(self._trust):
            self._renew(self._step % len(self._trust))
        loss_unet = self._update_unet(ramp(fraction))
        if self._step % SAM_EVERY == 0:
            self._loss_sam = self._update_sam(ramp(fraction))
        self._step += 1
        trusted = self._trust[~self._trust.isnan()]
        return StepReport(
            loss_unet, self._loss_sam, float(trusted.mean()) if len(trusted) else None
        )

    def finish(self) -> None:
        """Leave the teachers' weights in both networks: they are what a round keeps."""
        self._unet_teacher.copy_to_network()
        self._sam_teacher.copy_to_network()

    # Teachers

    @torch.no_grad()
    def _renew(self, index: int) -> None:
        """Let the teachers look at one unlabelled plane again (SynFoC, eq. 5 to 7)."""
        image = self._data.other_images[index : index + 1]
        student = self._unet.network(image).argmax(1)[0]
        with self._unet_teacher.in_place():
            from_unet = self._unet.network(image).softmax(1)[0]
        with self._sam_teacher.in_place():
            from_sam = self._ask_sam(self._data.other_views[index][0], from_unet)
        found = from_unet.argmax(0)
        trust = hard_dice(student, found) * hard_dice(found, from_sam.argmax(0))
        self._pseudo[index] = (1 - trust) * from_sam + trust * from_unet
        self._trust[index] = trust

    def _ask_sam(self, view: SamView, from_unet: Tensor) -> Tensor:
        """SAM's probabilities (K + 1, s, s), prompted as in use: tokens and sure points."""
        features = view.features.to(self._device).float()
        size, side = from_unet.shape[-1], self._decoder.side
        logits = [torch.zeros((1, 1, side, side), device=self._device)]
        for position in range(1, len(from_unet)):
            prompts = sure_points(from_unet[position].cpu().numpy())
            scaled = [
                ((r + 0.5) * side / size - 0.5, (c + 0.5) * side / size - 0.5, 1)
                for r, c in prompts.points
            ]
            ask = Ask(self._classes([position]), clicks=[scaled] if scaled else None)
            logits.append(self._decoder(features, ask)[0])
        probabilities = torch.cat(logits, dim=1).softmax(1)
        return functional.interpolate(probabilities, (size, size), mode="bilinear", antialias=True)[
            0
        ]

    # U-Net

    def _update_unet(self, trust_in_pseudo: float) -> float:
        images, targets, weights = self._unet_batch(trust_in_pseudo)
        geometry = random_geometry(len(images), self._generator, mirror=self._settings.mirror)
        geometry = geometry.to(self._device)
        views = change_intensity(warp(images, geometry), self._generator)
        logits = self._unet.network(views)
        loss = segmentation_loss(logits, warp_labels(targets, geometry).long(), weights)
        self._descend(loss, self._unet_optimiser)
        self._unet_teacher.update()
        return float(loss)

    def _unet_batch(self, trust_in_pseudo: float) -> tuple[Tensor, Tensor, Tensor]:
        labelled = self._draw(len(self._data.images), self._settings.labelled_batch)
        images, targets = [self._data.images[labelled]], [self._data.labels[labelled]]
        weights = [torch.ones(len(labelled))]
        ready = np.flatnonzero(~self._trust.isnan().numpy())
        if len(ready) and self._settings.unlabelled_batch:
            chosen = ready[self._draw(len(ready), self._settings.unlabelled_batch).numpy()]
            images.append(self._data.other_images[chosen])
            targets.append(self._hard_pseudo(chosen))
            weights.append(torch.full((len(chosen),), trust_in_pseudo))
        return torch.cat(images), torch.cat(targets), torch.cat(weights).to(self._device)

    def _hard_pseudo(self, chosen: np.ndarray) -> Tensor:
        sure, label = self._pseudo[chosen].max(1)
        known = (sure > CONFIDENT) & self._data.other_valid[chosen]
        return label.to(torch.uint8).masked_fill(~known, IGNORE)

    # SAM

    def _update_sam(self, trust_in_pseudo: float) -> float:
        kind = self._rng.random()
        objects = [
            self._pseudo_object(trust_in_pseudo) if i % 2 else self._labelled_object(kind)
            for i in range(SAM_BATCH)
        ]
        objects = [found for found in objects if found is not None]
        if kind > TOKENS_ONLY:
            objects = [o for o in objects if (o.target == 1).any()]
        if not objects:
            return self._loss_sam
        features = torch.cat([o.view.features for o in objects]).to(self._device).float()
        target = torch.stack([o.target for o in objects])[:, None].to(self._device)
        weight = torch.tensor([o.weight for o in objects], device=self._device)
        ask = self._prompts(kind, objects)
        if TOKENS_ONLY < kind <= TOKENS_ONLY + CLICKS:
            ask = self._corrections(features, target, ask)
        logits, iou = self._decoder(features, ask)
        loss = mask_loss(logits, target, weight)
        known = (weight == 1).float()
        loss = loss + IOU_WEIGHT * (known * (iou - mask_iou(logits, target)) ** 2).mean()
        self._descend(loss, self._sam_optimiser)
        self._sam_teacher.update()
        return float(loss)

    def _labelled_object(self, kind: float) -> _Object:
        views = self._data.views[int(self._rng.integers(len(self._data.views)))]
        view = views[int(self._rng.integers(len(views)))]
        position = 1 + int(self._rng.integers(len(self._unet.class_ids)))
        return _Object(view, position, _binary(view.label, position), 1.0)

    def _pseudo_object(self, trust_in_pseudo: float) -> _Object | None:
        ready = np.flatnonzero(~self._trust.isnan().numpy())
        if not len(ready) or trust_in_pseudo < 0.02:
            return None
        index = int(ready[int(self._rng.integers(len(ready)))])
        position = 1 + int(self._rng.integers(len(self._unet.class_ids)))
        side = self._decoder.side
        probability = functional.interpolate(
            self._pseudo[index : index + 1, position : position + 1],
            (side, side),
            mode="bilinear",
        )[0, 0]
        valid = functional.interpolate(
            self._data.other_valid[index][None, None].float(), (side, side)
        )[0, 0]
        target = torch.full((side, side), IGNORE, dtype=torch.uint8)
        target[(probability > CONFIDENT) & (valid > 0)] = 1
        target[(probability < 1 - CONFIDENT) & (valid > 0)] = 0
        return _Object(self._data.other_views[index][1], position, target, trust_in_pseudo)

    def _prompts(self, kind: float, objects: list[_Object]) -> Ask:
        classes = self._classes([o.position for o in objects])
        if kind <= TOKENS_ONLY:
            return Ask(classes)
        named = classes if self._rng.random() < 0.5 else None
        masks = [(o.target == 1).numpy() for o in objects]
        if kind <= TOKENS_ONLY + CLICKS:
            count = int(self._rng.integers(1, MAX_FIRST_CLICKS + 1))
            return Ask(named, clicks=[first_clicks(mask, count, self._rng) for mask in masks])
        return Ask(named, boxes=np.stack([jittered_box(mask, self._rng) for mask in masks]))

    @torch.no_grad()
    def _corrections(self, features: Tensor, target: Tensor, ask: Ask) -> Ask:
        """Answer, click on the largest mistake, and so on, as a person would."""
        for _ in range(int(self._rng.integers(0, MAX_CORRECTIONS + 1))):
            logits = self._decoder(features, ask)[0]
            clicks = [
                next_click((guess > 0).numpy(), (truth == 1).numpy(), (truth != IGNORE).numpy())
                for guess, truth in zip(logits[:, 0].cpu(), target[:, 0].cpu(), strict=True)
            ]
            if any(click is None for click in clicks):
                break
            fed_back = logits if self._rng.random() < 0.5 else None
            ask = ask.corrected([click for click in clicks if click is not None], fed_back)
        return ask

    # Small things

    def _classes(self, positions: list[int]) -> Tensor:
        return torch.tensor(positions, device=self._device) - 1

    def _draw(self, count: int, size: int) -> Tensor:
        return torch.randint(count, (size,), generator=self._generator)

    @staticmethod
    def _descend(loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimiser.step()


def _binary(label: Tensor, position: int) -> Tensor:
    target = (label == position).to(torch.uint8)
    return target.masked_fill(label == IGNORE, IGNORE)
