"""The whole workflow on a real scan, with its figures."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.core.errors import ProjectError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.jobs import Progress, ProgressFn
from napari_scsam.core.labels import NOT_ANNOTATED
from napari_scsam.core.prompt_edits import to_decode
from napari_scsam.core.prompts import Prompts, PromptSet
from napari_scsam.core.round_contract import EventKind
from napari_scsam.core.settings import Device, TrainSettings
from napari_scsam.io import read_volume, write_labels
from napari_scsam.io.sample import CLASSES, SampleScan, load_sample_scan, write_sample_picture
from napari_scsam.models import (
    EmbeddingCache,
    RoundModels,
    evaluate,
    load_round,
    load_sam,
    open_cache,
    propose,
)
from napari_scsam.project.export import export_labels
from napari_scsam.rounds.running_round import TrainingController
from napari_scsam.workflows.baselines import copy_nearest_slice, threshold_baseline
from napari_scsam.workflows.prediction import predict_volume
from napari_scsam.workflows.sample import COMMITTED_SLICES, make_sample_project

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.project import Project

# Chosen by hand: between the committed slices.
SUGGESTED_SLICES = (55, 73, 79, 85, 91, 97, 115)
# Arbitrary, for a demo of a few minutes. On slow machines the time limit ends the round.
DEMO_PICTURES, DEMO_MINUTES = 1600, 4.3
# Bounding box of the optic disc in the sample picture, read off the picture: row0, col0, row1,
# col1.
OPTIC_DISC = (545.0, 120.0, 755.0, 320.0)


def demo_settings(*, seed: int = 0, device: Device = "auto") -> TrainSettings:
    """Return settings for a round of a few minutes."""
    return TrainSettings(
        pictures=DEMO_PICTURES,
        minutes=DEMO_MINUTES,
        unlabelled_planes=12,
        seed=seed,
        device=device,
    )


@dataclass
class DemoResult:
    """Results of the demo.

    Attributes
    ----------
    dice : dict
        By method ('ours', 'threshold', 'nearest slice'), then by class name, on all unlabelled
        slices. 'ours' is the round's U-Net.
    suggested_dice : dict
        By class name: masks from the suggested points alone, as shown in the dock, on
        `SUGGESTED_SLICES`.
    """

    project: Path
    labelled: int = 0
    unlabelled: int = 0
    round: dict[str, Any] = field(default_factory=dict)
    dice: dict[str, dict[str, float]] = field(default_factory=dict)
    suggested_dice: dict[str, float] = field(default_factory=dict)
    proposals: int = 0
    decode_seconds: float = 0.0
    exports: list[Path] = field(default_factory=list)
    seconds: float = 0.0


def run_demo(folder: Path, settings: TrainSettings, progress: ProgressFn) -> DemoResult:
    """Run the whole workflow on the sample scan.

    Parameters
    ----------
    folder : Path
        Folder for scans, project and results; created if missing.
    settings : TrainSettings
        Settings of the round.
    progress : callable
        Called before each part.

    Raises
    ------
    MissingDependencyError
        If the package with the sample scan is not installed.
    """
    started = time.monotonic()
    progress(Progress(0.0, "Writing the sample scan (MNI152 T1) and its truth"))
    scan = load_sample_scan()
    paths = _write_scans(folder, scan)
    listed = ", ".join(str(index) for index in COMMITTED_SLICES)
    progress(Progress(0.05, f"Committing slices {listed} as if by hand"))
    with make_sample_project(folder, scan) as project:
        result = DemoResult(project.folder)
        (image,) = (record.id for record in project.images())
        result.labelled = len(project.committed_planes(image))
        result.unlabelled = scan.image.plane_count() - result.labelled
        models = _train(project, settings, progress, result)
        cache = open_cache(project.folder / "cache" / "embeddings", max_gb=project.cache_gb)
        _suggest(models, cache, scan, progress, result)
        progress(Progress(0.8, f"Predicting all {scan.image.plane_count()} slices"))
        predicted = predict_volume(models, project.volume(image), "unet")
        _measure(predicted, scan, result)
        _export(project, paths, predicted, progress, result)
    result.seconds = time.monotonic() - started
    return result


def _write_scans(folder: Path, scan: SampleScan) -> dict[str, Path]:
    scans = folder / "scans"
    scans.mkdir(parents=True, exist_ok=True)
    paths = {
        "scan": scans / "mni152_t1.nii.gz",
        "truth": folder / "truth" / "mni152_t1.nii.gz",
        "picture": write_sample_picture(scans),
        "out": folder / "exports",
    }
    write_labels(paths["truth"], scan.truth, scan.image)
    return paths


def _train(
    project: Project, settings: TrainSettings, progress: ProgressFn, result: DemoResult
) -> RoundModels:
    progress(Progress(0.1, "Training round 1: U-Net and SAM teach each other"))

    def show(event: dict[str, Any]) -> None:
        if event["event"] == EventKind.PROGRESS and event.get("steps"):
            share = event.get("fraction", event["step"] / event["steps"])
            progress(Progress(0.1 + 0.5 * share, f"Round 1, {event['phase']}"))

    record = TrainingController(project).start(settings).run(show)
    if record is None:
        raise ProjectError("The round was cancelled; nothing was lost. Run the demo again.")
    result.round = {"number": record.number, "active": record.active, "metrics": record.metrics}
    return load_round(record.folder, device=settings.device)


def _suggest(
    models: RoundModels,
    cache: EmbeddingCache,
    scan: SampleScan,
    progress: ProgressFn,
    result: DemoResult,
) -> None:
    found = np.zeros_like(scan.truth[list(SUGGESTED_SLICES)])
    seconds = []
    for row, index in enumerate(SUGGESTED_SLICES):
        progress(Progress(0.6 + 0.02 * row, f"Suggesting on slice {index} and decoding"))
        pixels = scan.image.plane(Plane(0, index))
        embedding = cache.get_or_embed(models.sam, pixels)
        for class_id in models.class_ids:
            points = propose(models, pixels, embedding, class_id)
            result.proposals += len(points)
            prompts = to_decode(PromptSet(tuple(points))).for_object(
                (class_id, 1), pixels.shape[:2]
            )
            if not prompts.is_empty:
                started = time.monotonic()
                mask = models.decode(pixels, embedding, prompts, class_id, proposed=True).mask
                found[row][mask] = class_id
                seconds.append(time.monotonic() - started)
    result.decode_seconds = float(np.median(seconds)) if seconds else 0.0
    result.suggested_dice = _dice(found, scan.truth[list(SUGGESTED_SLICES)], scan.image.spacing)


def _measure(predicted: LabelArray, scan: SampleScan, result: DemoResult) -> None:
    # Committed slices are not part of the evaluation.
    truth = scan.truth.copy()
    truth[list(COMMITTED_SLICES)] = NOT_ANNOTATED
    pixels = np.asarray(scan.image.data)
    known = {index: scan.truth[index] for index in COMMITTED_SLICES}
    contenders = {
        "ours": predicted,
        "threshold": threshold_baseline(pixels, known),
        "nearest slice": copy_nearest_slice(known, truth.shape[0]),
    }
    for name, label in contenders.items():
        result.dice[name] = _dice(label, truth, scan.image.spacing)


def _dice(
    label: LabelArray, truth: NDArray[np.uint8], spacing: tuple[float, ...]
) -> dict[str, float]:
    names = {index + 1: name for index, name in enumerate(CLASSES)}
    found = evaluate(label, truth, spacing_mm=spacing, class_names=names)
    return {row.name: row.dice for row in found.classes}


def _export(
    project: Project,
    paths: dict[str, Path],
    predicted: LabelArray,
    progress: ProgressFn,
    result: DemoResult,
) -> None:
    progress(Progress(0.95, "Exporting labels and predictions"))
    out = paths["out"]
    volume = read_volume(paths["scan"])
    for suffix in (".nii.gz", ".tif"):
        target = out / f"mni152_t1_predicted{suffix}"
        result.exports += write_labels(target, predicted, volume)
    result.exports += export_labels(project, out / "committed", "nifti")
    result.exports += _segment_picture(paths["picture"], out)


def _segment_picture(picture: Path, out: Path) -> list[Path]:
    volume = read_volume(picture)
    sam = load_sam("lite-medsam")
    decoded = sam.decode(sam.embed(volume.plane(Plane())), Prompts(box=OPTIC_DISC))
    target = out / "retina_optic_disc.png"
    return write_labels(target, decoded.mask.astype(np.uint8), volume)
