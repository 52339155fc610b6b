"""Export of the committed labels as image files."""

from __future__ import annotations

import os
import re
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.core.errors import InputError, ProjectError
from napari_scsam.core.labels import NOT_ANNOTATED
from napari_scsam.io import SUFFIXES, check_outputs, label_files, write_labels
from napari_scsam.io.atomic import NAME_MAX, fitting_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.settings import ExportFormat
    from napari_scsam.project.schema import ImageRecord
    from napari_scsam.project.store import Project

# Characters that file names can't have, on this system or on others.
_FORBIDDEN = re.compile(r"[\\\x00-\x1f]" if os.name != "nt" else r'[\\<>:"|?*\x00-\x1f]')


def export_labels(
    project: Project,
    out_dir: str | Path,
    format: ExportFormat,
    *,
    fill_unannotated: int | None = None,
    overwrite: bool = False,
    say: Callable[[str], object] = lambda _: None,
) -> list[Path]:
    """Write the current label of every image that has one.

    Parameters
    ----------
    project : Project
        May be open read-only; the images' own files are not needed.
    out_dir : path
        Created if it does not exist.
    format : {'nifti', 'tiff', 'png'}
        One file for each image, ``<image name>.<suffix>``; as PNG a volume becomes a
        folder of slices. The image's ID is added to a name that is used twice or is too long.
    fill_unannotated : int, optional
        The value to write for pixels that are not annotated, such as 0; 255 by default.
    overwrite : bool
        Replace existing files of the same names; an image of the project is never replaced.
    say : callable
        Called with a message if there are pixels of a class that is no longer in the class
        table. They are written as 255, not annotated.

    Returns
    -------
    list of Path
        The files that were written. Each was read back and compared.

    Raises
    ------
    InputError
        If the format is unknown, the fill value is no class of the project, or a file to
        write is an image of the project.
    FileThereError
        If another file exists there, and `overwrite` is not set.
    ProjectError
        If nothing is committed, a label is damaged (nothing is written then), or the
        disk is full.
    """
    allowed = [0, *(c.id for c in project.classes)]
    _check_choices(format, fill_unannotated, allowed)
    records, removed = _labelled(project, allowed)
    targets = _targets(records, Path(out_dir), format)
    files = [label_files(t, r.shape, format) for t, r in zip(targets, records, strict=True)]
    check_outputs([*chain(*files)], image_places(project.images()), overwrite=overwrite)
    if removed:
        say(_of_no_class(removed))
    written: list[Path] = []
    for record, target in zip(records, targets, strict=True):
        label = project.label(record.id)
        if label is not None:  # otherwise another program reverted it in the meantime
            _fill(label, allowed, fill_unannotated)
            written += write_labels(target, label, record, format)
    return written


def _check_choices(format: str, fill: int | None, allowed: Sequence[int]) -> None:
    if format not in SUFFIXES:
        raise InputError(f"The format is one of {', '.join(SUFFIXES)}; got {format!r}.")
    if fill is not None and fill not in allowed:
        raise InputError(f"The fill is one of {allowed}, got {fill}.")


def _fill(label: LabelArray, allowed: Sequence[int], fill: int | None) -> None:
    """Set pixels of classes that do not exist, in place, and then those not annotated."""
    label[~np.isin(label, allowed)] = NOT_ANNOTATED
    if fill is not None:
        label[label == NOT_ANNOTATED] = fill


def _labelled(project: Project, allowed: Sequence[int]) -> tuple[list[ImageRecord], set[int]]:
    """Images with a valid label, and the label values that no class has."""
    versions = project.labelled()
    records = [record for record in project.images() if record.id in versions]
    if not records:
        raise ProjectError("Nothing is committed yet, so there is nothing to export.")
    unknown: set[int] = set()
    for record in records:
        label = project.label(record.id)
        if label is not None and label.shape != record.shape:
            raise ProjectError(
                f"The label of {record.name} ({record.id}) has shape {label.shape}, but its image "
                f"{record.shape}: nothing was exported. Commit it anew."
            )
        unknown |= set() if label is None else set(np.unique(label).tolist())
    return records, unknown - {NOT_ANNOTATED, *allowed}


def _of_no_class(values: Iterable[int]) -> str:
    named = ", ".join(map(str, sorted(values)))
    return (
        f"Committed pixels of {named} are exported as {NOT_ANNOTATED} (not annotated), since the "
        "class table in project.toml has no such class any more."
    )


def image_places(records: Iterable[ImageRecord]) -> list[Path]:
    """Every path where images of a project are, or were last seen."""
    return [place for record in records for place in (record.path, *record.places)]


def _targets(records: Sequence[ImageRecord], out: Path, format: ExportFormat) -> list[Path]:
    # Without regard to case, as on Windows and macOS.
    count = Counter(record.name.casefold() for record in records)
    return [out / _file_name(r, SUFFIXES[format], count[r.name.casefold()] > 1) for r in records]


def _file_name(record: ImageRecord, suffix: str, twice: bool) -> str:
    name = _FORBIDDEN.sub("_", record.name)
    end = f"-{record.id}{suffix}" if twice else suffix
    if twice and len(os.fsencode(name + end)) > NAME_MAX:
        end = suffix
    return fitting_name(name, end, record.id)
