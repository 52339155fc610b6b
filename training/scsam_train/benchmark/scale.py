"""Cost of a step while a project grows: rounds with more and more referenced images.

`unlabelled_planes` limits what a round reads, embeds and stores; of all other images it only has
the names. So neither time nor memory should grow with their number.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np

from napari_scsam.core.errors import ScsamError
from napari_scsam.core.round_contract import INPUTS_FILE, METRICS_FILE, PARTIAL
from napari_scsam.core.settings import Device, TrainSettings
from napari_scsam.core.volume import Volume
from napari_scsam.io import write_labels
from scsam_train.benchmark.common import own_folder, run_round, write_report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Distinct files; further references repeat them. Arbitrary.
FILES = 100
# Side of a picture in px, and number of labelled pictures. Arbitrary.
SIDE, LABELLED = 96, 8
RATES = ("seconds_loading", "seconds_per_embedding", "seconds_per_step", "memory_gb")


@dataclass(frozen=True)
class Plan:
    """Options of the measurement.

    Attributes
    ----------
    references : tuple of int
        Number of images in the project of each run, at least nine.
    steps : int
        Steps of scsam in each run.
    unlabelled : int
        Setting `unlabelled_planes`.
    device : str
    threads : int or None
        Torch threads.
    """

    references: tuple[int, ...]
    steps: int
    unlabelled: int
    device: Device = "cpu"
    threads: int | None = None


def measure(
    out: Path, plan: Plan, on_done: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Train one round per number of references, each in its own process.

    Returns
    -------
    dict
        ``plan``, and ``runs``: by number of references, the round's rates, ``embeddings``,
        ``labelled_planes``, ``unlabelled_planes``, and ``seconds`` of the whole process.
    """
    if min(plan.references) <= LABELLED:
        raise ScsamError(f"A run needs more than {LABELLED} references.")
    images, folder = own_folder(out / "images"), own_folder(out / "runs")
    files = _write_files(images)
    runs = {}
    for count in plan.references:
        runs[str(count)] = _run(folder / str(count), files, count, plan)
        on_done(f"{count} references: {_in_short(runs[str(count)])}")
    return {"plan": asdict(plan), "runs": runs}


def write(folder: Path, report: dict[str, Any]) -> None:
    """Write ``scale.json`` and ``scale.md``."""
    write_report(folder, "scale", report, markdown(report))


def markdown(report: dict[str, Any]) -> str:
    """Return the report in Markdown."""
    plan = report["plan"]
    lines = [
        f"{plan['steps']} steps of scsam on {LABELLED} labelled pictures; `unlabelled_planes` = "
        f"{plan['unlabelled']} bounds how many of the others are read, embedded and kept.",
        "",
        "| references | read and built, s | an embedding, s | a step, s | peak memory, GB "
        "| unlabelled in use |",
        "|---|---|---|---|---|---|",
    ]
    for count, run in report["runs"].items():
        figures = " | ".join(f"{run[name]:.2f}" for name in RATES)
        lines.append(f"| {int(count):,} | {figures} | {run['unlabelled_planes']} |")
    return "\n".join(lines) + "\n"


def _in_short(run: dict[str, Any]) -> str:
    return (
        f"{run['seconds_loading']:.1f} s to load, {run['seconds_per_step']:.2f} s a step, "
        f"{run['memory_gb']:.2f} GB"
    )


def _write_files(folder: Path) -> list[dict[str, Any]]:
    """Write pictures with a bright disc each, and the label maps of the first ones."""
    rows, cols = np.mgrid[:SIDE, :SIDE]
    entries = []
    for number in range(FILES):
        rng = np.random.default_rng(number)
        row, col = rng.integers(24, SIDE - 24, 2)
        disc = (rows - row) ** 2 + (cols - col) ** 2 < 18**2
        picture = (rng.normal(70, 12, disc.shape) + 100 * disc).clip(0, 255).astype(np.uint8)
        path = folder / f"{number:03d}.png"
        iio.imwrite(path, picture)
        entry: dict[str, Any] = {**_named(path), "label": None}
        if number < LABELLED:
            mask = folder / f"{number:03d}-label.nii.gz"
            write_labels(mask, disc.astype(np.uint8), Volume.from_array(picture))
            entry["label"] = _named(mask)
        entries.append(entry)
    return entries


def _named(path: Path) -> dict[str, str]:
    return {"path": str(path.resolve()), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _run(folder: Path, files: list[dict[str, Any]], count: int, plan: Plan) -> dict[str, Any]:
    shutil.rmtree(folder, ignore_errors=True)
    partial = folder / f"0001{PARTIAL}"
    partial.mkdir(parents=True)
    (partial / INPUTS_FILE).write_text(_inputs(files, count, plan))
    began = time.monotonic()
    run_round(partial, plan.threads)
    seconds = time.monotonic() - began
    metrics = json.loads((folder / "0001" / METRICS_FILE).read_text())
    planes = {name: metrics[name] for name in ("labelled_planes", "unlabelled_planes")}
    return {**metrics["rates"], **planes, "seconds": round(seconds, 1)}


def _inputs(files: list[dict[str, Any]], count: int, plan: Plan) -> str:
    """Return ``inputs.json`` of a round without a cache: each run computes all embeddings."""
    images = []
    for number in range(count):
        name = f"{number:08x}"
        entry = files[number % FILES]
        label = entry["label"] if number < LABELLED else None
        images.append({**entry, "id": name, "case": name, "label": label})
    settings = TrainSettings(
        steps=plan.steps, unlabelled_planes=plan.unlabelled, holdout=0.0, device=plan.device
    )
    return json.dumps(
        {
            "schema": 1,
            "round": 1,
            "project": "scale",
            "modality": "other",
            "classes": [{"id": 1, "name": "disc", "colour": "#E69F00"}],
            "images": images,
            "parent_round": None,
            "settings": settings.to_dict(),
        }
    )
