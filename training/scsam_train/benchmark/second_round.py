"""Forgetting in a second round that continues from the first with more labels."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.models import load_round
from scsam_train.benchmark.common import write_report
from scsam_train.benchmark.embedded import cache_of, embed_all, own_copy
from scsam_train.benchmark.plan import Candidate
from scsam_train.benchmark.plan import Plan as SemiPlan
from scsam_train.benchmark.records import key_of
from scsam_train.benchmark.rounds import inputs_of, train_in
from scsam_train.benchmark.scoring import choosing_members, mean_dice, score
from scsam_train.benchmark.semi_sets import SEMI_SETS, Member, SemiSet
from scsam_train.validation_metrics import MEMBERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

# A case that loses more Dice than this counts as forgotten. Arbitrary.
LOSS = 0.05


@dataclass(frozen=True)
class Plan:
    """Options of the measurement.

    Attributes
    ----------
    set : str
        Key of `semi_sets.SEMI_SETS`.
    labels, more : int
        Labelled cases of the first round, and additional ones of the second.
    minutes : float
        Duration of each round, without embedding.
    seeds : tuple of int
    threads : int or None
        Torch threads.
    """

    set: str
    labels: int
    more: int
    minutes: float
    seeds: tuple[int, ...]
    threads: int | None = None


def measure(
    data: Path, out: Path, plan: Plan, on_done: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Train two rounds with each seed, and compare them by case.

    Returns
    -------
    dict
        ``plan``, and ``runs``: by seed, for ``unseen`` test cases and for the ``first`` round's
        labelled cases, the Dice by member ``before`` and ``after`` (means), ``change`` (by case)
        and the share ``lost`` of cases that fell by more than 0.05.
    """
    out.mkdir(parents=True, exist_ok=True)
    chosen = SEMI_SETS[plan.set]
    embed_all(out, chosen.name, chosen.members(data), on_done)
    runs = {}
    for seed in plan.seeds:
        runs[str(seed)] = _run(data, out, chosen, plan, seed)
        on_done(f"{plan.set}, seed {seed}: {_in_short(runs[str(seed)]['unseen'])}")
    return {"plan": asdict(plan), "runs": runs}


def write(out: Path, report: dict[str, Any]) -> None:
    """Write ``again-SET.json`` and ``.md``."""
    write_report(out, f"again-{report['plan']['set']}", report, markdown(report))


def markdown(report: dict[str, Any]) -> str:
    """Return a table with a row for each seed, group of cases and member."""
    plan = report["plan"]
    lines = [
        f"{plan['set']}: {plan['labels']} labelled cases, then {plan['more']} more, "
        f"{plan['minutes']:g} minutes each; mean Dice after the first and the second round.",
        "",
        "| seed | cases | member | first | second | change by case | fell by more than .05 |",
        "|---" * 7 + "|",
    ]
    for seed, run in report["runs"].items():
        for group, found in run.items():
            for member, row in found.items():
                change = np.array(list(row["change"].values()))
                lines.append(
                    f"| {seed} | {group} ({len(change)}) | {member} | {row['before']:.3f} "
                    f"| {row['after']:.3f} | {change.mean():+.3f} ± {change.std(ddof=1):.3f} "
                    f"| {row['lost']:.0%} |"
                )
    return "\n".join(lines) + "\n"


def _run(data: Path, out: Path, chosen: SemiSet, plan: Plan, seed: int) -> dict[str, Any]:
    labelled, unlabelled, test = chosen.split(data, plan.labels + plan.more, seed)
    cases = np.random.default_rng([seed, 11]).permutation(sorted({m.case for m in labelled}))
    early = set(cases[: plan.labels].tolist())
    first = [member for member in labelled if member.case in early]
    later = [member for member in labelled if member.case not in early]
    choosing = choosing_members(chosen, test, seed)
    candidate = Candidate("scsam", chosen.settings.unet)
    one_round = SemiPlan(
        plan.set, plan.labels, (seed,), ("scsam",), (candidate.unet,), minutes=plan.minutes
    )
    settings = candidate.settings(one_round, chosen.settings, seed)
    cache = cache_of(out)
    inputs = partial(inputs_of, chosen, choosing=choosing, settings=settings)
    others = unlabelled + later
    roles = {"first": first, "later": later, "unlabelled": unlabelled, "judges": choosing}
    key = key_of(chosen, [settings], roles, threads=plan.threads)
    folder = out / "runs" / f"again-{plan.set}-{plan.labels}-{plan.more}-{seed}-{key}"
    # As in a project, the second round finds the first one's embeddings; no other run does.
    with own_copy(cache, folder / "cache") as own:
        one = train_in(folder / "0001", inputs(first, others, cache=own), plan.threads)
        gone_on = inputs(labelled, unlabelled, cache=own, parent=one)
        two = train_in(folder / "0002", gone_on, plan.threads)
    groups = {"unseen": test, "first": first}
    return {
        name: _compare(chosen, one, two, members, choosing, cache)
        for name, members in groups.items()
    }


def _compare(
    chosen: SemiSet,
    one: Path,
    two: Path,
    members: Sequence[Member],
    choosing: Sequence[Member],
    cache: Path,
) -> dict[str, Any]:
    """Compare both rounds on the same cases, except those that chose the member of a pair."""
    before, after = (
        score(load_round(folder, device="cpu"), chosen, members, cache) for folder in (one, two)
    )
    cases = sorted(set(before) - {member.case for member in choosing})
    found = {}
    for member in MEMBERS:
        change = {
            case: mean_dice(after, [case])[member] - mean_dice(before, [case])[member]
            for case in cases
        }
        found[member] = {
            "before": mean_dice(before, cases)[member],
            "after": mean_dice(after, cases)[member],
            "change": change,
            "lost": float(np.mean([value < -LOSS for value in change.values()])),
        }
    return found


def _in_short(found: dict[str, Any]) -> str:
    return ", ".join(f"{m} {row['before']:.3f} -> {row['after']:.3f}" for m, row in found.items())
