"""Dice of a project with a class that has no label, compared with the project without it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.core.errors import InputError
from napari_scsam.core.labels import MAX_CLASSES
from napari_scsam.core.round_contract import METRICS_FILE
from napari_scsam.models import load_round
from scsam_train.benchmark.common import write_report
from scsam_train.benchmark.embedded import cache_of, embed_all, own_copy
from scsam_train.benchmark.intervals import by_case, by_seed, over_cases, over_seeds
from scsam_train.benchmark.plan import Candidate, EvaluateOn, Places
from scsam_train.benchmark.plan import Plan as SemiPlan
from scsam_train.benchmark.records import key_of
from scsam_train.benchmark.rounds import Job, inputs_of, train_in
from scsam_train.benchmark.scoring import COLUMNS, score, with_choice

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# The two projects that are compared.
WITHOUT, WITH = "without", "with"


@dataclass(frozen=True)
class Plan:
    """Options of the measurement.

    Attributes
    ----------
    set : str
        Key of `semi_sets.SEMI_SETS`.
    labels : int
        Number of labelled cases.
    pictures : int
        Budget of each round: training samples of the U-Net.
    seeds : tuple of int
    judged : bool
        Whether the added class counts as absent from all labelled images. Otherwise it is unknown
        there, because no one judged it.
    threads : int or None
        Torch threads.
    evaluate_on : {'training', 'validation'}
        As in `plan.Plan`.
    """

    set: str
    labels: int
    pictures: int
    seeds: tuple[int, ...]
    judged: bool = False
    threads: int | None = None
    evaluate_on: EvaluateOn = "training"

    def job(self, data: Path, out: Path, seed: int) -> Job:
        """Return the `scsam` round of a seed, with the set's classes alone."""
        candidate = Candidate("scsam", "pretrained+sam")
        plan = SemiPlan(
            self.set,
            self.labels,
            (seed,),
            (candidate.name,),
            (candidate.unet,),
            self.pictures,
            threads=self.threads,
            evaluate_on=self.evaluate_on,
        )
        return Job(Places(data, out, out / "results"), plan, candidate, seed)


def measure(
    data: Path, out: Path, plan: Plan, on_done: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Train two rounds with each seed that differ in one class of the table; score both.

    Interrupted runs are resumed.

    Returns
    -------
    dict
        ``plan``; ``runs``: results of `scoring.with_choice` by project (``without`` and ``with``
        the added class) and seed, and the ``unknown_classes`` of the round; and ``differences``
        (`differences`).
    """
    out.mkdir(parents=True, exist_ok=True)
    runs: dict[str, dict[str, Any]] = {WITHOUT: {}, WITH: {}}
    for seed in plan.seeds:
        job = plan.job(data, out, seed)
        embed_all(out, plan.set, job.chosen.members(data, plan.evaluate_on), on_done)
        for project in (WITHOUT, WITH):
            found = runs[project][str(seed)] = _run(job, plan, project)
            means = ", ".join(f"{member} {dice:.3f}" for member, dice in found["dice"].items())
            on_done(f"{plan.set}, seed {seed}, {project} a further class: {means}")
    return {"plan": asdict(plan), "runs": runs, "differences": differences(runs)}


def differences(runs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Compare both projects, by member: Dice with the added class minus Dice without it.

    Returns
    -------
    dict
        For each member the mean Dice ``without`` and ``with`` over the seeds, their difference
        ``mean``, and its 95 % intervals ``over_cases`` and ``over_seeds`` (None for fewer than two
        values).
    """
    found = {}
    for member in COLUMNS:
        dice = {
            project: [run["dice"][member] for run in by_seeds.values() if member in run["dice"]]
            for project, by_seeds in runs.items()
        }
        if not (dice[WITHOUT] and dice[WITH]):
            continue
        means = {project: float(np.mean(values)) for project, values in dice.items()}
        cases = by_case(runs[WITH], runs[WITHOUT], member)
        found[member] = {
            **means,
            "mean": means[WITH] - means[WITHOUT],
            "over_cases": over_cases(list(cases.values())),
            "over_seeds": over_seeds(by_seed(runs[WITH], runs[WITHOUT], member)),
        }
    return found


def write(out: Path, report: dict[str, Any]) -> None:
    """Write ``unknown-class-SET.json`` and ``.md``."""
    write_report(out, f"unknown-class-{report['plan']['set']}", report, markdown(report))


def markdown(report: dict[str, Any]) -> str:
    """Return a table with a row for each member."""
    plan = report["plan"]
    kind = "absent from all labelled images" if plan["judged"] else "judged in no image"
    lines = [
        f"{plan['set']}: {plan['labels']} labelled cases, {plan['pictures']} pictures, "
        f"{len(plan['seeds'])} seeds, {plan['evaluate_on']} cases. Dice of the set's classes, in a "
        f"project of these alone and with one more class, {kind}.",
        "",
        "| member | without it | with it | difference | over cases | over seeds |",
        "|---" * 6 + "|",
    ]
    for member, row in report["differences"].items():
        lines.append(
            f"| {member} | {row[WITHOUT]:.3f} | {row[WITH]:.3f} | {row['mean']:+.3f} "
            f"| {_interval(row['over_cases'])} | {_interval(row['over_seeds'])} |"
        )
    return "\n".join(lines) + "\n"


def with_class(inputs: str, *, judged: bool) -> str:
    """Add a class without labels to ``inputs.json``.

    Parameters
    ----------
    inputs : str
        Of a round whose labels were judged for all of its classes.
    judged : bool
        Whether the class was judged, and is therefore absent. Otherwise it is unknown.

    Raises
    ------
    InputError
        If there is no class id left.
    """
    content: dict[str, Any] = json.loads(inputs)
    ids = [one["id"] for one in content["classes"]]
    if max(ids) >= MAX_CLASSES:
        raise InputError(f"A label map has at most {MAX_CLASSES} classes: none can be added.")
    content["classes"].append({"id": max(ids) + 1, "name": "added", "colour": "#00ff00"})
    for image in content["images"]:
        if image["label"] is not None and not judged:
            image["label"]["judged"] = {"classes": ids, "planes": {}}
    return json.dumps(content)


def _run(job: Job, plan: Plan, project: str) -> dict[str, Any]:
    """Train and score one of the two rounds of a seed."""
    (settings,) = job.settings
    labelled, unlabelled, tested = job.split
    roles = {
        "labelled": labelled,
        "unlabelled": unlabelled,
        "tested": tested,
        "judges": job.choosing,
    }
    kind = f"{project}-judged" if plan.judged and project == WITH else project
    key = key_of(job.chosen, [settings], roles, name=f"class-{kind}", threads=plan.threads)
    stem = f"unknown-class-{plan.set}-{plan.labels}-{kind}-{job.seed}-{key}"
    folder, cache = job.places.out / "runs" / stem / "0001", cache_of(job.places.out)
    if not folder.is_dir():
        with own_copy(cache, folder.with_name("cache")) as own:
            inputs = inputs_of(job.chosen, labelled, unlabelled, job.choosing, settings, own)
            if project == WITH:
                inputs = with_class(inputs, judged=plan.judged)
            train_in(folder, inputs, plan.threads)
    pair = load_round(folder, device="cpu")
    found = with_choice(score(pair, job.chosen, tested, cache), job.choosing)
    metrics = json.loads((folder / METRICS_FILE).read_text())
    return found | {"unknown_classes": metrics.get("unknown_classes", [])}


def _interval(found: tuple[float, float] | None) -> str:
    return "" if found is None else f"{found[0]:+.3f} to {found[1]:+.3f}"
