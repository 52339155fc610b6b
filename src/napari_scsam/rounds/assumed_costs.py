"""What a round costs: what an earlier one took, and what is assumed before any was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_scsam.core.round_contract import GROWN, SIDE_MULTIPLE, SMALLEST_SIDE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_scsam.core.settings import Recipe, TrainSettings, UNetKind


@dataclass(frozen=True)
class Cost:
    """What a recipe's step takes.

    Attributes
    ----------
    unet : float
        Of the time of `UNET_STEP_S`.
    sam_s : float
        Seconds of SAM for each object that it is asked for in a step.
    uses_unlabelled : bool
    grows : bool
        Whether its U-Net sees pictures of half the side at first, twice as many in a step.
    """

    unet: float
    sam_s: float
    uses_unlabelled: bool
    grows: bool = True

    @property
    def uses_sam(self) -> bool:
        """Whether it embeds planes."""
        return self.sam_s > 0


# What is assumed before the first round, on two cores: seconds of one embedding, LiteMedSAM's and
# those of the larger SAMs, of a scsam step's U-Nets on 24 images of 128 px, of reading and
# building, and of what a plane is judged by beside its embedding. A process takes some to start,
# which no round measures.
EMBEDDING_S = 0.6
LARGE_S = {"vit_b": 14.0, "vit_l": 45.0, "vit_h": 90.0}
LARGE_SIDE = 1024
# Of an embedding that gradients go through.
LEARNED = 3.0
UNET_STEP_S, UNET_PIXELS = 0.62, 24 * 128**2
LOADING_S = 2.0
STARTING_S = 6.0
JUDGED_S = 1.5
COSTS: dict[Recipe, Cost] = {
    "scsam": Cost(1.0, 0.03, True),
    "scsam-paper": Cost(0.6, 0.1, True, grows=False),
    "supervised": Cost(0.6, 0.0, False),
    "sam-only": Cost(0.0, 0.11, False, grows=False),
    "cps": Cost(1.2, 0.0, True),
    "mean-teacher": Cost(0.75, 0.0, True),
}
# GB of 10^9 bytes: the libraries and both networks, SAM's part of a step at all and for each
# object, the U-Net's for each pixel, an embedding as it is learned from, and one to judge by.
BASE_GB = 1.1
SAM_GB, OBJECT_GB = 0.2, 0.06
STEP_GB_PER_PIXEL = 630e-9
EMBEDDING_GB, JUDGED_GB = 2.1e-3, 4.3e-3
# What a step of each U-Net takes, in times of the one from scratch: 1.38 and 1.76 s of processor
# time against 1.97 s for 24 pictures of 128 px, one thread with AVX2 only.
KINDS: dict[UNetKind, float] = {"scratch": 1.0, "pretrained": 0.7, "pretrained+sam": 0.9}


@dataclass(frozen=True)
class Planes:
    """How many planes a round learns from and is judged on, and how many classes it learns."""

    train: int
    held_out: int
    unlabelled: int
    classes: int


@dataclass(frozen=True)
class Past:
    """What the last finished round says of the next.

    Attributes
    ----------
    number : int or None
        None for the small round by which a machine was measured.
    settings : TrainSettings
        Its own.
    planes : Planes
        Its own.
    rates : mapping
        From its ``metrics.json``.
    """

    number: int | None
    settings: TrainSettings
    planes: Planes
    rates: Mapping[str, Any]

    @property
    def source(self) -> str:
        """Such as ``"measured in round 3"``."""
        return f"measured {'on this machine' if self.number is None else f'in round {self.number}'}"


def assumed_embedding_s(settings: TrainSettings) -> float:
    """What an embedding is assumed to take."""
    side = settings.sam_size or LARGE_SIDE
    return LARGE_S.get(settings.sam, EMBEDDING_S) * (side / LARGE_SIDE) ** 2


def assumed_step_s(settings: TrainSettings, planes: Planes) -> float:
    """What a step is assumed to take."""
    cost = COSTS[settings.recipe]
    objects = settings.sam_batch
    if settings.recipe == "scsam-paper":  # asks for every class on every image
        objects = images_in_step(settings) * planes.classes
    encoding = 0.0
    if settings.profile == "adapted-encoder" and cost.uses_sam:
        pictures = LEARNED * objects
        if settings.recipe == "scsam":  # SAM learns now and then, and looks at unlabelled ones
            pictures = pictures / 8 + 1
        encoding = assumed_embedding_s(settings) * pictures
    kind = 1.0 if settings.recipe == "scsam-paper" else KINDS[settings.unet]
    unet = cost.unet * kind * UNET_STEP_S * pixels_in_step(settings) / UNET_PIXELS
    return unet + cost.sam_s * objects + encoding


def pictures_in_step(settings: TrainSettings, planes: Planes) -> float:
    """How many pictures the U-Net learns from in a step, on average over a round."""
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
    # It grows after that share of the steps, or of the pictures, whichever are counted.
    return count * (1 + GROWN) if settings.budget(planes.train) is None else count / (1 - GROWN / 2)


def labelled_share(settings: TrainSettings, planes: Planes) -> float:
    """Share 0..1 of the U-Net's pictures that are labelled."""
    if not (COSTS[settings.recipe].uses_unlabelled and planes.unlabelled):
        return 1.0
    return settings.labelled_batch / images_in_step(settings)


def assumed_picture_s(settings: TrainSettings, planes: Planes) -> float:
    """What a picture is assumed to take, with SAM's part of the step."""
    return assumed_step_s(settings, planes) / pictures_in_step(settings, planes)


def uses_embeddings(settings: TrainSettings) -> bool:
    """Whether slices are embedded, for SAM or for a U-Net that sees SAM's embedding."""
    return COSTS[settings.recipe].uses_sam or settings.unet == "pretrained+sam"


def images_in_step(settings: TrainSettings) -> int:
    """Pictures of the whole side in a step."""
    return settings.labelled_batch + settings.unlabelled_batch


def pixels_in_step(settings: TrainSettings) -> int:
    """Their pixels."""
    return images_in_step(settings) * settings.image_size**2
