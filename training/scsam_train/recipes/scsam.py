"""SC-SAM, corrected: U-Net and SAM teach each other with agreement-weighted pseudo-labels.

SC-SAM (arXiv 2601.17934) with the weighting of SynFoC (arXiv 2503.16997): the more U-Net and
SAM agree the more the U-Net counts. Where they disagree SynFoC lets the foundation model lead;
here so, too, once its class tokens are learned: until then the one leads that does better on the
labelled planes.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scsam_train.batches import Batch, BatchSampler, SupervisedLoss
from scsam_train.cutmix import cutmix
from scsam_train.losses import likeliest
from scsam_train.pseudo import PseudoLabels, of_trusted
from scsam_train.recipe_context import RecipeContext, StepReport
from scsam_train.refinement import EarlyMaps
from scsam_train.sam_student import MIN_WEIGHT, SamStudent
from scsam_train.schedules import ramp, shrunk
from scsam_train.students import UNetStudent
from scsam_train.teacher_reliability import TeacherReliability

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_scsam.models import Partner

# The U-Net's share in a pseudo-label is the agreement to this power. To the first, a pixel that
# the U-Net is wrongly sure of never reaches the confidence that a label needs, and it learns
# nothing of what it misses.
STEEP = 4
# SAM learns alone so long: from few labels it is soon better than a U-Net (docs/results/probes.md),
# sooner where it is told how the classes look.
LEAD, LEAD_TOLD = 0.1, 0.05
# From then on a step of SAM's for so many of the U-Net's.
SAM_EVERY = 8
# Pseudo-labelled pictures that the U-Net learns from for each unlabelled plane that SAM's teacher
# looks at again; in how many steps both teachers look at a labelled one.
PICTURES_PER_LOOK, EXAMINED_EVERY = 32, 24
SURVEYED = 16
# Where the two disagree SAM leads once it does this well on the labelled planes; before, who does
# better there. The U-Net's figure alone says little: it knows these planes by heart.
FAIR = 0.5
# Until pseudo-labels count fully: SAM's for the U-Net, in leads; back, in fractions of the rest.
LEADS_TO_UNET, RAMP_TO_SAM = 3, 0.5
# A pretrained U-Net is soon as good as SAM by its tokens. Until this fraction of the round both
# learn from labels, and SAM to correct the U-Net; then SAM, prompted by its maps, looks at every
# unlabelled plane, and both teachers have an equal share in the pseudo-labels. A step of SAM's is
# for fewer of the U-Net's, which takes fewer of them in all.
REFINES_FROM, SAM_EVERY_PRETRAINED = 0.35, 3

# Fractions of the round after which the U-Net's answers to labelled planes are kept for SAM to
# correct: while it still errs on them about as on new ones.
EARLY_AT = (0.1, 0.2, 0.35)


class ScSam:
    """Teachers on the weak view, students on the strong view of the same geometry.

    Teachers are moving averages. SAM learns first, from labels, by its class tokens. Then, by
    these tokens or, beside a pretrained U-Net, prompted by its maps, it looks at every unlabelled
    plane once, and from there on both learn from both.
    """

    members: ClassVar[tuple[str, ...]] = ("unet", "sam")
    uses_unlabelled: ClassVar[bool] = True
    from_scratch: ClassVar[bool] = False
    partner: ClassVar[Partner] = "prompted"

    def __init__(self, context: RecipeContext) -> None:
        self._context, self._data = context, context.materials
        usable = len(self._data.unlabelled_features)
        self._unet = UNetStudent(context.unet.network, context)
        self._pseudo = PseudoLabels(
            self._data.unlabelled_valid[:usable], context.classes, self._ask_unet_of, self._share
        )
        self._early = EarlyMaps()
        self._sam = SamStudent(context, self._pseudo, self._early)
        self._lessons, self._marker = BatchSampler(context), SupervisedLoss(context)
        self._exam = TeacherReliability(context.classes)
        lead = LEAD_TOLD if self._sam.is_told else LEAD
        self._lead = lead if context.fresh else 0.0
        self._without = context.settings.without
        from_scratch = context.unet.kind == "scratch"
        self._refines = not from_scratch and self._without != "unet-to-sam"
        self._ramp = LEADS_TO_UNET * lead
        self._surveyed_at, self._sam_every = self._lead, SAM_EVERY
        if not from_scratch:
            self._surveyed_at = self._ramp = REFINES_FROM
            self._sam_every = SAM_EVERY_PRETRAINED
        self._step = self._looked = self._examined = self._shown = self._kept_early = 0
        self._since = 0.0

    def step(self, fraction: float) -> StepReport:
        """Take one step; see `Recipe.step`."""
        pictures = 0
        if fraction < self._lead:
            self._sam.update(fraction)
            pictures = (
                self._context.settings.labelled_batch + self._context.settings.unlabelled_batch
            )
        elif self._looked < len(self._pseudo) and fraction >= self._surveyed_at:
            self._look(SURVEYED)
        else:
            pictures = self._teach(fraction)
        self._step += 1
        return StepReport(self._unet.loss, self._sam.loss, self._pseudo.agreement, pictures)

    def _teach(self, fraction: float) -> int:
        """Both learn from labels and from each other; how many pictures the U-Net saw."""
        since = self._since = (fraction - self._lead) / (1 - self._lead)
        self._look(self._due(since))
        if self._step % EXAMINED_EVERY == 0 or not self._examined:
            self._examine()
        trust = self._exam.reliability
        if self._without != "unet-to-sam" and len(EARLY_AT) > self._kept_early:
            self._keep_early(since)
        pictures = self._update_unet(since, ramp(fraction, self._ramp) * trust)
        if self._step % self._sam_every == 0:
            taught = self._without != "unet-to-sam"
            self._sam.update(fraction, ramp(since, RAMP_TO_SAM) * trust if taught else None)
        return pictures

    def _keep_early(self, since: float) -> None:
        """Keep what the U-Net thinks of the labelled planes, now and then while it still errs.

        One that goes on from another round knows them by heart from the start.
        """
        if since < EARLY_AT[self._kept_early]:
            return
        self._kept_early += 1
        self._early.known = True
        if self._context.sam.adapts_encoder or not self._context.fresh:
            return
        count = len(self._data.images)
        parts = [np.arange(count)[at : at + SURVEYED] for at in range(0, count, SURVEYED)]
        self._early.keep(torch.cat([self._sized(self._ask_unet_of_labelled(p)) for p in parts]))

    def _due(self, fraction: float) -> int:
        """How many planes are to be looked at again in this step."""
        if not self._looked:
            return 0
        before = self._shown
        self._shown += self._context.pictures_at(fraction, self._context.settings.unlabelled_batch)
        return self._shown // PICTURES_PER_LOOK - before // PICTURES_PER_LOOK

    def _update_unet(self, fraction: float, trust: NDArray[np.float64]) -> int:
        """Learn from so many pictures, which is returned.

        Until any class's pseudo-labels can be trusted, labelled planes take their places.
        """
        own = self._context.pictures_at(fraction, self._context.settings.labelled_batch)
        others = self._context.pictures_at(fraction, self._context.settings.unlabelled_batch)
        ready = self._pseudo.ready
        if not len(ready) or trust.max() < MIN_WEIGHT:
            own, others = own + others, 0
        batch = self._lessons.labelled(own, self._step, fraction)
        if others:
            batch = batch + self._pseudo_labelled(ready, others, trust, fraction)
        size = len(batch)
        batch = batch.part(self._context.world.part(size))
        loss = self._marker(self._unet(batch.images, batch.sam), batch, fraction, size)
        self._unet.learn(loss, fraction, batch.names)
        return size

    def _pseudo_labelled(
        self, ready: NDArray[np.int64], count: int, trust: NDArray[np.float64], fraction: float
    ) -> Batch:
        """Pseudo-labels of the classes that are trusted, each weighed by its own trust.

        A pixel of another class teaches nothing. A background pixel may be of one: it says only
        that it is of no trusted class.
        """
        trusted = trust >= MIN_WEIGHT
        known = torch.from_numpy(np.where(trusted, trust, 0.0) / trust.max()).float()
        chosen = self._lessons.choose_others(ready, count, self._step)
        side = self._context.side_at(fraction)
        labels = of_trusted(self._pseudo.label_maps(chosen, side), trusted)
        weight = float(trust.max())
        batch = self._lessons.others(
            chosen, labels, weight, self._step, fraction, known, distorted=True
        )
        return cutmix(batch, np.random.default_rng([self._context.settings.seed, 60, self._step]))

    def _look(self, count: int) -> None:
        """Let SAM's teacher look at the next unlabelled planes."""
        total = len(self._pseudo)
        chosen = [(self._looked + i) % total for i in range(min(count, total))]
        self._looked += len(chosen)
        if not chosen:
            return
        features = [self._data.unlabelled_features[i] for i in chosen]
        if self._refines:
            maps = self._sized(self._ask_unet_of(np.array(chosen)))
            answers = self._sam.refined(features, maps)
        else:
            answers = self._sam.taught(features, self._data.unlabelled_images.shape[-1])
        for index, from_sam in zip(chosen, answers, strict=True):
            self._pseudo.keep(index, from_sam)

    def _sized(self, maps: Tensor) -> Tensor:
        side = self._data.images.shape[-1]
        return functional.interpolate(maps, (side, side), mode="bilinear")

    def _ask_unet_of(self, indices: NDArray[np.int64]) -> Tensor:
        joined = self._context.sam_inputs
        maps = None if joined is None else joined.unlabelled(indices)
        return self._ask_unet(self._data.unlabelled_images[torch.from_numpy(indices)], maps)

    def _ask_unet_of_labelled(self, indices: NDArray[np.int64]) -> Tensor:
        joined = self._context.sam_inputs
        maps = None if joined is None else joined.labelled(indices)
        return self._ask_unet(self._data.images[torch.from_numpy(indices)], maps)

    def _ask_unet(self, images: Tensor, maps: Tensor | None) -> Tensor:
        """The U-Net teacher's probabilities, from pictures of the size that it learns at."""
        return self._unet.taught(shrunk(images, self._context.side_at(self._since)), maps)

    def _share(self, agreement: float) -> float:
        """The U-Net's share in a pseudo-label."""
        if self._without == "sam-to-unet":
            return 1.0
        if self._refines or self._without == "agreement":
            return 0.5
        sam_leads = self._exam.means[1] >= FAIR
        if sam_leads:
            return agreement**STEEP
        return agreement + (1 - agreement) * self._exam.unet_share

    def _examine(self) -> None:
        """Let the teachers answer a labelled plane, and compare."""
        index = self._examined % len(self._data.views)
        self._examined += 1
        features = [self._data.views[index][0].features]
        truth = self._data.labels[index].cpu().numpy()
        from_unet = self._sized(self._ask_unet_of_labelled(np.array([index])))
        from_sam = self._sam.taught(features, from_unet.shape[-1], index)
        judged = self._data.judged[index].cpu().numpy()
        self._exam.update(_label(from_unet), _label(from_sam), truth, judged)

    @contextmanager
    def teachers_in_place(self) -> Iterator[None]:
        """Have both networks hold their teachers' weights inside the block."""
        with (
            self._unet.teacher.in_place(),
            self._sam.teacher.in_place(),
            self._context.unet_at(self._since),
        ):
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
            "early": self._early.state(),
            "counts": [self._step, self._looked, self._examined, self._shown, self._kept_early],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a kept `state`."""
        self._unet.restore(state["unet"])
        self._sam.restore(state["sam"])
        self._pseudo.restore(state["pseudo"])
        self._exam.restore(state["exam"])
        self._early.restore(state["early"])
        counts = state["counts"]
        self._step, self._looked, self._examined, self._shown, self._kept_early = counts


def _label(maps: Tensor) -> NDArray[np.int64]:
    """Label map (s, s) of probabilities (1, K + 1, s, s)."""
    found: NDArray[np.int64] = likeliest(maps)[0].cpu().numpy()
    return found
