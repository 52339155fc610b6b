"""Prediction with a round's models on slices, volumes and files."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.core.errors import InputError, ProjectError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.jobs import CancelToken, Progress, ProgressFn, ignore_progress
from napari_scsam.core.project_layout import PROJECT_FILE
from napari_scsam.core.round_contract import MANIFEST_FILE
from napari_scsam.core.volume import Volume, take_plane
from napari_scsam.core.windows import AUTO, Window
from napari_scsam.io import (
    SUFFIXES,
    check_outputs,
    label_files,
    read_volume,
    stem,
    write_labels,
)
from napari_scsam.models import (
    EmbeddingCache,
    RoundModels,
    load_round,
    open_cache,
    propose,
)
from napari_scsam.project import Project
from napari_scsam.project.export import image_places
from napari_scsam.project.rounds import round_window

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.prompts import PointPrompt
    from napari_scsam.core.settings import Device, ExportFormat, PredictWith

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Suggestion:
    """Proposals of a round on one slice.

    Attributes
    ----------
    image : str
        ID of the image.
    plane : int
        Slice number along axis 0.
    round : int
        Number of the round.
    names : dict of int to str
        Class names by id.
    proposals : list of PointPrompt
        Proposals of all classes, in image pixels of the slice.
    """

    image: str
    plane: int
    round: int
    names: dict[int, str]
    proposals: list[PointPrompt]


def suggest_on(
    folder: Path, image: str, *, plane: int | None = None, device: Device = "auto"
) -> Suggestion:
    """Propose prompts with a project's active round on one slice of one of its images.

    Raises
    ------
    ProjectError
        If the project has no round yet.
    InputError
        If there is no such image or slice.
    """
    with _opened(folder) as project:
        record = project.image(image)
        volume = project.volume(record.id)
        index = volume.plane_count() // 2 if plane is None else plane
        place = Plane(0, index)
        pixels = volume.plane(place)
        round_folder = _active_folder(project)
        window = round_window(round_folder).on(volume)
        window.check(pixels)
        pixels, around = window.apply(pixels), window.around(volume, place)
        models = load_round(round_folder, device=device)
        embedding = _cache_of(project).get_or_embed(models.sam, pixels)
        return Suggestion(
            image=record.id,
            plane=index,
            round=models.number or 0,
            names={c.id: c.name for c in project.classes},
            proposals=[
                proposal
                for class_id in models.class_ids
                for proposal in propose(models, pixels, embedding, class_id, around)
            ],
        )


def predict_volume(
    models: RoundModels,
    volume: Volume,
    which: PredictWith = "pair",
    *,
    window: Window = AUTO,
    cache: EmbeddingCache | None = None,
    progress: ProgressFn = ignore_progress,
    cancel: CancelToken | None = None,
) -> LabelArray:
    """Label every slice of a volume, or a two-dimensional image.

    Parameters
    ----------
    models : RoundModels
        The models.
    volume : Volume
        Volume or image to label.
    which : {'unet', 'sam', 'pair'}
        Member whose probabilities are used.
    window : Window
        Window that the pair was trained with (`round_window`).
    cache : EmbeddingCache, optional
        Cache of embeddings.
    progress : callable
        Called after each slice.
    cancel : CancelToken, optional
        Checked before each slice.

    Returns
    -------
    ndarray of `volume.shape`, uint8
        The most probable class of each pixel, 0 for background.
    """
    values = np.array([0, *models.class_ids], np.uint8)
    label = np.zeros(volume.shape, np.uint8)
    window = window.on(volume)
    count = volume.plane_count()
    needs_sam = which != "unet" or models.joins_sam
    for index in range(count):
        if cancel is not None:
            cancel.check()
        place = Plane(0, index)
        pixels = window.apply(volume.plane(place))
        if pixels.min() < pixels.max():  # a constant slice is background
            embedding = cache.get_or_embed(models.sam, pixels) if needs_sam and cache else None
            around = window.around(volume, place)
            probabilities = models.probabilities(pixels, embedding, which, around)
            take_plane(label, place, label.ndim)[...] = values[probabilities.argmax(0)]
        progress(Progress((index + 1) / count, "Predicting"))
    return label


def predict_files(
    source: Path,
    images: Sequence[str],
    out: Path,
    *,
    format: ExportFormat = "nifti",
    which: PredictWith = "pair",
    device: Device = "auto",
    overwrite: bool = False,
    progress: ProgressFn = ignore_progress,
) -> list[Path]:
    """Label image files and write each as ``out/<stem>.<ext>``.

    Parameters
    ----------
    source : Path
        A project folder (with an active round) or the folder of a round.
    images : sequence of str
        Files, or IDs of images of the project.
    overwrite : bool
        Replace existing files, but never an image.

    Raises
    ------
    InputError, ProjectError, ModelError
        Before any prediction: an unreadable file, two files with the same stem, no round, or a
        file that is in the way.
    """
    round_folder, paths, cache, kept = _resolve(source, images)
    targets = _targets(paths, out, format)
    volumes = [read_volume(path) for path in paths]
    files = [label_files(t, v.shape, format) for t, v in zip(targets, volumes, strict=True)]
    check_outputs([*chain(*files)], [*paths, *kept], overwrite=overwrite)
    models = load_round(round_folder, device=device)
    window = round_window(round_folder)
    written: list[Path] = []
    for path, target, volume in zip(paths, targets, volumes, strict=True):
        progress(Progress(0.0, f"Predicting {path.name}"))
        label = predict_volume(models, volume, which, window=window, cache=cache)
        written += write_labels(target, label, volume, format)
    return written


def _resolve(
    source: Path, images: Sequence[str]
) -> tuple[Path, list[Path], EmbeddingCache | None, list[Path]]:
    """The round, the files, a cache, and what else is never written over."""
    if (source / MANIFEST_FILE).is_file():
        return source, [Path(image) for image in images], None, _images_beside(source)
    with _opened(source) as project:
        records = project.images()
        known = {record.id: record.path for record in records}
        paths = [known.get(image, Path(image)) for image in images]
        return _active_folder(project), paths, _cache_of(project), image_places(records)


@contextmanager
def _opened(folder: Path) -> Iterator[Project]:
    """A project for reading. Its notes, such as a damaged journal's, are warnings in the log."""
    with Project.open(folder, read_only=True) as project:
        for note in project.notes:
            _log.warning("napari-scsam: note: %s", note)
        yield project


def _images_beside(round_folder: Path) -> list[Path]:
    """Images of the project that a round lies in; none where it lies in no project."""
    folder = round_folder.resolve().parent.parent
    if not (folder / PROJECT_FILE).is_file():
        return []
    with _opened(folder) as project:
        return image_places(project.images())


def _targets(paths: Sequence[Path], out: Path, format: ExportFormat) -> list[Path]:
    names = [stem(path) for path in paths]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InputError(
            f"Two images have the same name {twice[0]!r} and would overwrite each other in {out}. "
            "Predict them into different folders."
        )
    return [out / f"{name}{SUFFIXES[format]}" for name in names]


def _active_folder(project: Project) -> Path:
    active = project.active_round()
    if active is None:
        raise ProjectError(
            f"{project.name} has no trained round yet. Commit a few slices, "
            f"then: napari-scsam train {project.folder}"
        )
    return active.folder


def _cache_of(project: Project) -> EmbeddingCache:
    return open_cache(project.folder / "cache" / "embeddings", max_gb=project.cache_gb)
