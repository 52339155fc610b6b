"""Prediction of image files with a round's models, in this process or in several."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from napari_scsam.core.errors import InputError, ProjectError
from napari_scsam.core.jobs import CancelToken, Progress, ProgressFn, ignore_progress
from napari_scsam.core.project_layout import PROJECT_FILE
from napari_scsam.core.round_contract import MANIFEST_FILE
from napari_scsam.core.settings import Device, ExportFormat, PredictWith
from napari_scsam.core.threads import TUNING, step_back
from napari_scsam.io import (
    SUFFIXES,
    check_outputs,
    label_files,
    read_volume,
    stem,
    write_labels,
)
from napari_scsam.io.atomic import fitting_name
from napari_scsam.models import EmbeddingCache, RoundModels, load_round, open_cache
from napari_scsam.project.export import image_places
from napari_scsam.project.files import hash_file
from napari_scsam.project.rounds import round_window
from napari_scsam.workflows.prediction import active_folder, cache_folder, opened, predict_volume
from napari_scsam.workflows.workers import Pool, Workers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_scsam.core.windows import Window
    from napari_scsam.project import Project

# From so many images on, the progress of reading them is shown (arbitrary).
_MANY = 100


@dataclass(frozen=True)
class PredictOptions:
    """How images are predicted.

    Attributes
    ----------
    format : {'nifti', 'tiff', 'png'}
        nifti keeps the source's affine; tiff has its spacing; png is one file per slice.
    with_ : {'unet', 'sam', 'pair'}
        The U-Net alone, SAM alone, or the two together.
    device : {'auto', 'cpu', 'cuda', 'mps'}
        Where to run the models.
    workers : int
        Processes on this machine, each with one thread.
    dask : str, optional
        Address of a running dask scheduler, such as tcp://10.0.0.1:8786. Its workers must see the
        round, the images and the output folder under the same paths.
    """

    format: ExportFormat = "nifti"
    with_: PredictWith = "pair"
    device: Device = "auto"
    workers: int = 1
    dask: str | None = None


@dataclass(frozen=True)
class _Tools:
    """What images are predicted with; plain values that another process can be given."""

    round_folder: Path
    options: PredictOptions
    cache: tuple[Path, float] | None


@dataclass(frozen=True)
class _Scan:
    """An image to predict.

    Attributes
    ----------
    path : Path
    sha256 : str or None
        Of an image of the project; None for other files.
    target : Path
        The file to write, or for a volume as PNG its folder with ``.png``.
    """

    path: Path
    sha256: str | None
    target: Path = Path()


@dataclass(frozen=True)
class _Predicted:
    """Files that were written for an image, or why none was."""

    target: Path
    files: tuple[Path, ...] = ()
    problem: str = ""


def predict_files(
    source: Path,
    images: Sequence[str],
    out: Path,
    options: PredictOptions,
    *,
    overwrite: bool = False,
    progress: ProgressFn = ignore_progress,
    cancel: CancelToken | None = None,
) -> list[Path]:
    """Label image files and write each as ``out/<stem>.<ext>``.

    Each file is written as soon as it is predicted. An image whose worker dies is given to another
    worker.

    Parameters
    ----------
    source : Path
        A project folder (with an active round) or the folder of a round.
    images : sequence of str
        Files, or IDs of images of the project.
    out : Path
    options : PredictOptions
    overwrite : bool
        Replace existing files, but never an image.
    progress : callable
    cancel : CancelToken, optional
        Checked after each image, and after each slice if there is one process.

    Raises
    ------
    InputError, ProjectError, ModelError
        Before any prediction: an unreadable or changed file, two files with the same stem, no
        round, or a file that is in the way.
    ProjectError
        After the others were written: images on which one worker after the other died.
    Cancelled
        If `cancel` was called; what was written stays.
    """
    cancel, workers = cancel or CancelToken(), Workers(options.workers, options.dask)
    tools, scans, kept = _resolve(source, images, options)
    scans = _with_targets(scans, out, options.format)
    files = _files_of(scans, options.format, progress)
    check_outputs(files, [*(scan.path for scan in scans), *kept], overwrite=overwrite)
    here = workers == Workers()
    function = partial(_predict, tools=tools, cancel=cancel if here else None)
    found: dict[Path, _Predicted] = {}
    with Pool(workers) as pool:
        todo = pool.results(function, scans, cancel, _lost)
        progress(Progress(0.0, _predicting(len(scans))))
        for done in todo:
            found[done.target] = done
            progress(Progress(len(found) / len(scans), _predicting(len(scans))))
    _refuse_lost(found.values())
    return [path for scan in scans for path in found[scan.target].files]


def _predict(scan: _Scan, tools: _Tools, cancel: CancelToken | None) -> _Predicted:
    models, window, cache = _loaded(tools)
    if scan.sha256 is not None and hash_file(scan.path) != scan.sha256:
        raise InputError(f"{scan.path} has changed since it was added to the project.")
    volume, options = read_volume(scan.path), tools.options
    label = predict_volume(models, volume, options.with_, window=window, cache=cache, cancel=cancel)
    written = write_labels(scan.target, label, volume, options.format)
    return _Predicted(scan.target, tuple(written))


@lru_cache(maxsize=1)
def _loaded(tools: _Tools) -> tuple[RoundModels, Window, EmbeddingCache | None]:
    """Load what is needed once for all images that this process predicts."""
    if multiprocessing.parent_process() is not None:
        step_back(TUNING)  # a worker: whoever works at this machine goes first
    models = load_round(tools.round_folder, device=tools.options.device)
    cache = None if tools.cache is None else open_cache(tools.cache[0], max_gb=tools.cache[1])
    return models, round_window(tools.round_folder), cache


def _lost(scan: _Scan) -> _Predicted:
    return _Predicted(scan.target, problem=str(scan.path))


def _refuse_lost(found: Iterable[_Predicted]) -> None:
    lost = [one.problem for one in found if one.problem]
    if lost:
        raise ProjectError(
            f"The worker processes that predicted {', '.join(lost)} died (is memory short?). The "
            "other images were predicted."
        )


def _predicting(count: int) -> str:
    return f"Predicting {count} image{'' if count == 1 else 's'}"


def _resolve(
    source: Path, images: Sequence[str], options: PredictOptions
) -> tuple[_Tools, list[_Scan], list[Path]]:
    """The models, the images, and what else is never written over."""
    if (source / MANIFEST_FILE).is_file():
        scans = [_Scan(Path(image), None) for image in images]
        return _Tools(source.absolute(), options, None), scans, _images_beside(source)
    with opened(source) as project:
        records = project.images()
        cache = (cache_folder(project), project.cache_gb)
        tools = _Tools(active_folder(project), options, cache)
        return tools, [_scan(project, image) for image in images], image_places(records)


def _scan(project: Project, image: str) -> _Scan:
    """An image of the project by its ID, whose file must be the one that was added, or a file."""
    known = {record.id: record for record in project.images()}
    if image in known:
        return _Scan(project.image_file(image), known[image].sha256)
    return _Scan(Path(image).absolute(), None)


def _images_beside(round_folder: Path) -> list[Path]:
    """Images of the project that a round lies in; none where it lies in no project."""
    folder = round_folder.resolve().parent.parent
    if not (folder / PROJECT_FILE).is_file():
        return []
    with opened(folder) as project:
        return image_places(project.images())


def _with_targets(scans: Sequence[_Scan], out: Path, format: ExportFormat) -> list[_Scan]:
    names = [stem(scan.path) for scan in scans]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InputError(
            f"Two images have the same name {twice[0]!r} and would overwrite each other in {out}. "
            "Predict them into different folders."
        )
    suffix = SUFFIXES[format]
    tags = (sha256(os.fsencode(name)).hexdigest()[:8] for name in names)
    targets = [
        out.absolute() / fitting_name(n, suffix, t) for n, t in zip(names, tags, strict=True)
    ]
    return [replace(scan, target=target) for scan, target in zip(scans, targets, strict=True)]


def _files_of(scans: Sequence[_Scan], format: ExportFormat, progress: ProgressFn) -> list[Path]:
    """The files that will be written; each image is read, so that none fails later."""
    found = []
    for number, scan in enumerate(scans, start=1):
        found.append(label_files(scan.target, read_volume(scan.path).shape, format))
        if len(scans) >= _MANY:
            progress(Progress(number / len(scans), f"Reading {len(scans)} images"))
    return list(chain(*found))
