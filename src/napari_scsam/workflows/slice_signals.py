"""Measuring the slices of one image for the ranking, in this process or in another one."""

from __future__ import annotations

import multiprocessing
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.core.errors import InputError, ModelError, ScsamError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.threads import TUNING, step_back
from napari_scsam.core.windows import AUTO, Window, parse_window
from napari_scsam.io import read_volume
from napari_scsam.models import (
    Doubt,
    disagreements,
    doubts,
    load_feature_encoder,
    load_round,
    one_thread,
)
from napari_scsam.project.files import hash_file
from napari_scsam.project.rounds import round_window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_scsam.core.arrays import FloatArray, Pixels
    from napari_scsam.core.settings import Device
    from napari_scsam.core.volume import Around, Volume
    from napari_scsam.models import FeatureEncoder, Pair
    from napari_scsam.project import ImageRecord

# What can be measured: pooled features; entropy and expected Dice of each class; the disagreement
# of the two models about each class.
FEATURES, DOUBTS, DISAGREEMENT = "features", "doubts", "disagreement"
# Channels of all feature maps of the encoder (timm's EfficientNet-Lite0: 16, 24, 40, 112, 320).
FEATURE_COUNT = 512
# Values that belong together in what is measured; see `Measured`.
UNITS = {FEATURES: FEATURE_COUNT, DOUBTS: 3, DISAGREEMENT: 2}
# Of a file, by which it is known not to have changed since: time of change in ns, size in bytes.
Stamp = tuple[int, int]


@dataclass(frozen=True)
class Tools:
    """What an image is measured with; plain values that another process can be given.

    Attributes
    ----------
    window : str
        Name of the project's intensity window, for the features.
    round_folder : Path or None
        Of the active round.
    device : {'auto', 'cpu', 'cuda', 'mps'}
    """

    window: str
    round_folder: Path | None
    device: Device


