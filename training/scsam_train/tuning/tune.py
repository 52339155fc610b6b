"""Tuning from planes to an adapter and the figures that it is kept or refused by."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from napari_scsam.core.errors import InputError
from napari_scsam.models import (
    AdapterInfo,
    BaseSam,
    ClassPrior,
    EmbeddingCache,
    SamModel,
    SamWeights,
    attach,
)
from scsam_train.tuning.fit import Tuner
from scsam_train.tuning.gate import TeacherReliability, figures, judge
from scsam_train.tuning.objects import (
    Clickable,
    embed_planes,
    folds,
    primed,
    prior_of,
    with_priors,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from peft import PeftModel

    from napari_scsam.core.settings import TuneSettings
    from scsam_train.data import TrainPlane

MIN_PLANES = 3
# Shares of what was learned that may be kept; the held-out clicks decide.
STRENGTHS = (1.0, 0.5, 0.25)
# Planes beyond these are left out, evenly: each may take a second to embed.
MAX_PLANES = 24


@dataclass(frozen=True, eq=False)
class Tuned:
    """What came out of a tuning.

    Attributes
    ----------
    model : PeftModel
        The base with the adapter; of no use if it was not kept.
    info : AdapterInfo
    prior : ClassPrior
        What the planes say of their classes.
    report : dict
        For report.json: ``kept``, ``reason``, Dice of ``shipped`` and ``tuned`` on held-out
        planes as `gate.figures`, of the kept copy on those that it has ``seen``, ``planes``,
        ``cases``, ``objects``, ``folds``, ``strength``, ``held_out``, ``steps``, ``seconds``
        and ``base``.
    """

    model: PeftModel
    info: AdapterInfo
    prior: ClassPrior
    report: dict[str, Any]


def tune(
    base: BaseSam,
    planes: Sequence[TrainPlane],
    settings: TuneSettings,
    device: torch.device,
    cache: EmbeddingCache,
    *,
    check: Callable[[], None] = lambda: None,
    tell: Callable[[str], None] = lambda text: None,
) -> Tuned:
    """Tune SAM's decoder on committed planes, and compare on held-out ones.

    A tuned SAM is asked by a click and, where the planes show the class, by what they say of
    its looks (`ClassPrior`); in training and in comparing, always planes other than the one
    that is clicked on say it.

    The planes are divided into at most three parts. For each part a copy of the adapter is
    trained on the others and clicked through on the part itself, so that no figure comes from
    a plane that its copy has seen (cross-validation). If these copies are not worse than the
    shipped model, their mean is trained on for as long on all planes, and kept, unless it does
    worse than the shipped model even there.

    Parameters
    ----------
    base : BaseSam
        The shipped SAM; gets the adapter.
    planes : sequence of TrainPlane
    settings : TuneSettings
    device : torch.device
    cache : EmbeddingCache
        Of the shipped SAM's embeddings, which tuning does not change.
    check : callable
        Called before each step; raises Cancelled.
    tell : callable
        Takes what is being done.

    Raises
    ------
    InputError
        If fewer than three planes hold an object.
    """
    began = time.monotonic()
    torch.manual_seed(settings.seed)
    tell("Preparing slices")
    corpus = _embed(base, planes, device, cache)
    info = _adapter_of(base, settings)
    model = attach(base.module, info, settings.seed).to(device)
    tuner = Tuner(model, settings, check)
    learners, exams, unit = _hold_out(corpus)
    trial = _try_out(tuner, learners, exams, began + settings.seconds, tell)
    understands = base.entry.understands_points
    kept, reason = judge(trial.shipped, trial.tuned, understands_points=understands, unit=unit)
    seen = None
    if kept:
        tell("Learning from all")
        tuner.train_last(with_priors(corpus), trial.share_s)
        tuner.soften(trial.strength)
        seen = figures([exam.take(tuner.decoder, primed=True) for exam in exams])
        if seen["clicks"] < trial.shipped["clicks"]:
            kept, reason = False, "the last copy forgot more than it learned, not used"
    report = {
        "kept": kept,
        "reason": reason,
        "shipped": trial.shipped,
        "tuned": trial.tuned,
        "seen": seen,
        **_learned_from(corpus),
        "folds": len(exams),
        "strength": trial.strength,
        "held_out": unit,
        "steps": tuner.steps,
        "seconds": round(time.monotonic() - began, 1),
        "base": {"name": base.entry.name, "sha256": base.base_hash},
    }
    return Tuned(model, info, prior_of(corpus), report)


def _adapter_of(base: BaseSam, settings: TuneSettings) -> AdapterInfo:
    return AdapterInfo(
        base.base_hash,
        base.entry.name,
        (),
        understands_points=True,
        rank=settings.lora_rank,
        base_parts=base.parts,
    )


def _learned_from(corpus: Sequence[Clickable]) -> dict[str, int]:
    """How much a tuning learned from."""
    return {
        "planes": len(corpus),
        "cases": len({item.plane.case for item in corpus}),
        "objects": sum(len(item.targets) for item in corpus),
    }


def _hold_out(
    corpus: Sequence[Clickable],
) -> tuple[list[list[Clickable]], list[TeacherReliability], Literal["cases", "slices"]]:
    """Each part of the planes as an exam, what is to be learned for it, and what a part is."""
    parts, unit = folds(corpus)
    learners, exams = [], []
    for part in parts:
        learner = [item for i, item in enumerate(corpus) if i not in part]
        exams.append(TeacherReliability.of(primed([corpus[i] for i in part], prior_of(learner))))
        learners.append(with_priors(learner))
    return learners, exams, unit


@dataclass(frozen=True)
class _Trial:
    """Figures on held-out planes, at the better strength, and the seconds that a copy got."""

    shipped: dict[str, float]
    tuned: dict[str, float]
    strength: float
    share_s: float


def _try_out(
    tuner: Tuner,
    learners: Sequence[Sequence[Clickable]],
    exams: Sequence[TeacherReliability],
    end: float,
    tell: Callable[[str], None],
) -> _Trial:
    """Train a copy for each exam on what is not in it; the clock says `end` once all is done."""
    tell("Checking the clicks as they are")
    started = time.monotonic()
    shipped = figures([exam.take(tuner.shipped) for exam in exams])
    now = time.monotonic()
    # Still to come: as much again for each strength, and once for the last copy.
    share = (end - now - (len(STRENGTHS) + 1) * (now - started)) / (len(exams) + 1)
    marks: dict[float, list[NDArray[np.float32]]] = {strength: [] for strength in STRENGTHS}
    for number, (learner, exam) in enumerate(zip(learners, exams, strict=True), start=1):
        tell(f"Learning, {number} of {len(exams)}")
        tuner.train_copy(learner, share)
        for strength in STRENGTHS:
            tuner.soften(strength)
            marks[strength].append(exam.take(tuner.decoder, primed=True))
    results = {strength: figures(taken) for strength, taken in marks.items()}
    best = max(STRENGTHS, key=lambda s: results[s]["clicks"])
    return _Trial(shipped, results[best], best, share)


def _embed(
    base: BaseSam, planes: Sequence[TrainPlane], device: torch.device, cache: EmbeddingCache
) -> list[Clickable]:
    if len(planes) > MAX_PLANES:
        step = len(planes) / MAX_PLANES
        planes = [planes[int((i + 0.5) * step)] for i in range(MAX_PLANES)]
    sam = SamModel(SamWeights.of(base, device))
    corpus = embed_planes(sam, planes, cache)
    if len(corpus) < MIN_PLANES:
        raise InputError(
            f"Tuning needs at least {MIN_PLANES} committed slices with something on them; "
            f"there are {len(corpus)}. Commit more first."
        )
    return corpus
