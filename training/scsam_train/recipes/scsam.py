"""SC-SAM, corrected: U-Net and SAM teach each other with agreement-weighted pseudo-labels.

SC-SAM (arXiv 2601.17934) with the weighting of SynFoC (arXiv 2503.16997): the more U-Net and
SAM agree the more the U-Net counts. Where they disagree SynFoC lets the foundation model lead;
here the one leads that does better on the labelled planes, because class tokens, too, have to
be learned first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from napari_scsam.core.settings import TrainSettings
from napari_scsam.models.sam import SamModel
from napari_scsam.models.unet import UNet
from scsam_train.decoding import Ask
from scsam_train.exam import Exam
from scsam_train.losses import hard_dice
from scsam_train.precision import mixed_precision
from scsam_train.pseudo import PseudoLabels
from scsam_train.schedules import ramp
from scsam_train.students import SamStudent, UNetStudent
from scsam_train.views import Materials, SamView

# Neither teacher can carry a pixel of which the other is sure of the opposite: such a pixel
# stays below the confidence that a pseudo-label needs.
MAX_LEAD = 0.9

# A step of SAM costs as much as several of the U-Net's.
SAM_EVERY = 6


@dataclass(frozen=True)
class StepReport:
    """What one step says of itself.

    Attributes
    ----------
    loss_unet, loss_sam : float or None
        The latest ones; SAM does not learn in every step. None before the first.
    agreement : float or None
        Mean agreement of the two, 0..1, over the pseudo-labels that there are.
    """

    loss_unet: float | None
    loss_sam: float | None
    agreement: float | None


class CoTraining:
    """Teachers on the weak view, students on the strong view of the same geometry.

    Teachers are moving averages. In one step they look again at one unlabelled plane, in the
    next at one labelled plane, so that a step stays short on a CPU.

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
        self._exam = Exam(classes)
        self._step = 0

    def step(self, fraction: float) -> StepReport:
        """Take one step at `fraction` (0..1) of the round."""
        turn, rest = divmod(self._step, SAM_EVERY)
        if rest == 0 and len(self._pseudo):
            self._look_again(turn)
        trust = ramp(fraction) * self._exam.reliability
        self._unet_student.update(fraction, float(trust.min()))
        if rest == 0:
            self._sam_student.update(fraction, trust)
        self._step += 1
        return StepReport(self._unet_student.loss, self._sam_student.loss, self._pseudo.agreement)

    @contextmanager
    def teachers_in_place(self) -> Iterator[None]:
        """Have both networks hold their teachers' weights inside the block."""
        with self._unet_student.teacher.in_place(), self._sam_student.teacher.in_place():
            yield

    def finish(self) -> None:
        """Leave the teachers' weights in both networks: they are what a round keeps."""
        self._unet_student.teacher.copy_to_network()
        self._sam_student.teacher.copy_to_network()

    def _look_again(self, turn: int) -> None:
        if turn % 2:
            self._renew(turn // 2 % len(self._pseudo))
        else:
            self._examine(turn // 2 % len(self._data.views))

    def _renew(self, index: int) -> None:
        """Let the teachers look at one unlabelled plane again (SynFoC, METHOD 1.13)."""
        image = self._data.other_images[index : index + 1]
        from_unet, from_sam = self._teachers(image, self._data.other_views[index][0])
        with torch.no_grad(), mixed_precision(self._unet.device):
            student = self._unet.network(image).argmax(1)[0]
        found = from_unet.argmax(0)
        agreement = hard_dice(student, found) * hard_dice(found, from_sam.argmax(0))
        share = agreement + (1 - agreement) * self._exam.unet_share
        share = min(max(share, 1 - MAX_LEAD), MAX_LEAD)
        self._pseudo.renew(index, from_unet, from_sam, share, agreement)

    def _examine(self, index: int) -> None:
        """Let the teachers answer a labelled plane, and compare."""
        image, label = self._data.images[index : index + 1], self._data.labels[index]
        from_unet, from_sam = self._teachers(image, self._data.views[index][0])
        maps = [found.argmax(0).cpu().numpy() for found in (from_unet, from_sam)]
        self._exam.mark(maps[0], maps[1], label.cpu().numpy())

    @torch.no_grad()
    def _teachers(self, image: Tensor, view: SamView) -> tuple[Tensor, Tensor]:
        """Probabilities (K + 1, s, s) of both teachers on a weak view."""
        with mixed_precision(self._unet.device), self._unet_student.teacher.in_place():
            from_unet = self._unet.network(image).float().softmax(1)[0]
        with self._sam_student.teacher.in_place():
            return from_unet, self._ask_sam(view, image.shape[-1])

    def _ask_sam(self, view: SamView, size: int) -> Tensor:
        """SAM's probabilities (K + 1, size, size) by its class tokens alone.

        Points from a U-Net that is still learning would only carry its mistakes over.
        """
        decoder = self._sam_student.decoder
        count = len(self._unet.class_ids)
        features = view.features.to(decoder.device).float().expand(count, -1, -1, -1)
        found = decoder(features, Ask(torch.arange(count, device=decoder.device)))[0][:, 0]
        probabilities = torch.cat([torch.zeros_like(found[:1]), found]).softmax(0)[None]
        return functional.interpolate(probabilities, (size, size), mode="bilinear", antialias=True)[
            0
        ]
