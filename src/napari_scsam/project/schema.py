"""`project.toml`, and the records that the journal's events are parsed into."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import tomli_w

from napari_scsam.core.errors import INVALID, InputError, ProjectError
from napari_scsam.core.labels import LabelClass, changed_classes, check_classes
from napari_scsam.core.project_layout import PROJECT_FILE
from napari_scsam.core.settings import CACHE_GB, Modality, TrainSettings, check_cache_gb
from napari_scsam.core.windows import AUTO, Window, parse_window
from napari_scsam.io.atomic import write_bytes
from napari_scsam.io.real_files import read_real, without_links_above

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_scsam.core.arrays import Affine
    from napari_scsam.core.judged import Judged
    from napari_scsam.io.label_parts import LabelPart

# Version of the project folder's format.
SCHEMA = 1
# Largest `project.toml` (arbitrary; 254 classes take some 20 kB).
MAX_TOML_BYTES = 16 * 2**20


@dataclass(frozen=True)
class ProjectInfo:
    """The content of `project.toml`.

    Attributes
    ----------
    name : str
        For the window's title.
    modality : {'mr', 'ct', 'us', 'rgb', 'other'}
        The kind of images.
    classes : tuple of LabelClass
        The class table, ids 1..K.
    window : Window
        The intensity window for the models; "auto" in projects of versions without windows.
    cache_gb : float
        The largest size of the embeddings folder, in GB.
    """

    name: str
    modality: Modality
    classes: tuple[LabelClass, ...]
    window: Window = AUTO
    cache_gb: float = CACHE_GB


@dataclass(frozen=True)
class ImageLocation:
    """Where an image may be; resolved only on request, since that takes several system calls.

    Attributes
    ----------
    folder : Path
        The project folder.
    absolute : str
        The path of the image.
    relative : str or None
        The path relative to the project; None on another drive.
    """

    folder: Path
    absolute: str
    relative: str | None

    @property
    def places(self) -> tuple[Path, ...]:
        """The possible paths: the one relative to the project first, as both may move."""
        paths = [Path(self.absolute)]
        if self.relative is not None:
            paths.insert(0, without_links_above(self.folder / self.relative))
        return tuple(dict.fromkeys(paths))


@dataclass(frozen=True)
class ImageRecord:
    """An image of the project, referenced in place.

    Attributes
    ----------
    id : str
        8 or more hexadecimal digits.
    name : str
        File name without suffix, for display.
    location : ImageLocation
        Where it may be.
    case : str
        The unit for splits into training and validation; the image's ID by default.
    shape : tuple of int
        (rows, cols) or (slices, rows, cols).
    rgb : bool
        Whether it is in colour.
    spacing : tuple of float
        Along each axis of `shape`, in mm (pixels where not `spacing_known`).
    spacing_known : bool
        Whether the file has a spacing.
    sha256 : str
        Of the file's bytes.
    affine : ndarray of shape (4, 4), float64
        Maps the reversed index (col, row, slice, 1) to RAS millimetres.
    header : mapping
        Header fields of the source format that an export preserves.
    tags : tuple of str
        Such as its site; given by ``napari-scsam tag``.
    """

    id: str
    name: str
    location: ImageLocation
    case: str
    shape: tuple[int, ...]
    rgb: bool
    spacing: tuple[float, ...]
    spacing_known: bool
    sha256: str
    affine: Affine = field(default_factory=lambda: np.eye(4), compare=False, repr=False)
    header: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    tags: tuple[str, ...] = ()

    @property
    def places(self) -> tuple[Path, ...]:
        """All paths where it may be."""
        return self.location.places

    @property
    def has_file(self) -> bool:
        """Whether there is a file at one of the paths."""
        # Resolving the other path takes much longer.
        return Path(self.location.absolute).is_file() or any(p.is_file() for p in self.places)

    @property
    def path(self) -> Path:
        """Where it is now, or was last seen."""
        places = self.places
        return next((path for path in places if path.is_file()), places[-1])


@dataclass(frozen=True)
class CommitRecord:
    """One label map that a person committed.

    Attributes
    ----------
    id : int
        ID of its event in the journal.
    image : str
        The image's id.
    version : int
        1 for the image's first; its file is write-once.
    plane : int or None
        The slice that was committed; None for the whole grid.
    planes : tuple of int
        Every slice that is mostly annotated since then.
    sha256 : str
        Of the label file's bytes.
    time : str
        UTC, ISO 8601.
    path : Path
        The label file.
    judged : Judged
        The classes that are judged on each slice since then; the others are unknown there.
    is_slice : bool
        Whether its file contains only the slice `plane`.
    base : int or None
        The version that the other slices of such a commit are of; None if there was no label.
    by : str
        Who made it; empty if nobody was named.
    parts : tuple of LabelPart
        All files of the label, only as `Labels.for_training` gives them.
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
    is_slice: bool = False
    base: int | None = None
    by: str = ""
    parts: tuple[LabelPart, ...] = field(default=(), compare=False, repr=False)


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
        Whether its models make the suggestions.
    reason : str
        Why it was promoted or not, for the user.
    pruned : bool
        Whether its weights were removed, so that it can't be used any more.
    """

    number: int
    folder: Path
    metrics: dict[str, Any] = field(compare=False)
    active: bool
    reason: str
    pruned: bool = False


@dataclass(frozen=True)
class InterruptedRound:
    """A round whose process was killed, and that can be resumed.

    Attributes
    ----------
    number : int
    folder : Path
        ``rounds/NNNN.partial``.
    step : int
        The step to resume from.
    settings : TrainSettings
        Its settings; it resumes with them and with the labels that it began with.
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
    """One finished tuning of SAM's decoder on the committed labels.

    Attributes
    ----------
    number : int
        From 1.
    folder : Path
        ``tuned/NNNN``.
    report : dict
        Its ``report.json``.
    kept : bool
        Whether it answers clicks: on held-out objects they were not worse with it. A tuning that
        was refused only suggests, unless an earlier one was kept.
    reason : str
        Why it was kept or not, for the user.
    commits : int
        The number of commits when it began.
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
        If `folder` is no project or of a newer version, or the file is damaged.
    """
    path = folder / PROJECT_FILE
    if not path.is_file():
        raise ProjectError(
            f"{folder} is not a project: it has no {PROJECT_FILE}. "
            "Name a project folder, or make a new one."
        )
    try:
        table = tomllib.loads(read_real(path, MAX_TOML_BYTES).decode())
        schema = int(table["schema"])
    except (OSError, *INVALID) as exc:
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
    except INVALID as exc:
        raise ProjectError(f"{path} is damaged: its {exc} can't be read.") from exc


def refuse_newer(schema: int, path: Path) -> None:
    """Raise ProjectError if a file's schema is newer than this program's."""
    if schema > SCHEMA:
        raise ProjectError(
            f"{path} was written by a newer napari-scsam (schema {schema}; this one reads up "
            f"to {SCHEMA}). Update with: pip install -U napari-scsam"
        )


def as_modality(value: str) -> Modality:
    """Check a modality's name; InputError if there is no such modality."""
    for choice in get_args(Modality):
        if value == choice:
            return choice  # type: ignore[no-any-return]  # get_args is untyped
    raise InputError(f"The modality is one of {', '.join(get_args(Modality))}; got {value!r}.")
