"""Committed labels as files for the next tool."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from napari_scsam.core.errors import InputError, ProjectError
from napari_scsam.core.labels import NOT_ANNOTATED
from napari_scsam.core.settings import ExportFormat
from napari_scsam.io import SUFFIXES, check_outputs, label_files, write_labels
from napari_scsam.project.schema import ImageRecord

if TYPE_CHECKING:
    from napari_scsam.project.store import Project


def export_labels(
    project: Project,
    out_dir: str | Path,
    format: ExportFormat,
    *,
    fill_unannotated: int | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write the label that counts now of every image that has one.

    Parameters
    ----------
    project : Project
        May be open read-only; the images' own files are not needed.
    out_dir : path
        Made where it does not exist.
    format : {'nifti', 'tiff', 'png'}
        One file for each image, ``<image name>.<suffix>``; as PNG a volume becomes a
        folder of slices. Names given twice get the image's id added.
    fill_unannotated : int, optional
        What to write where nobody annotated, such as 0; left out, it stays 255.
    overwrite : bool
        Replace files there that carry the same names; never an image of the project.

    Returns
    -------
    list of Path
        What was written, each read back and found the same.

    Raises
    ------
    InputError
        If the format is not known, the fill is no class of the project, or an image of the
        project stands where something would be written.
    FileThereError
        If another file stands there, and `overwrite` is not set.
    ProjectError
        If nothing is committed, a label is damaged (nothing is written then), or the
        disk is full.
    """
    if format not in SUFFIXES:
        raise InputError(f"The format is one of {', '.join(SUFFIXES)}; got {format!r}.")
    allowed = [0, *(c.id for c in project.classes)]
    if fill_unannotated is not None and fill_unannotated not in allowed:
        raise InputError(f"The fill is one of {allowed}, got {fill_unannotated}.")
    labelled = project.labelled()
    records = [record for record in project.images() if record.id in labelled]
    if not records:
        raise ProjectError("Nothing is committed yet, so there is nothing to export.")
    for record in records:
        project.label(record.id)
    targets = _targets(records, Path(out_dir), format)
    files = [label_files(t, r.shape, format) for t, r in zip(targets, records, strict=True)]
    check_outputs([*chain(*files)], image_places(project.images()), overwrite=overwrite)
    written: list[Path] = []
    for record, target in zip(records, targets, strict=True):
        label = project.label(record.id)
        if label is None:  # another program took it back meanwhile
            continue
        if fill_unannotated is not None:
            label[label == NOT_ANNOTATED] = fill_unannotated
        written += write_labels(target, label, record, format)
    return written


def image_places(records: Iterable[ImageRecord]) -> list[Path]:
    """Everywhere that images of a project are, or were last seen."""
    return [place for record in records for place in (record.path, *record.places)]


def _targets(records: list[ImageRecord], out: Path, format: ExportFormat) -> list[Path]:
    # Compared as Windows and macOS do, where upper case makes no other name.
    names = [record.name.casefold() for record in records]
    return [
        out / f"{r.name if names.count(r.name.casefold()) == 1 else f'{r.name}-{r.id}'}"
        f"{SUFFIXES[format]}"
        for r in records
    ]
