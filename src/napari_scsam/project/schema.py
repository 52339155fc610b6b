"""What a project folder holds: `project.toml` and the records that the journal is read as."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import tomli_w

from napari_scsam.core.errors import InputError, ProjectError
from napari_scsam.core.labels import LabelClass, changed_classes, check_classes
from napari_scsam.core.project_layout import PROJECT_FILE
from napari_scsam.core.settings import CACHE_GB, Modality, TrainSettings, check_cache_gb
from napari_scsam.core.windows import AUTO, Window, parse_window
from napari_scsam.io.atomic import write_bytes
from napari_scsam.io.real_files import read_real

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_scsam.core.arrays import Affine
    from napari_scsam.core.judged import Judged

SCHEMA = 1


@dataclass(frozen=True)
class ProjectInfo:
    """What `project.toml` says.

    Attributes
    ----------
    name : str
        For the window's title.
    modality : {'mr', 'ct', 'us', 'rgb', 'other'}
        What kind of pictures these are.
    classes : tuple of LabelClass
        The class table, ids 1..K.
    window : Window
        What the models see of the values; "auto" in projects from before there were any.
    cache_gb : float
        Size that the folder of embeddings is kept under, in GB.
    """

    name: str
    modality: Modality
    classes: tuple[LabelClass, ...]
    window: Window = AUTO
    cache_gb: float = CACHE_GB


@dataclass(frozen=True)
class ImageRecord:
    """An image of the project, referenced in place.

    Attributes
    ----------
    id : str
        Opaque: 8 or more hexadecimal digits.
    name : str
        File name without suffix, for display.
    path : Path
        Where it is now, or was last seen.
    case : str
        The unit of splitting; the image's id unless the person said otherwise.
    shape : tuple of int
        (rows, cols) or (slices, rows, cols).
    rgb : bool
        Whether it is in colour.
    spacing : tuple of float
        Along each axis of `shape`, in mm (pixels where not `spacing_known`).
    spacing_known : bool
        Whether the file named its spacing.
    sha256 : str
        Of the file's bytes.
    affine : ndarray of shape (4, 4), float64
        Maps the reversed index (col, row, slice, 1) to RAS millimetres.
    header : mapping
        Facts of the source format that an export keeps.
    places : tuple of Path
        Everywhere that it may be.
    """

    id: str
    name: str
    path: Path
    case: str
    shape: tuple[int, ...]
    rgb: bool
    spacing: tuple[float, ...]
    spacing_known: bool
    sha256: str
    affine: Affine = field(default_factory=lambda: np.eye(4), compare=False, repr=False)
    header: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    places: tuple[Path, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True)
class CommitRecord:
    """One label map that a person committed.

    Attributes
    ----------
    id : int
        Number of its event in the journal.
    image : str
        The image's id.
    version : int
        1 for the image's first; its file is write-once.
    plane : int or None
        The slice that was committed; None for the whole grid.
    planes : tuple of int
        Every slice most of which is annotated since then.
    sha256 : str
        Of the label file's bytes.
    time : str
        UTC, ISO 8601.
    path : Path
        The label file.
    judged : Judged
        The classes that were judged on each slice since then; the others are unknown there.
    """

    id: int
    image: str
    version: int
    plane: int | None
    planes: tuple[int, ...]
    sha256: str
    time: str
    path: Path
    judged: Judged


@dataclass(frozen=True)
class RoundRecord:
    """One finished co-training round.

    Attributes
    ----------
    number : int
        From 1.
    folder : Path
        ``rounds/NNNN``.
    metrics : dict
        The round's ``metrics.json``; empty when its folder is damaged.
    active : bool
        Whether its models make the suggestions now.
    reason : str
        Why it was promoted or not, for the person.
    pruned : bool
        Whether its weights were removed; it can't answer any more.
    """

    number: int
    folder: Path
    metrics: dict[str, Any] = field(compare=False)
    active: bool
    reason: str
    pruned: bool = False


@dataclass(frozen=True)
class InterruptedRound:
    """A round whose process was killed, and that can be gone on with.

    Attributes
    ----------
    number : int
    folder : Path
        ``rounds/NNNN.partial``.
    step : int
        Where it would go on.
    settings : TrainSettings
        With them, and the labels that it began with, it goes on.
    held_out : tuple of str
        Images that the person held out.
    """

    number: int
    folder: Path
    step: int
    settings: TrainSettings
    held_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class TunedRecord:
    """One finished tuning of SAM's decoder on what was committed.

    Attributes
    ----------
    number : int
        From 1.
    folder : Path
        ``tuned/NNNN``.
    report : dict
        Its ``report.json``.
    kept : bool
        Whether clicks may be answered by it: held-out ones were not worse.
    reason : str
        Why, for the person.
    commits : int
        How many commits there were when it began.
    after_round : int
        The last round that had finished when it began; 0 before the first.
    """

    number: int
    folder: Path
    report: dict[str, Any] = field(compare=False)
    kept: bool
    reason: str
    commits: int
    after_round: int


def changed_info(
    info: ProjectInfo,
    window: Window | None,
    cache_gb: float | None,
    classes: Sequence[LabelClass] | None,
) -> ProjectInfo:
    """Return `info` with other settings; those that are None stay as they are.

    Parameters
    ----------
    info : ProjectInfo
    window : Window, optional
    cache_gb : float, optional
    classes : sequence of LabelClass, optional
        The whole table. Names and colours may change, and classes be added, but none removed.

    Raises
    ------
    InputError
        If one of them can't be used.
    """
    return replace(
        info,
        window=window or info.window,
        cache_gb=info.cache_gb if cache_gb is None else check_cache_gb(cache_gb),
        classes=changed_classes(info.classes, classes),
    )


def write_info(folder: Path, info: ProjectInfo) -> None:
    """Write `project.toml` atomically."""
    table = {
        "schema": SCHEMA,
        "name": info.name,
        "modality": info.modality,
        "window": info.window.name,
        "cache_gb": info.cache_gb,
        "classes": [{"id": c.id, "name": c.name, "colour": c.colour} for c in info.classes],
    }
    write_bytes(folder / PROJECT_FILE, tomli_w.dumps(table).encode())


def read_info(folder: Path) -> ProjectInfo:
    """Read `project.toml`.

    Raises
    ------
    ProjectError
        If `folder` is no project, a newer version's, or the file is damaged.
    """
    path = folder / PROJECT_FILE
    if not path.is_file():
        raise ProjectError(
            f"{folder} is not a project: it has no {PROJECT_FILE}. "
            "Name a project folder, or make a new one."
        )
    try:
        table = tomllib.loads(read_real(path).decode())
        schema = int(table["schema"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as exc:
        raise ProjectError(f"{path} is damaged and can't be read: {exc}.") from exc
    refuse_newer(schema, path)
    try:
        classes = tuple(
            LabelClass(int(c["id"]), str(c["name"]), str(c["colour"])) for c in table["classes"]
        )
        check_classes(classes)
        return ProjectInfo(
            str(table["name"]),
            as_modality(table["modality"]),
            classes,
            parse_window(str(table.get("window", AUTO.name))),
            check_cache_gb(table.get("cache_gb", CACHE_GB)),
        )
    except (ValueError, KeyError, TypeError) as exc:
        raise ProjectError(f"{path} is damaged: its {exc} can't be read.") from exc


def refuse_newer(schema: int, path: Path) -> None:
    """Raise ProjectError when a file's schema is newer than this program's."""
    if schema > SCHEMA:
        raise ProjectError(
            f"{path} was written by a newer napari-scsam (schema {schema}; this one reads up "
            f"to {SCHEMA}). Update with: pip install -U napari-scsam"
        )


def as_modality(value: str) -> Modality:
    """Check a modality's name; InputError when there is no such one."""
    for choice in get_args(Modality):
        if value == choice:
            return choice  # type: ignore[no-any-return]  # get_args is untyped
    raise InputError(f"The modality is one of {', '.join(get_args(Modality))}; got {value!r}.")
