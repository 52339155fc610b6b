"""The report of `semi` as JSON, as a table and as curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from scsam_train.benchmark.common import write_report
from scsam_train.judging import MEMBERS


def write(out: Path, report: dict[str, Any]) -> None:
    """Write ``semi-SET-N.json`` and ``.md``."""
    plan = report["plan"]
    stem = f"semi-{plan['set']}-{plan['labels']}"
    write_report(out, stem, report, markdown(report))


def markdown(report: dict[str, Any]) -> str:
    """Mean, deviation and number of seeds by recipe and member."""
    plan = report["plan"]
    lines = [
        f"{plan['set']}, {plan['labels']} labelled, {plan['minutes']:g} minutes a run, seeds "
        f"{list(plan['seeds'])}: Dice on cases that chose nothing, mean ± deviation (n seeds).",
        "",
        "| recipe | U-Net | SAM | pair | chosen member | U-Net minus supervised | steps |",
        "|---" * 7 + "|",
    ]
    runs = report["runs"]
    for name, by_seed in runs.items():
        cells = [_cell([r["dice"].get(member) for r in by_seed.values()]) for member in MEMBERS]
        best = _cell([r["dice"][r["best"]] for r in by_seed.values()])
        against = _against(by_seed, runs.get("supervised", {}))
        steps = round(float(np.mean([r["steps"] for r in by_seed.values()])))
        lines.append(f"| {name} | {' | '.join(cells)} | {best} | {against} | {steps} |")
    return "\n".join([*lines, *_differences(runs), *_curves(runs)]) + "\n"


def _differences(runs: dict[str, Any]) -> list[str]:
    """What `scsam` is ahead of each other recipe by, seed by seed, in the chosen member."""
    if "scsam" not in runs or len(runs) < 2:
        return []
    lines = ["", "| chosen member of scsam minus that of | difference |", "|---|---|"]
    mine = runs["scsam"]
    for name, by_seed in runs.items():
        both = [seed for seed in mine if seed in by_seed] if name != "scsam" else []
        ahead = [_chosen(mine[seed]) - _chosen(by_seed[seed]) for seed in both]
        if ahead:
            lines.append(f"| {name} | {_cell(list(ahead), sign=True)} |")
    return lines


def _chosen(run: dict[str, Any]) -> float:
    return float(run["dice"][run["best"]])


def _curves(runs: dict[str, Any]) -> list[str]:
    """Mean Dice of the members on the choosing cases as the rounds went on."""
    rows = []
    for name, by_seed in runs.items():
        curves = [run["curve"] for run in by_seed.values()]
        for member in MEMBERS:
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


def _against(mine: dict[str, Any], base: dict[str, Any]) -> str:
    both = [seed for seed in mine if seed in base]
    pairs = [(mine[s]["dice"].get("unet"), base[s]["dice"].get("unet")) for s in both]
    return _cell([a - b for a, b in pairs if a is not None and b is not None], sign=True)


def _cell(values: list[float | None], *, sign: bool = False) -> str:
    found = [value for value in values if value is not None]
    if not found:
        return ""
    spread = f" ± {np.std(found, ddof=1):.3f}" if len(found) > 1 else ""
    return f"{np.mean(found):{'+' if sign else ''}.3f}{spread} ({len(found)})"
