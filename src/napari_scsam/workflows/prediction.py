"""Prediction with a round's models on slices and volumes."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.core.errors import ProjectError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.jobs import CancelToken, Progress, ProgressFn, ignore_progress
from napari_scsam.core.project_layout import CACHE_FOLDER, EMBEDDINGS_FOLDER
from napari_scsam.core.volume import Volume, take_plane
from napari_scsam.core.windows import AUTO, Window
from napari_scsam.models import (
    EmbeddingCache,
    RoundModels,
    load_round,
    open_cache,
    propose,
)
from napari_scsam.project import Project
from napari_scsam.project.rounds import round_window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.prompts import PointPrompt
    from napari_scsam.core.settings import Device, PredictWith

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
    with opened(folder) as project:
        record = project.image(image)
        volume = project.volume(record.id)
        index = volume.plane_count() // 2 if plane is None else plane
        place = Plane(0, index)
        pixels = volume.plane(place)
        round_folder = active_folder(project)
        window = round_window(round_folder).on(volume)
        window.check(pixels)
        pixels, around = window.apply(pixels), window.around(volume, place)
        models = load_round(round_folder, device=device)
        cache = open_cache(cache_folder(project), max_gb=project.cache_gb)
        embedding = cache.get_or_embed(models.sam, pixels)
        names = {c.id: c.name for c in project.classes}
        return Suggestion(
            image=record.id,
            plane=index,
            round=models.number or 0,
            names=names,
            proposals=[
                proposal
                for class_id in models.class_ids
                if class_id in names
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
    label = np.zeros(volume.shape, np.uint8)
    window = window.on(volume)
    count = volume.plane_count()
    for index in range(count):
        if cancel is not None:
            cancel.check()
        place = Plane(0, index)
        found = predict_slice(models, volume, place, which, window=window, cache=cache)
        take_plane(label, place, label.ndim)[...] = found
        progress(Progress((index + 1) / count, "Predicting"))
    return label


def predict_slice(
    models: RoundModels,
    volume: Volume,
    place: Plane,
    which: PredictWith = "pair",
    *,
    window: Window,
    cache: EmbeddingCache | None = None,
) -> LabelArray:
    """Label one slice; `window` has its limits on the volume, all else is as in `predict_volume`.

    Returns
    -------
    ndarray of shape (rows, cols), uint8
    """
    values = np.array([0, *models.class_ids], np.uint8)
    pixels = window.apply(volume.plane(place))
    if pixels.min() == pixels.max():  # a constant slice is background
        return np.zeros(pixels.shape[:2], np.uint8)
    needs_sam = which != "unet" or models.joins_sam
    embedding = cache.get_or_embed(models.sam, pixels) if needs_sam and cache else None
    around = window.around(volume, place)
    probabilities = models.probabilities(pixels, embedding, which, around)
    label: LabelArray = values[probabilities.argmax(0)]
    return label


@contextmanager
def opened(folder: Path) -> Iterator[Project]:
    """A project for reading. Its notes, such as a damaged journal's, are warnings in the log."""
    with Project.open(folder, read_only=True) as project:
        for note in project.notes:
            _log.warning("napari-scsam: note: %s", note)
        yield project


def active_folder(project: Project) -> Path:
    """The folder of the active round; ProjectError if there is none."""
    active = project.active_round()
    if active is None:
        raise ProjectError(
            f"{project.name} has no trained round yet. Commit a few slices, "
            f"then: napari-scsam train {project.folder}"
        )
    return active.folder


def cache_folder(project: Project) -> Path:
    """The folder of a project's embeddings."""
    return project.folder / CACHE_FOLDER / EMBEDDINGS_FOLDER
