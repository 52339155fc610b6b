"""Estimated time and memory of a round, from its planes, its settings and earlier rounds."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import ScsamError
from napari_scsam.core.round_contract import (
    EMBEDDING_SHARE,
    LABELLED_EMBEDDINGS,
    MAX_CLICKED,
    MAX_EVALUATED,
    MAX_VIEWS,
    MIN_PLANES_TO_HOLD_OUT,
    VALIDATION_SHARE,
)
from napari_scsam.project.image_queue import plane_total
from napari_scsam.project.rounds import round_settings
from napari_scsam.rounds.assumed_costs import (
    BASE_GB,
    COSTS,
    EMBEDDING_GB,
    EVALUATED_GB,
    EVALUATED_S,
    LOADING_S,
    OBJECT_GB,
    SAM_GB,
    STARTING_S,
    STEP_GB_PER_PIXEL,
    Past,
    Planes,
    assumed_embedding_s,
    assumed_picture_s,
    assumed_step_s,
    labelled_share,
    pictures_in_step,
    pixels_in_step,
    uses_embeddings,
)
from napari_scsam.rounds.measured_costs import recall, remember

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_scsam.core.settings import TrainSettings
    from napari_scsam.project import Project, RoundRecord


@dataclass(frozen=True)
class Survey:
    """Planes that a round of a project would have now.

    Attributes
    ----------
    labelled : mapping of str to int
        Labelled planes by case.
    unlabelled : tuple of int
        Unlabelled planes of each image.
    classes : int
        Number of classes, K.
    plane_pixels : float
        Mean number of pixels of a plane.
    past : Past or None
        Last measured round; None if there is none.
    machine : Past or None
        Measured speed of this machine, used if there is no comparable round.
    """

    labelled: Mapping[str, int]
    unlabelled: tuple[int, ...]
    classes: int
    plane_pixels: float
    past: Past | None = None
    machine: Past | None = None


@dataclass(frozen=True)
class Estimate:
    """Estimated cost of a round.

    Attributes
    ----------
    seconds, memory_gb : float
    measured_in : int or None
        Round that it is based on.
    measured : bool
        Whether it is based on a measurement instead of assumed values.
    source : str
        Its source, such as ``"measured in round 3"``.
    detail : str
        Duration by phase.
    note : str
        Warning that a time limit is too short; empty otherwise.
    unjudged : str
        Warning that nothing is held out, and what to do; empty otherwise.
    """

    seconds: float
    memory_gb: float
    measured_in: int | None
    measured: bool
    source: str
    detail: str
    note: str = ""
    unjudged: str = ""

    @property
    def time(self) -> str:
        """Duration such as ``"about 4 min"``."""
        return f"about {rounded_time(self.seconds)}"

    @property
    def text(self) -> str:
        """Summary such as ``"about 4 min, 2.1 GB"``."""
        return f"{self.time}, {self.memory_gb:.1f} GB"

    @property
    def sentence(self) -> str:
        """Sentence such as ``"About 4 min, 2.1 GB (measured in round 3)."``."""
        return f"A{self.text[1:]} ({self.source})."

    def to_dict(self) -> dict[str, Any]:
        """Return the values for ``--json``."""
        return {
            "seconds": round(self.seconds, 1),
            "memory_gb": round(self.memory_gb, 2),
            "measured_in": self.measured_in,
            "text": self.sentence,
            "note": self.note,
            "unjudged": self.unjudged,
        }


def estimate_round(project: Project, settings: TrainSettings) -> Estimate | None:
    """Estimate the cost of a round of a project now; None if nothing is labelled."""
    return estimate(survey(project), settings)


def survey(project: Project) -> Survey:
    """Count planes from commits and image shapes, without reading images or labels."""
    images = [image for image in project.images() if image.has_file]
    labels = project.all_committed_planes()
    labelled: Counter[str] = Counter()
    rest, pixels = [], 0
    for image in images:
        total = plane_total(image)
        # A commit along another axis annotates a line of every plane: all count as labelled.
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
        recall(),
    )


def _past(rounds: list[RoundRecord]) -> Past | None:
    for record in reversed(rounds):
        rates, settings = record.metrics.get("rates"), round_settings(record.folder)
        if rates and settings is not None:
            with suppress(KeyError, TypeError, ValueError):  # what it says of itself is no measure
                return Past(record.number, settings, _planes_of(record.metrics), rates)
    return None


def _planes_of(metrics: Mapping[str, Any]) -> Planes:
    return Planes(
        int(metrics["labelled_planes"]),
        int(metrics["validation"]["planes"]),
        int(metrics["unlabelled_planes"]),
        max(1, len(metrics["dice"]["pair"]) - 1),
    )


def estimate(found: Survey, settings: TrainSettings) -> Estimate | None:
    """Estimate the cost of a round; None if nothing is labelled."""
    planes = count_planes(found, settings)
    if not planes.train:
        return None
    known = (past for past in (found.past, found.machine) if past is not None)
    past = next((past for past in known if _comparable(past, settings)), None)
    embedding_s = _measured(past, "seconds_per_embedding") or assumed_embedding_s(settings)
    embeddings = _embeddings(settings, planes)
    loading_s = _measured(past, "seconds_loading") or LOADING_S
    if settings.minutes is not None:
        most = EMBEDDING_SHARE * 60 * settings.minutes / embedding_s
        embeddings = min(embeddings, max(planes.train, int(most)))
    adapts = settings.profile == "adapted-encoder"
    picture_s = _picture_s(past, settings, planes)
    parts = (
        STARTING_S + loading_s + (0 if adapts else embeddings * embedding_s),
        _budget(settings, planes) * picture_s,
        _validation_s(past, settings, planes, embedding_s),
    )
    seconds, note = sum(parts), ""
    detail = (
        f"Preparing {embeddings} views of slices {rounded_time(parts[0])}, training "
        f"{rounded_time(parts[1])}, checking {rounded_time(parts[2])}."
    )
    if settings.minutes is not None and 60 * settings.minutes < seconds:
        seconds, detail = 60 * settings.minutes, "As long as the time limit."
        note = _time_limit_note(settings, planes, parts[0] - STARTING_S, loading_s, picture_s)
    memory = _memory_gb(found, past, settings, planes, embeddings)
    number, source = (None, "assumed for two cores") if past is None else (past.number, past.source)
    return Estimate(
        seconds, memory, number, past is not None, source, detail, note, _unjudged(planes, settings)
    )


def _unjudged(planes: Planes, settings: TrainSettings) -> str:
    """Return a warning if no slice is held out; else empty."""
    if planes.held_out:
        return ""
    if not settings.holdout:
        return "This round can't be judged: nothing is held out."
    return (
        "This round can't be judged: label a second case, or at least "
        f"{MIN_PLANES_TO_HOLD_OUT} slices, so that some can be held out."
    )


def remember_round(record: RoundRecord) -> None:
    """Store what a finished round measured of this machine, for other projects' first rounds."""
    past, before = _past([record]), recall()
    if past is None:
        return
    rates = dict(past.rates)
    if before is not None and before.settings.sam == past.settings.sam:
        # What this round did not measure, such as embeddings that were cached.
        rates |= {name: v for name, v in before.rates.items() if rates.get(name) is None}
    with suppress(ScsamError):  # a full disk is no reason to fail
        remember(replace(past, number=None, rates=rates))


