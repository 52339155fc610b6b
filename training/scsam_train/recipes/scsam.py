"""SC-SAM, corrected: U-Net and SAM teach each other with agreement-weighted pseudo-labels.

SC-SAM (arXiv 2601.17934) with the weighting of SynFoC (arXiv 2503.16997): where U-Net and
SAM disagree SAM leads, and the more they agree the more the U-Net counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from napari_scsam.core.settings import TrainSettings
from napari_scsam.models.pair import sure_points
from napari_scsam.models.sam import SamModel
from napari_scsam.models.unet import UNet
from scsam_train.decoding import Ask
from scsam_train.losses import hard_dice
from scsam_train.precision import mixed_precision
from scsam_train.pseudo import PseudoLabels
from scsam_train.schedules import learning_rate, ramp
from scsam_train.students import SamStudent, UNetStudent
from scsam_train.views import Materials, SamView

# A decoding step costs as much as two of the U-Net's.
SAM_EVERY = 2


@dataclass(frozen=True)
class StepReport:
    """What one step says of itself.

    Attributes
    ----------
    loss_unet, loss_sam : float or None
        The latest ones; SAM does not learn in every step. None before the first.
    agreement : float or None
        Mean trust in the U-Net, 0..1, over the pseudo-labels that there are.
    """

    loss_unet: float | None
    loss_sam: float | None
    agreement: float | None


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
        self._unet, self._data = unet, materials
        classes, usable = len(unet.class_ids), len(materials.other_views)
        self._pseudo = PseudoLabels(materials.other_valid[:usable], classes)
        self._unet_student = UNetStudent(unet, materials, self._pseudo, settings)
        self._sam_student = SamStudent(sam, classes, materials, self._pseudo, settings)
        self._step = 0

    def step(self, fraction: float) -> StepReport:
        """Take one step at `fraction` (0..1) of the round."""
        if len(self._pseudo):
            self._renew(self._step % len(self._pseudo))
        rate, trust = learning_rate(fraction), ramp(fraction)
        self._unet_student.update(rate, trust)
        if self._step % SAM_EVERY == 0:
            self._sam_student.update(rate, trust)
        self._step += 1
        return StepReport(self._unet_student.loss, self._sam_student.loss, self._pseudo.agreement)

    def finish(self) -> None:
        """Leave the teachers' weights in both networks: they are what a round keeps."""
        self._unet_student.teacher.copy_to_network()
        self._sam_student.teacher.copy_to_network()

    @torch.no_grad()
    def _renew(self, index: int) -> None:
        """Let the teachers look at one unlabelled plane again (SynFoC, METHOD 1.13)."""
        image = self._data.other_images[index : index + 1]
        with mixed_precision(self._unet.device):
            student = self._unet.network(image).argmax(1)[0]
            with self._unet_student.teacher.in_place():
                from_unet = self._unet.network(image).float().softmax(1)[0]
        with self._sam_student.teacher.in_place():
            from_sam = self._ask_sam(self._data.other_views[index][0], from_unet)
        found = from_unet.argmax(0)
        trust = hard_dice(student, found) * hard_dice(found, from_sam.argmax(0))
        self._pseudo.renew(index, from_unet, from_sam, trust)

    def _ask_sam(self, view: SamView, from_unet: Tensor) -> Tensor:
        """SAM's probabilities (K + 1, s, s), prompted as in use: tokens and sure points."""
        decoder = self._sam_student.decoder
        features = view.features.to(decoder.device).float()
        size, side = from_unet.shape[-1], decoder.side
        logits = [torch.zeros((1, 1, side, side), device=decoder.device)]
        for position in range(1, len(from_unet)):
            points = sure_points(from_unet[position].cpu().numpy()).points
            scale = side / size
            clicks = [((r + 0.5) * scale - 0.5, (c + 0.5) * scale - 0.5, 1) for r, c in points]
            classes = torch.tensor([position - 1], device=decoder.device)
            ask = Ask(classes, clicks=[clicks] if clicks else None)
            logits.append(decoder(features, ask)[0])
        probabilities = torch.cat(logits, dim=1).softmax(1)
        return functional.interpolate(probabilities, (size, size), mode="bilinear", antialias=True)[
            0
        ]
