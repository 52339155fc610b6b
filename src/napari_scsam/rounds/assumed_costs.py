"""Cost model of a round: costs of an earlier round, and assumed values before any was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_scsam.core.round_contract import GROWN, SIDE_MULTIPLE, SMALLEST_SIDE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_scsam.core.settings import Recipe, TrainSettings, UNetKind


@dataclass(frozen=True)
class Cost:
    """Cost of a recipe's training step.

    Attributes
    ----------
    unet : float
        Time of the U-Net, in units of `UNET_STEP_S`.
    sam_s : float
        Seconds of SAM per object in a step.
    uses_unlabelled : bool
    grows : bool
        Whether its U-Net starts with pictures of half the side, twice as many per step.
    """

    unet: float
    sam_s: float
    uses_unlabelled: bool
    grows: bool = True

    @property
    def uses_sam(self) -> bool:
        """Whether planes are embedded."""
        return self.sam_s > 0


# Assumed before the first round, on two cores: seconds of one embedding with LiteMedSAM and with
# the larger SAMs, of the U-Nets in a scsam step on 24 images of 128 px, of loading, and of
# evaluating a plane in addition to its embedding. STARTING_S is the start of the process, which no
# round measures. LiteMedSAM's and the U-Nets' were measured in a first round with the defaults on
# two cores held to AVX2: 0.70 s per embedding, 0.139 s per picture of 192 px.
EMBEDDING_S = 0.7
LARGE_S = {"vit_b": 14.0, "vit_l": 45.0, "vit_h": 90.0}  # assumed
LARGE_SIDE = 1024  # SAM (Kirillov et al. 2023)
# Time of an embedding with gradients, in units of one without. Rule of thumb: a backward pass
# takes twice the time of a forward pass.
WITH_GRADIENTS = 3.0
UNET_STEP_S, UNET_PIXELS = 1.3, 24 * 128**2  # measured, as above
LOADING_S = 2.0  # assumed
STARTING_S = 6.0  # assumed
EVALUATED_S = 1.5  # assumed
COSTS: dict[Recipe, Cost] = {
    "scsam": Cost(1.0, 0.03, True),
    "scsam-paper": Cost(0.6, 0.1, True, grows=False),
    "supervised": Cost(0.6, 0.0, False),
    "sam-only": Cost(0.0, 0.11, False, grows=False),
    "cps": Cost(1.2, 0.0, True),
    "mean-teacher": Cost(0.75, 0.0, True),
}
# GB of 10^9 bytes: libraries and both networks; SAM's part of a step, constant and per object; the
# U-Net's part per pixel; an embedding for training, and one for validation.
BASE_GB = 1.1
SAM_GB, OBJECT_GB = 0.2, 0.06  # assumed
STEP_GB_PER_PIXEL = 630e-9  # assumed
# 256 x 64 x 64 values of 2 bytes, and of 4 with the picture.
EMBEDDING_GB, EVALUATED_GB = 2.1e-3, 4.3e-3
# Time of a step of each U-Net relative to the one from scratch: 1.38 and 1.76 s of processor time
# compared with 1.97 s for 24 pictures of 128 px, one thread with AVX2 only.
KINDS: dict[UNetKind, float] = {"scratch": 1.0, "pretrained": 0.7, "pretrained+sam": 0.9}


@dataclass(frozen=True)
class Planes:
    """Numbers of training, held-out and unlabelled planes of a round, and of classes."""

    train: int
    held_out: int
    unlabelled: int
    classes: int


@dataclass(frozen=True)
class Past:
    """The last finished round, as basis for estimates.

    Attributes
    ----------
    number : int or None
        None for the small round that measured the machine.
    settings : TrainSettings
        Settings of that round.
    planes : Planes
        Planes of that round.
    rates : mapping
        From its ``metrics.json``.
    """

    number: int | None
    settings: TrainSettings
    planes: Planes
    rates: Mapping[str, Any]

    @property
    def source(self) -> str:
        """Source of the rates, such as ``"measured in round 3"``."""
        return f"measured {'on this machine' if self.number is None else f'in round {self.number}'}"


def assumed_embedding_s(settings: TrainSettings) -> float:
    """Return the assumed seconds of an embedding."""
    side = settings.sam_size or LARGE_SIDE
    return LARGE_S.get(settings.sam, EMBEDDING_S) * (side / LARGE_SIDE) ** 2


def assumed_step_s(settings: TrainSettings, planes: Planes) -> float:
    """Return the assumed seconds of a step."""
    cost = COSTS[settings.recipe]
    objects = settings.sam_batch
    if settings.recipe == "scsam-paper":  # decodes every class on every image
        objects = images_in_step(settings) * planes.classes
    encoding = 0.0
    if settings.profile == "adapted-encoder" and cost.uses_sam:
        pictures = WITH_GRADIENTS * objects
        if settings.recipe == "scsam":  # SAM is trained in some steps, and embeds unlabelled planes
            pictures = pictures / 8 + 1
        encoding = assumed_embedding_s(settings) * pictures
    kind = 1.0 if settings.recipe == "scsam-paper" else KINDS[settings.unet]
    unet = cost.unet * kind * UNET_STEP_S * pixels_in_step(settings) / UNET_PIXELS
    return unet + cost.sam_s * objects + encoding


def pictures_in_step(settings: TrainSettings, planes: Planes) -> float:
    """Return the mean number of training samples per step over a round."""
    cost = COSTS[settings.recipe]
    count = settings.labelled_batch
    if planes.unlabelled or not cost.uses_unlabelled:
        count += settings.unlabelled_batch
    half = settings.image_size // 2
    grows = (
        settings.unet == "scratch"
        and cost.grows
        and half >= SMALLEST_SIDE
        and half % SIDE_MULTIPLE == 0
    )
    if not grows:
        return float(count)
    # It grows at this share of the steps or of the pictures, whichever limits the round.
    return count * (1 + GROWN) if settings.budget(planes.train) is None else count / (1 - GROWN / 2)


def labelled_share(settings: TrainSettings, planes: Planes) -> float:
    """Return the share 0..1 of the U-Net's training samples that are labelled."""
    if not (COSTS[settings.recipe].uses_unlabelled and planes.unlabelled):
        return 1.0
    return settings.labelled_batch / images_in_step(settings)


def assumed_picture_s(settings: TrainSettings, planes: Planes) -> float:
    """Return the assumed seconds of a training sample, including SAM's part of the step."""
    return assumed_step_s(settings, planes) / pictures_in_step(settings, planes)


def uses_embeddings(settings: TrainSettings) -> bool:
    """Whether slices are embedded, for SAM or for a U-Net with SAM features."""
    return COSTS[settings.recipe].uses_sam or settings.unet == "pretrained+sam"


def images_in_step(settings: TrainSettings) -> int:
    """Return the number of pictures of full size per step."""
    return settings.labelled_batch + settings.unlabelled_batch


def pixels_in_step(settings: TrainSettings) -> int:
    """Return the number of pixels per step."""
    return images_in_step(settings) * settings.image_size**2
