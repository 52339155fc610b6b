"""Committed labels as files for the next tool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_scsam.core.errors import InputError, ProjectError
from napari_scsam.core.labels import NOT_ANNOTATED
from napari_scsam.io import SUFFIXES, write_labels

if TYPE_CHECKING:
    from napari_scsam.core.settings import ExportFormat
    from napari_scsam.project.schema import ImageRecord
    from napari_scsam.project.store import Project


def export_labels(
    project: Project,
    out_dir: str | Path,
    format: ExportFormat,
    *,
    fill_unannotated: int | None = None,
) -> list[Path]:
    """Write the label that counts now of every image that has one.

    Parameters
    ----------
    project : Project
        May be open read-only; the images' own files are not needed.
    out_dir : path
        Made where it does not exist. Files there that carry the same names are
        replaced; nothing else is touched.
    format : {'nifti', 'tiff', 'png'}
        One file for each image, ``<image name>.<suffix>``; as PNG a volume becomes a
        folder of slices. Names given twice get the image's id added.
    fill_unannotated : int, optional
        What to write where nobody annotated, such as 0; left out, it stays 255.

    Returns
    -------
    list of Path
        What was written, each read back and found the same.

    Raises
    ------
    InputError
        If the format is not known, or the fill is no class of the project.
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
    written: list[Path] = []
    for record, target in zip(records, _targets(records, Path(out_dir), format), strict=True):
        label = project.label(record.id)
        if label is None:  # another program took it back meanwhile
            continue
        if fill_unannotated is not None:
            label[label == NOT_ANNOTATED] = fill_unannotated
        written += write_labels(target, label, record, format)
    return written


def _targets(records: list[ImageRecord], out: Path, format: ExportFormat) -> list[Path]:
    # Compared as Windows and macOS do, where upper case makes no other name.
    names = [record.name.casefold() for record in records]
    return [
        out / f"{r.name if names.count(r.name.casefold()) == 1 else f'{r.name}-{r.id}'}"
        f"{SUFFIXES[format]}"
        for r in records
    ]
