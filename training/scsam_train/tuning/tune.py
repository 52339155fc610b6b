"""Tuning, from committed planes to an adapter and the figures that decide whether it is kept.

A tuned SAM is prompted with clicks and, if the planes contain the class, with the class prior
(`ClassPrior`). The prior never comes from the plane that is clicked, neither in training nor in the
comparison.

The planes are divided into at most three folds. For each fold a copy of the adapter is trained on
the others and tested on the fold itself (cross-validation). If these copies are not worse than the
shipped model, their mean is trained for as long on all planes. It is kept, unless it does worse
than the shipped model even there.
"""

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
from scsam_train.tuning.gate import ONLY, HeldOutObjects, decide, figures
from scsam_train.tuning.objects import (
    Clickable,
    embed_planes,
    folds,
    prior_of,
    with_prior,
    with_priors,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from peft import PeftModel

    from napari_scsam.core.settings import TuneSettings
    from scsam_train.data import TrainPlane

# Minimum number of slices with an object: one for each fold.
MIN_PLANES = 3
# Candidate shares of the learned change to keep; the held-out clicks decide. Arbitrary.
STRENGTHS = (1.0, 0.5, 0.25)
# Planes beyond this number are left out, evenly: embedding one may take a second.
MAX_PLANES = 24


@dataclass(frozen=True, eq=False)
class TuningResult:
    """Result of a tuning.

    Attributes
    ----------
    model : PeftModel
        The base with the adapter, which changes nothing if the copy was refused.
    info : AdapterInfo
    prior : ClassPrior
        Class prior fitted on the planes.
    report : dict
        For report.json: ``kept``, ``reason``, Dice of ``shipped`` and ``tuned`` on held-out
        planes (see `gate.figures`), ``seen`` (Dice of the kept copy on planes it was trained on),
        ``planes``, ``cases``, ``objects``, ``folds``, ``strength``, ``held_out``, ``steps``,
        ``seconds`` and ``base``.
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
    on_message: Callable[[str], None] = lambda text: None,
) -> TuningResult:
    """Tune SAM's decoder on committed planes, and compare it on held-out ones.

    Parameters
    ----------
    base : BaseSam
        The shipped SAM; the adapter is attached to it.
    planes : sequence of TrainPlane
    settings : TuneSettings
    device : torch.device
    cache : EmbeddingCache
        Cache of the shipped SAM's embeddings, which tuning does not change.
    check : callable
        Called before each step; raises Cancelled.
    on_message : callable
        Called with a message about the current activity.

    Raises
    ------
    InputError
        If fewer than three planes contain an object.
    """
    began = time.monotonic()
    torch.manual_seed(settings.seed)
    on_message("Preparing slices")
    corpus = _embed(base, planes, device, cache)
    info = _adapter_info(base, settings)
    model = attach(base.module, info, settings.seed).to(device)
    tuner = Tuner(model, settings, check)
    report = _train_and_decide(tuner, corpus, base, began + settings.seconds, on_message)
    report |= {"steps": tuner.steps, "seconds": round(time.monotonic() - began, 1)}
    report |= {"base": {"name": base.entry.name, "sha256": base.base_hash}}
    return TuningResult(model, info, prior_of(corpus), report)


def _train_and_decide(
    tuner: Tuner,
    corpus: Sequence[Clickable],
    base: BaseSam,
    end: float,
    on_message: Callable[[str], None],
) -> dict[str, Any]:
    """Train copies for the folds and, if they are good enough, one on all; the report on both.

    If the copy is refused, the decoder stays as it is shipped.
    """
    split = _hold_out(corpus)
    compared = _cross_validate(tuner, split, end, on_message)
    understands, shipped = base.entry.understands_points, compared.shipped
    kept, reason = decide(shipped, compared.tuned, understands_points=understands, unit=split.unit)
    seen = None
    if kept:
        on_message("Learning from all")
        seen = _train_on_all(tuner, corpus, split, compared)
        if seen["clicks"] < shipped["clicks"]:
            kept, reason = False, f"the last copy forgot more than it learned, {ONLY}"
    if not kept:
        tuner.soften(0.0)
    return {
        "kept": kept,
        "reason": reason,
        "shipped": shipped,
        "tuned": compared.tuned,
        "seen": seen,
        **_counts(corpus),
        "folds": len(split.test_sets),
        "strength": compared.strength,
        "held_out": split.unit,
    }


def _train_on_all(
    tuner: Tuner, corpus: Sequence[Clickable], split: _Split, compared: _CrossValidation
) -> dict[str, float]:
    """Train the copy that is kept; its figures on planes that it was trained on."""
    tuner.train_last(with_priors(corpus), compared.share_s)
    tuner.soften(compared.strength)
    return figures([test.evaluate(tuner.decoder, use_priors=True) for test in split.test_sets])


def _adapter_info(base: BaseSam, settings: TuneSettings) -> AdapterInfo:
    return AdapterInfo(
        base.base_hash,
        base.entry.name,
        (),
        understands_points=True,
        rank=settings.lora_rank,
        base_parts=base.parts,
    )


def _counts(corpus: Sequence[Clickable]) -> dict[str, int]:
    """Return how much a tuning learned from."""
    return {
        "planes": len(corpus),
        "cases": len({item.plane.case for item in corpus}),
        "objects": sum(len(item.targets) for item in corpus),
    }


@dataclass(frozen=True)
class _Split:
    """The folds as test sets, the training set of each, and the unit of a fold."""

    training_sets: list[list[Clickable]]
    test_sets: list[HeldOutObjects]
    unit: Literal["cases", "slices"]


def _hold_out(corpus: Sequence[Clickable]) -> _Split:
    parts, unit = folds(corpus)
    training_sets, test_sets = [], []
    for part in parts:
        training_set = [item for i, item in enumerate(corpus) if i not in part]
        test_sets.append(
            HeldOutObjects.of(with_prior([corpus[i] for i in part], prior_of(training_set)))
        )
        training_sets.append(with_priors(training_set))
    return _Split(training_sets, test_sets, unit)


@dataclass(frozen=True)
class _CrossValidation:
    """Figures on held-out planes at the best strength, and the training time of a copy in s."""

    shipped: dict[str, float]
    tuned: dict[str, float]
    strength: float
    share_s: float


def _cross_validate(
    tuner: Tuner, split: _Split, end: float, on_message: Callable[[str], None]
) -> _CrossValidation:
    """Train and test one copy per fold, so that all training is finished by `end`."""
    on_message("Checking the clicks as they are")
    started, count = time.monotonic(), len(split.test_sets)
    shipped = figures([test_set.evaluate(tuner.shipped) for test_set in split.test_sets])
    now = time.monotonic()
    # Still to come: as many tests again for each strength, and one for the last copy.
    share = (end - now - (len(STRENGTHS) + 1) * (now - started)) / (count + 1)
    dice: dict[float, list[NDArray[np.float32]]] = {strength: [] for strength in STRENGTHS}
    for number, training_set in enumerate(split.training_sets):
        on_message(f"Learning, {number + 1} of {count}")
        tuner.train_copy(training_set, share)
        for strength in STRENGTHS:
            tuner.soften(strength)
            test_set = split.test_sets[number]
            dice[strength].append(test_set.evaluate(tuner.decoder, use_priors=True))
    results = {strength: figures(taken) for strength, taken in dice.items()}
    best = max(STRENGTHS, key=lambda s: results[s]["clicks"])
    return _CrossValidation(shipped, results[best], best, share)


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
