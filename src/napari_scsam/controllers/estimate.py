"""What a round will take, before it starts: from its planes, its settings, and earlier rounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_scsam.controllers.queue import plane_total
from napari_scsam.core.settings import Recipe, TrainSettings
from napari_scsam.project.rounds import round_settings

if TYPE_CHECKING:
    from napari_scsam.project import Project, RoundRecord

# As the training room has them, which is not imported here; a test compares.
MAX_VIEWS = 4
LABELLED_EMBEDDINGS = 160
MAX_JUDGED = 40
MAX_CLICKED = 12
EMBEDDING_SHARE = 0.35
MIN_PLANES_TO_HOLD_OUT = 5


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
    """

    unet: float
    sam_s: float
    uses_unlabelled: bool

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
    "scsam-paper": Cost(0.6, 0.1, True),
    "supervised": Cost(0.6, 0.0, False),
    "sam-only": Cost(0.0, 0.11, False),
    "cps": Cost(1.2, 0.0, True),
    "mean-teacher": Cost(0.75, 0.0, True),
}
# GB of 10^9 bytes: the libraries and both networks, SAM's part of a step at all and for each
# object, the U-Net's for each pixel, an embedding as it is learned from, and one to judge by.
BASE_GB = 1.1
SAM_GB, OBJECT_GB = 0.2, 0.06
STEP_GB_PER_PIXEL = 630e-9
EMBEDDING_GB, JUDGED_GB = 2.1e-3, 4.3e-3


@dataclass(frozen=True)
class Past:
    """What the last finished round says of the next.

    Attributes
    ----------
    number : int
    settings : TrainSettings
        Its own.
    planes : Planes
        Its own.
    rates : mapping
        From its ``metrics.json``.
    """

    number: int
    settings: TrainSettings
    planes: Planes
    rates: Mapping[str, Any]


@dataclass(frozen=True)
class Survey:
    """What a round of a project would find now.

    Attributes
    ----------
    labelled : mapping of str to int
        Labelled planes by case.
    unlabelled : tuple of int
        Unlabelled planes of each image.
    classes : int
        K.
    plane_pixels : float
        Mean number of pixels of a plane.
    past : Past or None
        None where no round has been measured.
    """

    labelled: Mapping[str, int]
    unlabelled: tuple[int, ...]
    classes: int
    plane_pixels: float
    past: Past | None = None


@dataclass(frozen=True)
class Planes:
    """How many planes a round learns from and is judged on, and how many classes it learns."""

    train: int
    held_out: int
    unlabelled: int
    classes: int


@dataclass(frozen=True)
class Estimate:
    """What a round will take.

    Attributes
    ----------
    seconds, memory_gb : float
    measured_in : int or None
        The round whose cost it comes from; None where it is assumed.
    detail : str
        What the time goes to.
    """

    seconds: float
    memory_gb: float
    measured_in: int | None
    detail: str

    @property
    def text(self) -> str:
        """Such as ``"about 4 min, 2.1 GB"``."""
        return f"about {rounded_time(self.seconds)}, {self.memory_gb:.1f} GB"

    @property
    def source(self) -> str:
        """Such as ``"measured in round 3"``."""
        if self.measured_in is None:
            return "assumed for two cores"
        return f"measured in round {self.measured_in}"

    @property
    def sentence(self) -> str:
        """Such as ``"About 4 min, 2.1 GB (measured in round 3)."``."""
        return f"A{self.text[1:]} ({self.source})."

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "seconds": round(self.seconds, 1),
            "memory_gb": round(self.memory_gb, 2),
            "measured_in": self.measured_in,
            "text": self.sentence,
        }


def estimate_round(project: Project, settings: TrainSettings) -> Estimate | None:
    """What a round of a project would take now; None while there is nothing to learn from."""
    return estimate(survey(project), settings)


