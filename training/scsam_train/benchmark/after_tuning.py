"""Gain on other pictures of a data set after tuning on a few committed ones."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_scsam.core.settings import Device, TuneSettings
from napari_scsam.models import (
    EmbeddingCache,
    SamBackend,
    SamModel,
    SamWeights,
    load_base,
    load_sam,
    open_cache,
    resolve_device,
)
from scsam_train.benchmark.annotator import Outcome, annotate
from scsam_train.benchmark.common import write_report
from scsam_train.benchmark.interactive import Measured, cell, spread
from scsam_train.benchmark.sets import CARDIAC, TUNING_SETS, Case
from scsam_train.data import TrainPlane
from scsam_train.tuning.tune import TuningResult, tune

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

# Clicks for each object, as in the test that a tuning has to pass (tuning/gate.py).
CLICKS = 5
COLUMNS = ("1", "3", "5", "box")
STEM = "tuned"


@dataclass(frozen=True)
class Plan:
    """Options of the measurement.

    Attributes
    ----------
    model : str
        A name for `load_sam`.
    count : int
        Number of committed pictures.
    seeds : tuple of int
        Seeds of their choice and of the tuning.
    limit : int or None
        Measure only the first `limit` planes.
    device : str
    """

    model: str
    count: int
    seeds: tuple[int, ...]
    limit: int | None
    device: str


def measure(
    data: Path,
    out: Path,
    names: Sequence[str],
    plan: Plan,
    on_done: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Tune with each seed and click through the rest; intermediate results go to ``tuned.json``.

    Parameters
    ----------
    data, out : Path
    names : sequence of str
        Keys of `sets.TUNING_SETS`.
    plan : Plan
        A report of another plan or other weights is discarded; seeds may be added.
    on_done : callable
        Called with a message after each finished part.

    Returns
    -------
    dict
        ``plan``, ``base``, and ``sets``: by name, ``shipped`` and ``tuned`` (`interactive.spread`
        of the Dice after 1, 3 and 5 clicks and with the box; those of a refused tuning are the
        shipped ones), and ``tunings``, the report of each tuning by seed.
    """
    out.mkdir(parents=True, exist_ok=True)
    cache = open_cache(out / "cache")
    report = _begun(out / f"{STEM}.json", plan)
    for name in names:
        part = report["sets"].setdefault(name, {"rows": {}, "tunings": {}})
        if "shipped" not in part["rows"]:
            sam = load_sam(plan.model, device=cast("Device", plan.device))
            part["rows"]["shipped"] = _click(sam, data, name, plan, cache)
            _write(out, report, on_done, f"{name}: as shipped")
        for seed in plan.seeds:
            if str(seed) in part["rows"]:
                continue
            done, sam = _tuned(data, name, plan, seed, cache)
            part["tunings"][str(seed)] = done.report
            part["rows"][str(seed)] = (
                _click(sam, data, name, plan, cache)
                if done.report["kept"]
                else part["rows"]["shipped"]  # as in the tool
            )
            _write(out, report, on_done, f"{name}: seed {seed}, {done.report['reason']}")
    for part in report["sets"].values():
        part |= _summary(part, plan.seeds)
    _write(out, report, on_done, "done")
    return report


def markdown(report: dict[str, Any]) -> str:
    """Return the report as a Markdown table."""
    plan = report["plan"]
    lines = [
        f"Dice on other pictures of the set, as shipped and after tuning on {plan['count']} "
        f"committed ones; {plan['model']}, seeds {list(plan['seeds'])}; 95 % intervals by "
        "bootstrap over patients or pictures.",
        "",
        "| set | | " + " | ".join(COLUMNS) + " | first click by seed | kept | s |",
        "|---" * (len(COLUMNS) + 5) + "|",
    ]
    for name, part in report["sets"].items():
        for which in ("shipped", "tuned"):
            cells = [cell(part[which][column]) for column in COLUMNS]
            rest = ["", "", ""] if which == "shipped" else _of_tunings(part, plan["seeds"])
            lines.append("| " + " | ".join([name, which, *cells, *rest]) + " |")
    return "\n".join(lines) + "\n"


def _of_tunings(part: dict[str, Any], seeds: Sequence[int]) -> list[str]:
    by_seed = ", ".join(f"{value:.3f}" for value in part["tuned"]["1"]["seeds"].values())
    tunings = [part["tunings"][str(seed)] for seed in seeds]
    kept = f"{sum(t['kept'] for t in tunings)} of {len(tunings)}"
    return [by_seed, kept, f"{np.mean([t['seconds'] for t in tunings]):.0f}"]


def _begun(path: Path, plan: Plan) -> dict[str, Any]:
    """Return the report so far, if it has the same plan and weights."""
    base = load_base(plan.model).base_hash
    wanted = json.loads(json.dumps(asdict(plan)))
    try:
        report: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        report = {}
    before = report.get("plan") or {}
    same = report.get("base") == base and {**before, "seeds": wanted["seeds"]} == wanted
    return {"plan": wanted, "base": base, "sets": report["sets"] if same else {}}


def _tuned(
    data: Path, name: str, plan: Plan, seed: int, cache: EmbeddingCache
) -> tuple[TuningResult, SamModel]:
    choose, _ = TUNING_SETS[name]
    cases = choose(data, plan.count, np.random.default_rng(seed))
    settings = TuneSettings(seed=seed, device=cast("Device", plan.device), sam=plan.model)
    device = resolve_device(settings.device)
    base = load_base(plan.model)
    done = tune(base, [_plane(case) for case in cases], settings, device, cache)
    weights = SamWeights.of(replace(base, module=done.model), device)
    return done, SamModel(weights, done.info, done.prior)


def _plane(case: Case) -> TrainPlane:
    """Return a case as a committed plane."""
    label = np.zeros(case.image.shape[:2], np.uint8)
    for structure, mask in case.masks.items():
        label[mask] = _class_of(structure)
    return TrainPlane(case.name, case.group, 0, np.asarray(case.image), label)


def _class_of(structure: str) -> int:
    return {name: value for value, name in CARDIAC.items()}.get(structure, 1)


def _click(
    sam: SamBackend, data: Path, name: str, plan: Plan, cache: EmbeddingCache
) -> list[list[Any]]:
    """Return rows of (group, structure, Dice by click, Dice with the box)."""
    _, others = TUNING_SETS[name]
    rows: list[list[Any]] = []
    for case in islice(others(data), plan.limit):
        embedding = cache.get_or_embed(sam, case.image)
        for structure, truth in case.masks.items():
            outcome = annotate(sam, embedding, truth, CLICKS, class_id=_class_of(structure))
            rows.append([case.group, structure, list(outcome.clicks), outcome.box])
    return rows


def _summary(part: dict[str, Any], seeds: Sequence[int]) -> dict[str, Any]:
    shipped = _measured(part["rows"]["shipped"], 0)
    tuned: list[Measured] = []
    for seed in seeds:
        tuned += _measured(part["rows"][str(seed)], seed)
    return {
        which: {column: spread(measured, column) for column in COLUMNS}
        for which, measured in (("shipped", shipped), ("tuned", tuned))
    }


def _measured(rows: Sequence[Sequence[Any]], seed: int) -> list[Measured]:
    return [
        Measured(group, structure, seed, Outcome(tuple(clicks), box, (), ()))
        for group, structure, clicks, box in rows
    ]


def _write(out: Path, report: dict[str, Any], on_done: Callable[[str], None], what: str) -> None:
    is_whole = all("tuned" in part for part in report["sets"].values())
    write_report(out, STEM, report, markdown(report) if is_whole else None)
    on_done(what)
