"""The report of `semi` as JSON, tables and curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scsam_train.benchmark.common import write_report
from scsam_train.benchmark.intervals import (
    Interval,
    by_case,
    by_seed,
    over_cases,
    over_seeds,
)
from scsam_train.benchmark.scoring import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# Candidates that every other one is compared with.
BASES = ("scsam", "supervised")

Runs = dict[str, dict[str, dict[str, Any]]]


def write(out: Path, report: dict[str, Any]) -> None:
    """Write ``semi-SET-N-WHERE.json`` and ``.md``."""
    plan = report["plan"]
    stem = f"semi-{plan['set']}-{plan['labels']}-{plan['evaluate_on']}"
    write_report(out, stem, report, markdown(report))


def markdown(report: dict[str, Any]) -> str:
    """Return mean, deviation and number of seeds by candidate and member; differences; curves."""
    plan, runs = report["plan"], report["runs"]
    measured = {
        "training": "unlabelled cases of the training set",
        "validation": "the validation cases",
    }[plan["evaluate_on"]]
    lines = [
        f"{plan['set']}, {plan['labels']} labelled, {_budget(plan)} a run, seeds "
        f"{list(plan['seeds'])}, measured on {measured}: Dice on cases that chose nothing, mean "
        "± deviation (n seeds).",
        "",
        f"| recipe | {' | '.join(COLUMNS)} | chosen | pictures | steps | min | quiet min |",
        "|---" * (len(COLUMNS) + 6) + "|",
        *(_row(name, list(found.values())) for name, found in runs.items()),
        "",
        "min: of the whole run, embeddings charged. quiet min: as many pictures, at the least "
        "seconds a picture that a run of this recipe took, and the embeddings.",
    ]
    return "\n".join([*lines, *_differences(runs), *_curves(runs)]) + "\n"


def _budget(plan: dict[str, Any]) -> str:
    said = []
    if plan["pictures"] is not None:
        said.append(f"{plan['pictures']} pictures")
    if plan["minutes"] is not None:
        said.append(f"at most {plan['minutes']:g} minutes")
    return ", ".join(said)


def _row(name: str, found: Sequence[dict[str, Any]]) -> str:
    cells = [_cell([run["dice"].get(member) for run in found]) for member in COLUMNS]
    chosen = _cell([run["dice"][run["best"]] for run in found])
    pictures, steps = (round(float(np.mean([run[of] for run in found]))) for of in _COUNTS)
    minutes = _mean([run["seconds"] / 60 for run in found])
    return (
        f"| {name} | {' | '.join(cells)} | {chosen} | {pictures} | {steps} | {minutes} "
        f"| {_mean(quiet_minutes(found))} |"
    )


_COUNTS = ("pictures", "steps")


def quiet_minutes(found: Sequence[dict[str, Any]]) -> list[float]:
    """Return the minutes that each run would take on an idle machine.

    Other load only makes training slower. So the smallest time per picture of all runs of a
    recipe on one machine is taken as its cost, plus the charged embeddings.
    """
    least: dict[str, float] = {}
    for run in found:
        each, where = run["seconds_per_picture"], str(run["machine"])
        if each is not None:
            least[where] = min(each, least.get(where, each))
    return [
        (run["pictures"] * least[str(run["machine"])] + run["charged_s"]) / 60
        for run in found
        if str(run["machine"]) in least
    ]


def _differences(runs: Runs) -> list[str]:
    """Return paired differences with confidence intervals over seeds and over cases."""
    rows = [
        f"| {mine} | {base} | {member} | {row}"
        for mine, base in _compared(runs)
        for member in COLUMNS
        for row in [_difference(runs[mine], runs[base], member)]
        if row
    ]
    if not rows:
        return []
    head = "| recipe | minus | member | difference | 95 % over seeds | 95 % over cases |"
    return ["", "Paired by seed, and by case:", "", head, _rule(head), *rows]


def _compared(runs: Runs) -> Iterator[tuple[str, str]]:
    """Pair each candidate with the bases of its kind of U-Net, and with its other kinds."""
    known = [(title, *_kind(found)) for title, found in runs.items()]
    for at, (mine, recipe, unet) in enumerate(known):
        for before, (other, base, kind) in enumerate(known):
            against_base = base in BASES and (unet == kind or recipe == "sam-only")
            if recipe in BASES:  # compare the two bases only once
                against_base = against_base and BASES.index(recipe) < BASES.index(base)
            if against_base or (recipe == base and before < at):
                yield mine, other


def _kind(found: dict[str, dict[str, Any]]) -> tuple[str, str]:
    first = next(iter(found.values()))
    return first["recipe"], first["unet"]


def _difference(
    mine: dict[str, dict[str, Any]], base: dict[str, dict[str, Any]], member: str
) -> str:
    seeds, cases = by_seed(mine, base, member), list(by_case(mine, base, member).values())
    if not seeds:
        return ""
    return (
        f"{_cell(list(seeds), sign=True)} | {_interval(over_seeds(seeds))} "
        f"| {_interval(over_cases(cases))} ({len(cases)}) |"
    )


def _interval(found: Interval | None) -> str:
    return "" if found is None else f"{found[0]:+.3f} to {found[1]:+.3f}"


def _curves(runs: Runs) -> list[str]:
    """Return the mean Dice of the members on the choosing cases over the course of the rounds."""
    rows = []
    for name, found in runs.items():
        curves = [run["curve"] for run in found.values()]
        members = {member for run in found.values() for member in run["dice"]}
        for member in (member for member in COLUMNS if member in members):
            points = [_at(curves, member, at) for at in range(max(map(len, curves)))]
            if any(points):
                rows.append(f"| {name} | {member} | {' | '.join(points)} |")
    if not rows:
        return []
    longest = max((run["curve"] for by in runs.values() for run in by.values()), key=len)
    shares = [f"{100 * point['fraction']:.0f} %" for point in longest]
    head = f"| recipe | member | {' | '.join(shares)} |"
    return ["", "Choosing cases, after so much of the round:", "", head, _rule(head), *rows]


def _at(curves: list[list[dict[str, Any]]], member: str, at: int) -> str:
    return _cell([c[at]["dice"].get(member) for c in curves if at < len(c)])


def _rule(head: str) -> str:
    return "|" + "---|" * (head.count("|") - 1)


def _mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):.1f}" if values else ""


def _cell(values: list[float | None], *, sign: bool = False) -> str:
    found = [value for value in values if value is not None]
    if not found:
        return ""
    spread = f" ± {np.std(found, ddof=1):.3f}" if len(found) > 1 else ""
    return f"{np.mean(found):{'+' if sign else ''}.3f}{spread} ({len(found)})"