def survey(project: Project) -> Survey:
    """Count planes by commits and image shapes, reading neither images nor labels."""
    images = [image for image in project.images() if image.path.is_file()]
    labels = project.all_committed_planes()
    labelled: Counter[str] = Counter()
    rest, pixels = [], 0
    for image in images:
        total = plane_total(image)
        # A commit along another axis annotates a line of every plane: all are learned from.
        count = len(labels[image.id]) or total if image.id in labels else 0
        labelled[image.case] += count
        rest.append(total - count)
        pixels += image.shape[-2] * image.shape[-1]
    return Survey(
        {case: count for case, count in labelled.items() if count},
        tuple(rest),
        len(project.classes),
        pixels / max(1, len(images)),
        _past(project.rounds()),
    )


def _past(rounds: list[RoundRecord]) -> Past | None:
    for record in reversed(rounds):
        rates, settings = record.metrics.get("rates"), round_settings(record.folder)
        if rates and settings is not None:
            metrics = record.metrics
            planes = Planes(
                int(metrics["labelled_planes"]),
                int(metrics["validation"]["planes"]),
                int(metrics["unlabelled_planes"]),
                max(1, len(metrics["dice"]["pair"]) - 1),
            )
            return Past(record.number, settings, planes, rates)
    return None


def estimate(found: Survey, settings: TrainSettings) -> Estimate | None:
    """What a round would take; None while there is nothing to learn from."""
    planes = count_planes(found, settings)
    if not planes.train:
        return None
    if found.past is not None and not _comparable(found.past, settings):
        found = replace(found, past=None)
    past = found.past
    embedding_s = _measured(past, "seconds_per_embedding") or _embedding_s(settings)
    embeddings = _embeddings(settings, planes)
    preparing = STARTING_S + (_measured(past, "seconds_loading") or LOADING_S)
    if settings.minutes is not None:
        most = EMBEDDING_SHARE * 60 * settings.minutes / embedding_s
        embeddings = min(embeddings, max(planes.train, int(most)))
    adapts = settings.profile == "adapted-encoder"
    parts = (
        preparing + (0 if adapts else embeddings * embedding_s),
        settings.max_steps * _scaled(past, "seconds_per_step", settings, planes),
        _judging_s(past, settings, planes, embedding_s),
    )
    seconds = sum(parts)
    detail = (
        f"Preparing {embeddings} views of slices {rounded_time(parts[0])}, training "
        f"{rounded_time(parts[1])}, checking {rounded_time(parts[2])}."
    )
    if settings.minutes is not None and 60 * settings.minutes < seconds:
        seconds, detail = 60 * settings.minutes, "As long as the time limit."
    memory = _memory_gb(found, settings, planes, embeddings)
    return Estimate(seconds, memory, None if past is None else past.number, detail)