def _budget(settings: TrainSettings, planes: Planes) -> float:
    """Return the training samples of the U-Net, if no time limit ends the round."""
    by_steps = settings.max_steps * pictures_in_step(settings, planes)
    budget = settings.budget(planes.train)
    return by_steps if budget is None else min(budget, by_steps)


def _time_limit_note(
    settings: TrainSettings, planes: Planes, preparing_s: float, loading_s: float, picture_s: float
) -> str:
    """Return a warning if not every labelled slice is seen within the time limit; else empty."""
    limit_s = 60 * (settings.minutes or 0.0)
    validation, embedding = VALIDATION_SHARE, EMBEDDING_SHARE if uses_embeddings(settings) else 0.0
    pass_s = planes.train * picture_s / labelled_share(settings, planes)
    trained_s = max(0.0, (1 - validation) * limit_s - preparing_s)
    if trained_s >= pass_s:
        return ""
    # With more time, a round may embed more views, up to their share.
    enough_s = (loading_s + pass_s) / (1 - validation - embedding)
    enough_s = max(enough_s, (preparing_s + pass_s) / (1 - validation))
    seen = int(planes.train * trained_s / pass_s)
    return (
        f"In {settings.minutes:g} min the U-Net sees about {seen} of {planes.train} labelled "
        f"slices; {math.ceil(enough_s / 30) / 2:g} min are enough to see each once."
    )


