"""Dice by number of clicks and with a box on real scans, with seeds and confidence intervals."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from scsam_train.benchmark.annotator import Outcome, annotate
from scsam_train.benchmark.common import write_report
from scsam_train.benchmark.sets import SETS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_scsam.models import SamBackend

# Clicks for each object, as in docs/results/clicks.md.
CLICKS = 10
# Clicks after which Dice is reported. Arbitrary.
SHOWN = (1, 3, 5, 10)
# Bootstrap samples of an interval. Arbitrary.
RESAMPLES = 1000


@dataclass(frozen=True)
class Measured:
    """Result of one object with one seed."""

    group: str
    structure: str
    seed: int
    outcome: Outcome


def measure(
    sam: SamBackend,
    name: str,
    data: Path,
    *,
    limit: int | None,
    seeds: Sequence[int],
    feed_back: bool = True,
    on_case: Callable[[str, int], None] = lambda name, done: None,
) -> dict[str, Any]:
    """Run the simulated annotator on one data set.

    Parameters
    ----------
    sam : SamBackend
    name : {'polyps_kvasir', 'cardiac_acdc', 'atrium_la2018'}
    data : Path
        Folder that contains the sets.
    limit : int, optional
        Use only the first `limit` planes.
    seeds : sequence of int
        Seeds of the annotator's inaccuracy; 0 is exact.
    feed_back : bool
        Whether the last logits are the mask prompt of the next click.
    on_case : callable
        Called with the set's name and the number of planes done.

    Returns
    -------
    dict
        As `summary`.
    """
    measured = []
    for done, case in enumerate(islice(SETS[name](data), limit), start=1):
        embedding = sam.embed(case.image)
        for structure, truth in case.masks.items():
            for seed in seeds:
                outcome = annotate(sam, embedding, truth, CLICKS, seed, feed_back=feed_back)
                measured.append(Measured(case.group, structure, seed, outcome))
        on_case(name, done)
    return summary(measured)


def summary(measured: Sequence[Measured]) -> dict[str, Any]:
    """Return means, confidence intervals and spread.

    Returns
    -------
    dict
        ``dice`` by '1', '3', '5', '10', '10 - 5' and 'box': ``mean``, ``interval`` (95 %,
        bootstrap over groups) and ``seeds`` (mean of each seed). ``structures``: means only.
        ``iou_correlation``: Pearson's r of predicted and true IoU. ``objects``, ``groups``.
    """
    structures: dict[str, list[Measured]] = defaultdict(list)
    for one in measured:
        structures[one.structure].append(one)
    estimated = np.concatenate([one.outcome.estimated for one in measured])
    true = np.concatenate([one.outcome.true for one in measured])
    return {
        "groups": len({one.group for one in measured}),
        "objects": len(measured) // len({one.seed for one in measured}),
        "dice": {column: spread(measured, column) for column in _columns()},
        "structures": {
            name: {column: _mean(part, column) for column in _columns()}
            for name, part in structures.items()
        },
        "iou_correlation": round(float(np.corrcoef(estimated, true)[0, 1]), 3),
        "iou_error": round(float(np.abs(estimated - true).mean()), 3),
    }


def write(folder: Path, report: dict[str, Any]) -> None:
    """Write ``interactive.json`` and ``interactive.md``."""
    write_report(folder, "interactive", report, markdown(report))


def markdown(report: dict[str, Any]) -> str:
    """Return the report as a Markdown table."""
    columns = _columns()
    lines = [
        f"Dice by number of clicks and with the tight box, {report['model']}; seeds "
        f"{report['seeds']}; 95 % intervals by bootstrap over patients or pictures.",
        "",
        "| set | objects | " + " | ".join(columns) + " | r of IoU |",
        "|---" * (len(columns) + 3) + "|",
    ]
    for name, result in report["sets"].items():
        cells = [cell(result["dice"][column]) for column in columns]
        values = [name, str(result["objects"]), *cells, f"{result['iou_correlation']:.2f}"]
        lines.append("| " + " | ".join(values) + " |")
        if len(result["structures"]) > 1:
            for structure, means in result["structures"].items():
                cells = [f"{means[column]:.3f}" for column in columns]
                lines.append("| " + " | ".join([f"- {structure}", "", *cells, ""]) + " |")
    return "\n".join(lines) + "\n"


def _columns() -> list[str]:
    return [*(str(n) for n in SHOWN), "10 - 5", "box"]


def _value(outcome: Outcome, column: str) -> float:
    if column == "box":
        return outcome.box
    if column == "10 - 5":
        return outcome.clicks[9] - outcome.clicks[4]
    return outcome.clicks[int(column) - 1]


def _mean(measured: Sequence[Measured], column: str) -> float:
    return round(float(np.mean([_value(one.outcome, column) for one in measured])), 4)


def spread(measured: Sequence[Measured], column: str) -> dict[str, Any]:
    """Return the mean of a column, its 95 % ``interval`` over groups, and means by ``seeds``."""
    groups: dict[str, list[float]] = defaultdict(list)
    seeds: dict[int, list[float]] = defaultdict(list)
    for one in measured:
        value = _value(one.outcome, column)
        groups[one.group].append(value)
        seeds[one.seed].append(value)
    return {
        "mean": _mean(measured, column),
        "interval": _bootstrap([np.array(values) for values in groups.values()]),
        "seeds": {str(seed): round(float(np.mean(v)), 4) for seed, v in seeds.items()},
    }


def _bootstrap(groups: Sequence[NDArray[np.float64]]) -> list[float]:
    """Return the 95 % bootstrap interval of the mean over groups."""
    rng = np.random.default_rng(0)
    sums = np.array([group.sum() for group in groups])
    counts = np.array([len(group) for group in groups])
    drawn = rng.integers(len(groups), size=(RESAMPLES, len(groups)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    return [round(float(value), 4) for value in np.percentile(means, (2.5, 97.5))]


def cell(found: dict[str, Any]) -> str:
    """Format a `spread` as a table cell."""
    low, high = found["interval"]
    return f"{found['mean']:.3f} ({low:.3f}, {high:.3f})"