def count_planes(found: Survey, settings: TrainSettings) -> Planes:
    """How many planes of each kind a round would have, if none of them is constant."""
    total, cases = sum(found.labelled.values()), len(found.labelled)
    held_out = 0
    if settings.holdout and cases >= 2:
        share = min(cases - 1, max(1, round(settings.holdout * cases))) / cases
        held_out = min(total - 1, round(share * total))
    elif settings.holdout and total >= MIN_PLANES_TO_HOLD_OUT:
        held_out = max(1, int(settings.holdout * total))
    wanted = settings.unlabelled_planes if settings.unlabelled_batch else 0
    if not COSTS[settings.recipe].uses_unlabelled:
        wanted = 0
    share = -(-wanted // max(1, len(found.unlabelled)))
    unlabelled = min(wanted, sum(min(count, 2 * share) for count in found.unlabelled))
    return Planes(total - held_out, min(held_out, MAX_JUDGED), unlabelled, found.classes)


def _measured(past: Past | None, name: str) -> float | None:
    value = None if past is None else past.rates.get(name)
    return None if value is None else float(value)


def _comparable(past: Past, settings: TrainSettings) -> bool:
    """Whether another round was measured on the same device with the same SAM."""
    sams = [(s.sam, s.sam_size, s.profile) for s in (past.settings, settings)]
    return sams[0] == sams[1] and settings.device in ("auto", past.rates["device"])


def _embedding_s(settings: TrainSettings) -> float:
    """What an embedding is assumed to take."""
    side = settings.sam_size or LARGE_SIDE
    return LARGE_S.get(settings.sam, EMBEDDING_S) * (side / LARGE_SIDE) ** 2


def _embeddings(settings: TrainSettings, planes: Planes) -> int:
    if not COSTS[settings.recipe].uses_sam or not planes.train:
        return 0
    views = min(MAX_VIEWS, max(1, LABELLED_EMBEDDINGS // planes.train))
    if settings.profile == "adapted-encoder":  # each step draws its own
        views = 1
    return views * planes.train + planes.unlabelled


def _step_s(settings: TrainSettings, planes: Planes) -> float:
    """What a step is assumed to take."""
    cost = COSTS[settings.recipe]
    objects = settings.sam_batch
    if settings.recipe == "scsam-paper":  # asks for every class on every image
        objects = _images(settings) * planes.classes
    encoding = 0.0
    if settings.profile == "adapted-encoder" and cost.uses_sam:
        pictures = LEARNED * objects
        if settings.recipe == "scsam":  # SAM learns now and then, and looks at unlabelled ones
            pictures = pictures / 8 + 1
        encoding = _embedding_s(settings) * pictures
    unet = cost.unet * UNET_STEP_S * _pixels(settings) / UNET_PIXELS
    return unet + cost.sam_s * objects + encoding


def _scaled(past: Past | None, name: str, settings: TrainSettings, planes: Planes) -> float:
    """The assumed time of a step, corrected by what the last round's really took."""
    assumed, measured = _step_s(settings, planes), _measured(past, name)
    if past is None or measured is None:
        return assumed
    return measured * assumed / _step_s(past.settings, past.planes)


def _judging_s(
    past: Past | None, settings: TrainSettings, planes: Planes, embedding_s: float
) -> float:
    def assumed(of: TrainSettings, on: Planes) -> float:
        clicked = MAX_CLICKED * embedding_s if COSTS[of.recipe].uses_sam else 0.0
        return 1.0 + clicked + on.held_out * (embedding_s + JUDGED_S)

    measured = _measured(past, "seconds_judging")
    if past is None or measured is None:
        return assumed(settings, planes)
    return measured * assumed(settings, planes) / assumed(past.settings, past.planes)


def _memory_gb(found: Survey, settings: TrainSettings, planes: Planes, embeddings: int) -> float:
    past = found.past
    assumed = _assumed_gb(found, settings, planes, embeddings)
    measured = _measured(past, "memory_gb")
    if past is None or measured is None:
        return assumed
    then = _assumed_gb(found, past.settings, past.planes, _embeddings(past.settings, past.planes))
    return max(BASE_GB, measured + assumed - then)


def _assumed_gb(found: Survey, settings: TrainSettings, planes: Planes, embeddings: int) -> float:
    side = settings.image_size**2
    values = 2 * (1 + planes.classes) if settings.recipe == "scsam" else 0  # of pseudo-labels
    canvases = planes.train * 13 * side + planes.unlabelled * (13 + values) * side
    pixels = 5 * found.plane_pixels * (planes.train + planes.held_out + planes.unlabelled)
    sam = 0.0
    if COSTS[settings.recipe].uses_sam:
        sam = SAM_GB + OBJECT_GB * settings.sam_batch
        sam += EMBEDDING_GB * embeddings + JUDGED_GB * planes.held_out
    step = STEP_GB_PER_PIXEL * _pixels(settings) if COSTS[settings.recipe].unet else 0.0
    return BASE_GB + sam + step + (canvases + pixels) / 1e9


def _images(settings: TrainSettings) -> int:
    return settings.labelled_batch + settings.unlabelled_batch


def _pixels(settings: TrainSettings) -> int:
    return _images(settings) * settings.image_size**2


def rounded_time(seconds: float) -> str:
    """As one says it: ``"40 s"``, ``"4 min"``, ``"1.5 h"``."""
    if seconds < 57.5:
        return f"{max(5, 5 * round(seconds / 5))} s"
    minutes = seconds / 60
    if minutes < 87.5:
        return f"{round(minutes) if minutes < 29.5 else 5 * round(minutes / 5)} min"
    return f"{round(2 * minutes / 60) / 2:g} h"