def count_planes(found: Survey, settings: TrainSettings) -> Planes:
    """Return the numbers of planes of a round, assuming that none is constant."""
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
    return Planes(total - held_out, min(held_out, MAX_EVALUATED), unlabelled, found.classes)


def _measured(past: Past | None, name: str) -> float | None:
    value = None if past is None else past.rates.get(name)
    return None if value is None else float(value)


def _comparable(past: Past, settings: TrainSettings) -> bool:
    """Whether another round was measured on the same device with the same SAM."""
    sams = [(s.sam, s.sam_size, s.profile) for s in (past.settings, settings)]
    return sams[0] == sams[1] and settings.device in ("auto", past.rates.get("device"))


def _embeddings(settings: TrainSettings, planes: Planes) -> int:
    if not uses_embeddings(settings) or not planes.train:
        return 0
    views = min(MAX_VIEWS, max(1, LABELLED_EMBEDDINGS // planes.train))
    if settings.profile == "adapted-encoder" or not COSTS[settings.recipe].uses_sam:
        views = 1  # augmented in each step, or only used by the U-Net
    return views * planes.train + planes.unlabelled


def _picture_s(past: Past | None, settings: TrainSettings, planes: Planes) -> float:
    """Return the assumed time of a training sample, scaled by the last round's measured time."""
    assumed = assumed_picture_s(settings, planes)
    if past is None:
        return assumed
    measured = _measured(past, "seconds_per_picture")
    if measured is not None:
        return assumed * measured / assumed_picture_s(past.settings, past.planes)
    measured = _measured(past, "seconds_per_step")  # all that rounds of version 0.1 have
    if measured is None:
        return assumed
    return assumed * measured / assumed_step_s(past.settings, past.planes)


def _validation_s(
    past: Past | None, settings: TrainSettings, planes: Planes, embedding_s: float
) -> float:
    def assumed(of: TrainSettings, on: Planes) -> float:
        objects = min(MAX_CLICKED, (on.held_out or on.train) * on.classes)
        clicked = objects * embedding_s if COSTS[of.recipe].uses_sam else 0.0
        return 1.0 + clicked + on.held_out * (embedding_s + EVALUATED_S)

    measured = _measured(past, "seconds_judging")
    if past is None or measured is None:
        return assumed(settings, planes)
    return measured * assumed(settings, planes) / assumed(past.settings, past.planes)


def _memory_gb(
    found: Survey, past: Past | None, settings: TrainSettings, planes: Planes, embeddings: int
) -> float:
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
    if uses_embeddings(settings):
        sam += EMBEDDING_GB * embeddings + EVALUATED_GB * planes.held_out
    step = STEP_GB_PER_PIXEL * pixels_in_step(settings) if COSTS[settings.recipe].unet else 0.0
    return BASE_GB + sam + step + (canvases + pixels) / 1e9


def rounded_time(seconds: float) -> str:
    """Format a duration as ``"40 s"``, ``"4 min"`` or ``"1.5 h"``."""
    if seconds < 57.5:
        return f"{max(5, 5 * round(seconds / 5))} s"
    minutes = seconds / 60
    if minutes < 87.5:
        return f"{round(minutes) if minutes < 29.5 else 5 * round(minutes / 5)} min"
    return f"{round(2 * minutes / 60) / 2:g} h"