@dataclass(frozen=True)
class Work:
    """One image to measure.

    Attributes
    ----------
    record : ImageRecord
    planes : tuple of int
        Slice numbers along axis 0.
    wanted : tuple of str
        What to measure.
    """

    record: ImageRecord
    planes: tuple[int, ...]
    wanted: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured on one image.

    Attributes
    ----------
    image : str
    planes : tuple of int
    stamp : tuple of int
    values : mapping of str to ndarray of shape (planes, D), float32
        By what was wanted. Features of a blank slice are 0. `DOUBTS` has three values for each
        class: its id, entropy and expected Dice, NaN if it is not seen; `DISAGREEMENT` has two, id
        and share.
    problem : str
        Why the image could not be measured; then the rest is empty.
    """

    image: str
    planes: tuple[int, ...] = ()
    stamp: Stamp = (0, 0)
    values: Mapping[str, FloatArray] = field(default_factory=dict)
    problem: str = ""


def measure(work: Work, tools: Tools) -> Measured:
    """Measure the slices of one image.

    An image that can't be read is not an error, but a result that names the problem.

    Raises
    ------
    ModelError
        If the models can't be loaded.
    """
    models = _loaded(tools, work.wanted)
    try:
        path = _unchanged_file(work.record)
        stamp = stamp_of(path)
        volume = read_volume(path)
        # SAM is large enough for several threads.
        with nullcontext() if DISAGREEMENT in work.wanted else one_thread():
            values = {name: _rows(name, models, volume, work.planes) for name in work.wanted}
    except (ScsamError, OSError) as exc:
        return Measured(work.record.id, problem=str(exc))
    return Measured(work.record.id, work.planes, stamp, values)


def stamp_of(path: Path) -> Stamp:
    """Return what a file is known by; OSError if it is gone."""
    state = path.stat()
    return (state.st_mtime_ns, state.st_size)


def _unchanged_file(record: ImageRecord) -> Path:
    """Return the place of an image whose file is still the one that was added."""
    there = [path for path in record.places if path.is_file()]
    for path in there:
        if hash_file(path) == record.sha256:
            return path
    if there:
        raise InputError(f"{there[0]} has changed since it was added.")
    raise InputError(f"The image {record.name} is no longer at {record.path}.")


@dataclass(frozen=True, eq=False)
class _Loaded:
    """Models in memory; None for those that are not needed."""

    encoder: FeatureEncoder | None
    pair: Pair | None
    window: Window
    round_window: Window


@lru_cache(maxsize=4)
def _loaded(tools: Tools, wanted: tuple[str, ...]) -> _Loaded:
    """Load what is needed once for all images that this process measures."""
    if multiprocessing.parent_process() is not None:
        step_back(TUNING)  # a worker: whoever works at this machine goes first
    folder = tools.round_folder if {DOUBTS, DISAGREEMENT} & set(wanted) else None
    return _Loaded(
        encoder=_encoder(tools.device) if FEATURES in wanted else None,
        pair=_pair(folder, tools.device) if folder else None,
        window=parse_window(tools.window),
        round_window=AUTO if folder is None else round_window(folder),
    )


@lru_cache(maxsize=1)
def _encoder(device: Device) -> FeatureEncoder:
    return load_feature_encoder(device)


@lru_cache(maxsize=1)
def _pair(folder: Path, device: Device) -> Pair:
    return load_round(folder, device=device).without_views()


def _rows(name: str, models: _Loaded, volume: Volume, planes: Sequence[int]) -> FloatArray:
    """Measure one thing on some slices of an image."""
    window = (models.window if name == FEATURES else models.round_window).on(volume)
    rows = []
    for index in planes:
        place = Plane(0, index)
        pixels = window.apply(volume.plane(place))
        rows.append(_MEASURES[name](models, pixels, window.around(volume, place)))
    return np.stack(rows)


def _features(models: _Loaded, pixels: Pixels, _around: Around | None) -> FloatArray:
    if np.ptp(pixels) == 0 or models.encoder is None:
        return np.zeros(FEATURE_COUNT, np.float32)
    return models.encoder.features(pixels)


def doubts_in(doubts_row: FloatArray | None, shares_row: FloatArray | None) -> dict[int, Doubt]:
    """Return what rows of `DOUBTS` and `DISAGREEMENT` say, by class id; None: nothing measured."""
    pairs = [] if shares_row is None else shares_row.reshape(-1, 2).tolist()
    shares = {int(class_id): share for class_id, share in pairs}
    rows = [] if doubts_row is None else doubts_row.reshape(-1, 3).tolist()
    return {
        int(class_id): Doubt(entropy, dice, shares.get(int(class_id)))
        for class_id, entropy, dice in rows
        if np.isfinite(entropy)
    }


def _doubts(models: _Loaded, pixels: Pixels, around: Around | None) -> FloatArray:
    pair = _of_round(models)
    if "unet" in pair.trained:
        maps = pair.without_views(on_own_grid=True).probabilities(pixels, None, "unet", around)
    else:
        maps = pair.probabilities(pixels, None, "pair", around)
    found = doubts(maps, pair.class_ids)
    rows = [
        (c, found[c].entropy, found[c].dice) if c in found else (c, np.nan, np.nan)
        for c in pair.class_ids
    ]
    return np.array(rows, np.float32).ravel()


def _disagreement(models: _Loaded, pixels: Pixels, around: Around | None) -> FloatArray:
    pair = _of_round(models)
    unet = pair.probabilities(pixels, None, "unet", around)
    sam = pair.probabilities(pixels, None, "sam")
    found = disagreements(unet, sam, pair.class_ids)
    return np.array([(c, found[c]) for c in pair.class_ids], np.float32).ravel()


def _of_round(models: _Loaded) -> Pair:
    if models.pair is None:
        raise ModelError("There is no round to measure with.")
    return models.pair


_MEASURES = {FEATURES: _features, DOUBTS: _doubts, DISAGREEMENT: _disagreement}
