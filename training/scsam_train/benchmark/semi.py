"""How good rounds get from few labels: every recipe on the same real scans, through its process."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from napari_scsam.core.memory import keep_freed_memory
from napari_scsam.models import load_round
from scsam_train.benchmark.embedded import cache_of
from scsam_train.benchmark.independent import independent_pair
from scsam_train.benchmark.machines import machine
from scsam_train.benchmark.plan import INDEPENDENT, Candidate, Places, Plan
from scsam_train.benchmark.records import read_record, write_record
from scsam_train.benchmark.rounds import Job, Trained, train
from scsam_train.benchmark.scoring import COLUMNS, judged, score
from scsam_train.engine import ENGINE_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def measure(
    places: Places, plan: Plan, on_done: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Run each candidate with each seed, or read what is kept of it.

    A run is kept by its engine, its settings and its files (`records.key_of`); one that was
    interrupted is gone on with.

    Returns
    -------
    dict
        ``plan``, and ``runs``: by candidate and seed what `run` returns.
    """
    places.out.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()  # as the rounds do: an embedding is timed here
    candidates = plan.candidates()
    runs: dict[str, dict[str, Any]] = {candidate.title: {} for candidate in candidates}
    for seed in plan.seeds:
        for candidate in candidates:
            found = run(places, plan, candidate, seed, on_done)
            runs[candidate.title][str(seed)] = found
            on_done(f"{plan.set}: {candidate.title}, seed {seed}: {_told(found)}")
    return {"plan": asdict(plan), "runs": runs}


def _told(run: dict[str, Any]) -> str:
    means = ", ".join(f"{m} {run['dice'][m]:.3f}" for m in COLUMNS if m in run["dice"])
    return f"{means}; {run['pictures']} pictures, {run['seconds']:.0f} s"


def run(
    places: Places,
    plan: Plan,
    candidate: Candidate,
    seed: int,
    on_done: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """One candidate with one seed.

    Returns
    -------
    dict
        ``engine``, ``recipe``, ``unet``, ``seed``, ``plan`` and ``machine``; ``cases``,
        ``chosen_by``, ``best`` and ``dice`` (`scoring.judged`); and what it took (`_taken`).
    """
    job = Job(places, plan, candidate, seed)
    if job.record.exists():
        return read_record(job.record)
    rounds = [train(part, on_done) for part in job.parts()]
    weighed: dict[str, Any] = {}
    if candidate.name == INDEPENDENT:
        unet, sam = rounds
        pair, weighing = independent_pair(unet.folder, sam.folder, cache_of(places.out))
        weighed = {"unet_shares": weighing.unet_shares, "guided": weighing.guided}
    else:
        pair = load_round(rounds[0].folder, device="cpu")
    record = {
        "engine": ENGINE_VERSION,
        "recipe": candidate.name,
        "unet": candidate.unet,
        "seed": seed,
        "plan": asdict(plan),
        "machine": machine() | {"threads": plan.threads or torch.get_num_threads()},
        **judged(score(pair, job.chosen, job.split[2], job.cache), job.judges),
        **weighed,
        **_taken(rounds),
    }
    write_record(job.record, record)
    return read_record(job.record)


def _taken(rounds: Sequence[Trained]) -> dict[str, Any]:
    """What a run took.

    Two rounds from the same labels make their embeddings once: the one with more is charged.

    Returns
    -------
    dict
        ``steps``; ``pictures`` (that the U-Net learned from; of ``sam-only``, objects asked
        for); ``seconds`` of the whole run, with ``charged_s`` for ``charged`` embeddings that
        were found and not made, of ``seconds_per_charged`` each; ``seconds_per_picture``, all
        that was trained for one; of each round its ``rates``, and the ``curve`` where it is one.
    """
    metrics = [one.metrics for one in rounds]
    dearest = max(rounds, key=lambda one: one.charged_s)
    pictures = metrics[0]["pictures"]
    training = sum(one["steps"] * (one["rates"]["seconds_per_step"] or 0.0) for one in metrics)
    return {
        "steps": sum(one["steps"] for one in metrics),
        "pictures": pictures,
        "seconds": sum(one["seconds"] for one in metrics) + dearest.charged_s,
        "charged": dearest.embeddings,
        "charged_s": dearest.charged_s,
        "seconds_per_charged": dearest.each_s,
        "seconds_per_picture": training / pictures if pictures else None,
        "rates": [one["rates"] for one in metrics],
        "curve": rounds[0].curve() if len(rounds) == 1 else [],
    }
