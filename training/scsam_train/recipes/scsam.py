"""SC-SAM, corrected: U-Net and SAM teach each other with agreement-weighted pseudo-labels.

SC-SAM (arXiv 2601.17934) with the weighting of SynFoC (arXiv 2503.16997): the more U-Net and
SAM agree the more the U-Net counts. Where they disagree SynFoC lets the foundation model lead;
here the one leads that does better on the labelled planes, because class tokens, too, have to
be learned first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from scsam_train.exam import Exam
from scsam_train.kit import Kit, StepReport
from scsam_train.lessons import Batch, Lessons, Marker
from scsam_train.losses import hard_dice
from scsam_train.pseudo import PseudoLabels
from scsam_train.schedules import ramp
from scsam_train.students import MIN_WEIGHT, SamStudent, UNetStudent

# Neither teacher can carry a pixel of which the other is sure of the opposite: such a pixel
# stays below the confidence that a pseudo-label needs.
MAX_LEAD = 0.9
# SAM learns alone so long: from few labels it is soon better than a U-Net (METHOD, top).
LEAD = 0.15
# From then on a step of SAM's for so many of the U-Net's.
SAM_EVERY = 6
# Unlabelled planes that the teachers look at again in a step, and labelled ones in how many.
RENEWED, EXAMINED_EVERY = 2, 12
SURVEYED = 16
# Fractions of the round until pseudo-labels count fully: SAM's for the U-Net, and back.
RAMP_TO_UNET, RAMP_TO_SAM = 0.3, 0.5


class ScSam:
    """Teachers on the weak view, students on the strong view of the same geometry.

    Teachers are moving averages. SAM learns first, from labels, by its class tokens. Then the
    teachers look at every unlabelled plane once, and from there on both learn from both.
    """

    members: ClassVar[tuple[str, ...]] = ("unet", "sam")
    uses_unlabelled: ClassVar[bool] = True

    def __init__(self, kit: Kit) -> None:
        self._kit, self._data = kit, kit.materials
        usable = len(self._data.other_features)
        self._pseudo = PseudoLabels(self._data.other_valid[:usable], kit.classes)
        self._unet = UNetStudent(kit.unet.network, kit)
        self._sam = SamStudent(kit, self._pseudo)
        self._lessons, self._marker = Lessons(kit), Marker(kit)
        self._exam = Exam(kit.classes)
        self._lead = LEAD if kit.fresh else 0.0
        self._without = kit.settings.without
        self._step = self._looked = self._examined = 0

    def step(self, fraction: float) -> StepReport:
        """Take one step; see `Recipe.step`."""
        if fraction < self._lead:
            self._sam.update(fraction)
        elif self._looked < len(self._pseudo):
            self._look(SURVEYED, alone=self._kit.fresh)
        else:
            self._teach(fraction)
        self._step += 1
        return StepReport(self._unet.loss, self._sam.loss, self._pseudo.agreement)

    def _teach(self, fraction: float) -> None:
        """Both learn from labels and from each other."""
        self._look(RENEWED)
        if self._step % EXAMINED_EVERY == 0 or not self._examined:
            self._examine()
        since = (fraction - self._lead) / (1 - self._lead)
        trust = self._exam.reliability
        self._update_unet(since, ramp(fraction, RAMP_TO_UNET) * float(trust.min()))
        if self._step % SAM_EVERY == 0:
            taught = self._without != "unet-to-sam"
            self._sam.update(fraction, ramp(since, RAMP_TO_SAM) * trust if taught else None)

    def _update_unet(self, fraction: float, trust: float) -> None:
        """Until pseudo-labels can be trusted, labelled planes take their places."""
        own, others = self._kit.settings.labelled_batch, self._kit.settings.unlabelled_batch
        ready = self._pseudo.ready
        if not len(ready) or trust < MIN_WEIGHT:
            own, others = own + others, 0
        batch = self._lessons.labelled(own, self._step)
        if others:
            batch = batch + self._pseudo_labelled(ready, others, trust)
        size = len(batch)
        batch = batch.part(self._kit.world.part(size))
        loss = self._marker(self._unet(batch.images), batch, fraction, size)
        self._unet.learn(loss, fraction, batch.names)

    def _pseudo_labelled(self, ready: NDArray[np.int64], count: int, trust: float) -> Batch:
        chosen = self._lessons.choose_others(ready, count, self._step)
        return self._lessons.others(chosen, self._pseudo.label_maps(chosen), trust, self._step)

    def _look(self, count: int, *, alone: bool = False) -> None:
        """Let the teachers look at the next unlabelled planes (SynFoC, METHOD 1.13).

        `alone`: only SAM, because the U-Net has not begun to learn.
        """
        total = len(self._pseudo)
        chosen = [(self._looked + i) % total for i in range(min(count, total))]
        self._looked += len(chosen)
        if not chosen:
            return
        images = self._data.other_images[torch.tensor(chosen)]
        side = images.shape[-1]
        from_sam = self._sam.taught([self._data.other_features[i] for i in chosen], side)
        from_unet = self._unet.taught(images)
        for at, index in enumerate(chosen):
            unet, sam = from_unet[at].argmax(0), from_sam[at].argmax(0)
            agreement = hard_dice(unet, sam)
            share = 0.0 if alone else self._share(agreement)
            mixed = (1 - share) * from_sam[at] + share * from_unet[at]
            self._pseudo.renew(index, mixed, agreement)

    def _share(self, agreement: float) -> float:
        """The U-Net's share in a pseudo-label."""
        if self._without == "sam-to-unet":
            return 1.0
        if self._without == "agreement":
            return 0.5
        share = agreement + (1 - agreement) * self._exam.unet_share
        return min(max(share, 1 - MAX_LEAD), MAX_LEAD)

    def _examine(self) -> None:
        """Let the teachers answer a labelled plane, and compare."""
        index = self._examined % len(self._data.views)
        self._examined += 1
        side = self._data.images.shape[-1]
        maps = [
            self._unet.taught(self._data.images[index : index + 1]),
            self._sam.taught([self._data.views[index][0].features], side),
        ]
        unet, sam = (found[0].argmax(0).cpu().numpy() for found in maps)
        self._exam.mark(unet, sam, self._data.labels[index].cpu().numpy())

    @contextmanager
    def teachers_in_place(self) -> Iterator[None]:
        """Have both networks hold their teachers' weights inside the block."""
        with self._unet.teacher.in_place(), self._sam.teacher.in_place():
            yield

    def finish(self) -> None:
        """Leave the teachers' weights in both networks: they are what a round keeps."""
        self._unet.teacher.copy_to_network()
        self._sam.teacher.copy_to_network()

    def state(self) -> dict[str, Any]:
        """All that a resumed round needs."""
        return {
            "unet": self._unet.state(),
            "sam": self._sam.state(),
            "pseudo": self._pseudo.state(),
            "exam": self._exam.state(),
            "counts": [self._step, self._looked, self._examined],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a kept `state`."""
        self._unet.restore(state["unet"])
        self._sam.restore(state["sam"])
        self._pseudo.restore(state["pseudo"])
        self._exam.restore(state["exam"])
        self._step, self._looked, self._examined = state["counts"]
