"""Dice of rounds from few labels: all recipes on the same real scans, each in its own process."""

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
from scsam_train.benchmark.scoring import COLUMNS, score, with_choice
from scsam_train.engine import ENGINE_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def measure(
    places: Places, plan: Plan, on_done: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Run each candidate with each seed, or read its record.

    A record is identified by engine, settings and files (`records.key_of`). Interrupted runs are
    resumed.

    Returns
    -------
    dict
        ``plan``, and ``runs``: results of `run` by candidate and seed.
    """
    places.out.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()  # as in a round: embeddings are timed here
    candidates = plan.candidates()
    runs: dict[str, dict[str, Any]] = {candidate.title: {} for candidate in candidates}
    for seed in plan.seeds:
        for candidate in candidates:
            found = run(places, plan, candidate, seed, on_done)
            runs[candidate.title][str(seed)] = found
            on_done(f"{plan.set}: {candidate.title}, seed {seed}: {_in_short(found)}")
    return {"plan": asdict(plan), "runs": runs}


def _in_short(run: dict[str, Any]) -> str:
    means = ", ".join(f"{m} {run['dice'][m]:.3f}" for m in COLUMNS if m in run["dice"])
    return f"{means}; {run['pictures']} pictures, {run['seconds']:.0f} s"


def run(
    places: Places,
    plan: Plan,
    candidate: Candidate,
    seed: int,
    on_done: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Run one candidate with one seed.

    Returns
    -------
    dict
        ``engine``, ``recipe``, ``unet``, ``seed``, ``plan`` and ``machine``; ``cases``,
        ``chosen_by``, ``best`` and ``dice`` (`scoring.with_choice`); and the costs (`_taken`).
    """
    job = Job(places, plan, candidate, seed)
    if job.record.exists():
        return read_record(job.record)
    rounds = [train(part, on_done) for part in job.parts()]
    weighed: dict[str, Any] = {}
    if candidate.name == INDEPENDENT:
        unet, sam = rounds
        pair, weights = independent_pair(unet.folder, sam.folder, cache_of(places.out))
        weighed = {"unet_shares": weights.unet_shares, "guided": weights.guided}
    else:
        pair = load_round(rounds[0].folder, device="cpu")
    record = {
        "engine": ENGINE_VERSION,
        "recipe": candidate.name,
        "unet": candidate.unet,
        "seed": seed,
        "plan": asdict(plan),
        "machine": machine() | {"threads": plan.threads or torch.get_num_threads()},
        **with_choice(score(pair, job.chosen, job.split[2], job.cache), job.choosing),
        **weighed,
        **_taken(rounds),
    }
    write_record(job.record, record)
    return read_record(job.record)


def _taken(rounds: Sequence[Trained]) -> dict[str, Any]:
    """Return the costs of a run.

    Two rounds from the same labels share their embeddings: the one with more is charged.

    Returns
    -------
    dict
        ``steps``; ``pictures`` (samples of the U-Net, or objects of ``sam-only``); ``seconds`` of
        the whole run, including ``charged_s`` for ``charged`` embeddings found in the cache, of
        ``seconds_per_charged`` each; ``seconds_per_picture`` of training; ``rates`` of each
        round; and the ``curve``, if there is one round.
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
