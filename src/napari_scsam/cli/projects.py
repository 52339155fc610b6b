"""Commands on a project folder: new, add, label, rounds, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Group
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from napari_scsam.cli.opening import opened
from napari_scsam.cli.options import (
    Json,
    Many,
    Mapping,
    Overwrite,
    Resample,
    SameGrid,
    parse_mapping,
    split_names,
)
from napari_scsam.cli.report import Report, StderrProgress
from napari_scsam.core.annotator import annotator_name
from napari_scsam.core.jobs import Progress
from napari_scsam.core.settings import ExportFormat, Modality
from napari_scsam.core.windows import parse_window
from napari_scsam.io import Placing
from napari_scsam.project import Project, RoundRecord
from napari_scsam.project.masks import commit_mask
from napari_scsam.project.pruning import Pruned
from napari_scsam.workflows.handover import take_round
from napari_scsam.workflows.projects import creating

# The progress of reading so many images is shown (arbitrary: fewer take less than a second).
_MANY = 100
# How a mask came onto its image's grid, in words.
_HOW = {
    "reoriented": "reoriented onto the image",
    "resampled": "resampled onto the image",
    "same-grid": "taken as it is, whatever its header says",
}


def new(
    folder: Path,
    /,
    *,
    images: Annotated[list[Path] | None, Many] = None,
    classes: Annotated[list[str], Many],
    modality: Modality = "other",
    name: str | None = None,
    json: Json = False,
) -> Report:
    """Create a project and reference its images in place; Ctrl+C or SIGTERM cancels.

    Parameters
    ----------
    folder
        The project folder to create. If an earlier attempt was killed, the same command goes on.
    images
        Image files or folders of images: NIfTI, TIFF, PNG, JPEG.
    classes
        Names of the structures to segment, separated by commas.
    modality
        Imaging modality.
    name
        Name of the project; the folder's name by default.
    """
    given, names = images or [], split_names(classes)
    with creating(folder, names, name=name, modality=modality, take_up=bool(given)) as project:
        ids = _read_and_add(project, given)
    with project:
        data = {
            "project": project.folder,
            "images": ids,
            "classes": {c.name: c.id for c in project.classes},
        }
    text = f"Created {folder} with {_count(len(ids), 'image')}. Open it: napari-scsam {folder}"
    return Report(data, text, json)


def settings(
    folder: Path,
    /,
    *,
    window: str | None = None,
    cache_gb: float | None = None,
    json: Json = False,
) -> Report:
    """Show a project's settings, or change them.

    Parameters
    ----------
    folder
        The project folder.
    window
        Intensity window for the models: auto (each slice by itself), volume, soft-tissue, lung,
        bone, brain, liver, or LEVEL/WIDTH such as 40/400. Finished rounds keep theirs.
    cache_gb
        Maximum size of the embedding cache in GB; 0 disables it.
    """
    with opened(folder, read_only=window is None and cache_gb is None) as project:
        chosen = None if window is None else parse_window(window)
        if chosen is not None or cache_gb is not None:
            project.change(window=chosen, cache_gb=cache_gb)
        data = {
            "modality": project.modality,
            "window": project.window.name,
            "cache_gb": project.cache_gb,
        }
        seen = project.window.title
    text = f"Window: {seen}. Embeddings are kept in up to {data['cache_gb']:g} GB."
    return Report(data, text, json)


def add(folder: Path, paths: Annotated[list[Path], Many], /, *, json: Json = False) -> Report:
    """Add images to a project.

    Parameters
    ----------
    folder
        The project folder.
    paths
        Image files or folders of images.
    """
    with opened(folder) as project:
        ids = _read_and_add(project, paths)
        total = len(project.images())
    text = f"{_count(len(ids), 'image')} given; the project now has {total}."
    return Report({"project": folder, "images": ids, "total": total}, text, json)


def label(
    folder: Path,
    /,
    *,
    image: str,
    mask: Path,
    map_: Mapping = None,
    resample: Resample = False,
    same_grid: SameGrid = False,
    annotator: str | None = None,
    json: Json = False,
) -> Report:
    """Commit an existing mask as the label of an image.

    A mask that is stored flipped or with its axes in another order is reoriented onto the image;
    one that lies elsewhere is refused.

    Parameters
    ----------
    folder
        The project folder.
    image
        ID, name or path of an image of the project.
    mask
        NIfTI, TIFF or PNG; 0 background, class ids, 255 not annotated.
    annotator
        Who made the mask; by default NAPARI_SCSAM_ANNOTATOR, or the login name.
    """
    placing = Placing(resample, same_grid)
    with opened(folder) as project:
        project.sign(annotator_name(annotator))
        record = project.image(image)
        commit, how = commit_mask(
            project, record.id, mask, mapping=parse_mapping(map_), placing=placing
        )
        planes = len(project.committed_planes(record.id))
    data = {"image": record.id, "version": commit.version, "planes": planes, "grid": how}
    done = "" if how == "same" else f" The mask was {_HOW[how]}."
    text = f"Saved. {record.name}: {_count(planes, 'annotated slice')}.{done}"
    return Report(data, text, json)


def rounds(
    folder: Path,
    /,
    *,
    promote: int | None = None,
    rollback: Annotated[bool, Parameter(negative="")] = False,
    prune: int | None = None,
    take: Path | None = None,
    json: Json = False,
) -> Report:
    """List the rounds; make one active, return to the previous one, or remove old weights.

    Parameters
    ----------
    folder
        The project folder.
    promote
        Number of the round to make active.
    rollback
        Return to the previously active round.
    prune
        Keep the weights of this number of newest rounds and remove all others, except those of the
        active round and its parent. Metrics are kept.
    take
        Folder of a round that was trained in a copy of this project, such as COPY/rounds/0002. It
        is checked by its hashes, and becomes active if it was compared with the round that is
        active here and is better.
    """
    only_lists = promote is None and not rollback and prune is None and take is None
    lines: list[str] = []
    with opened(folder, read_only=only_lists) as project:
        if take is not None:
            lines.append(escape(take_round(project, take).reason))
        if promote is not None:
            project.promote(promote)
        if rollback:
            project.rollback()
        removed = None if prune is None else project.prune_rounds(prune)
        records = project.rounds()
        sizes = {r.number: project.round_bytes(r.number) for r in records}
    data: dict[str, Any] = {"rounds": [round_data(r) | {"bytes": sizes[r.number]} for r in records]}
    table = _round_table(records, sizes)
    if removed is not None:
        data["pruned"] = {"rounds": removed.numbers, "bytes": removed.size}
        lines.append(_pruned_line(removed))
    return Report(data, Group(*lines, table), json)


def export(
    folder: Path,
    /,
    *,
    format: ExportFormat,
    out: Path,
    overwrite: Overwrite = False,
    json: Json = False,
) -> Report:
    """Write the committed labels as files for other tools.

    Parameters
    ----------
    folder
        The project folder.
    format
        nifti keeps the source's affine; tiff has its spacing; png is one file per slice.
    out
        Folder to write to.
    """
    from napari_scsam.project.export import export_labels

    with opened(folder, read_only=True) as project:
        paths = export_labels(project, out, format, overwrite=overwrite, say=StderrProgress().say)
    return Report({"exports": paths}, "\n".join(f"Wrote {p}" for p in paths), json)


def round_data(record: RoundRecord) -> dict[str, object]:
    """Return a round as shown in JSON."""
    return {
        "number": record.number,
        "active": record.active,
        "reason": record.reason,
        "pruned": record.pruned,
        "folder": record.folder,
        "metrics": record.metrics,
    }


def _read_and_add(project: Project, paths: list[Path]) -> list[str]:
    """Add images; the progress of many is shown."""
    with StderrProgress() as show:

        def progress(done: int, total: int) -> None:
            if total >= _MANY:
                show(Progress(done / total, f"Reading {total} images"))

        return project.add_images(paths, progress=progress)


def _pruned_line(removed: Pruned) -> str:
    """Return a line about pruned weights."""
    if not removed.numbers:
        return "Nothing was pruned: no other round has weights that are not needed."
    numbers = ", ".join(map(str, removed.numbers))
    rounds = "round" if len(removed.numbers) == 1 else "rounds"
    return f"Removed the weights of {rounds} {numbers}: {decimal(removed.size)} are free now."


def _round_table(records: list[RoundRecord], sizes: dict[int, int]) -> Table | str:
    if not records:
        return "No round yet. Commit a few slices, then: napari-scsam train FOLDER"
    table = Table("round", "active", "U-Net", "SAM", "prompted", "pair", "size", "why")
    for record in records:
        dice = record.metrics.get("dice") or {}
        cells = [_mean(dice, which) for which in ("unet", "sam", "prompted", "pair")]
        size = "pruned" if record.pruned else decimal(sizes[record.number])
        mark = "●" if record.active else ""
        table.add_row(str(record.number), mark, *cells, size, escape(record.reason))
    return table


def _mean(dice: dict[str, dict[str, float]], which: str) -> str:
    value = dice.get(which, {}).get("mean")
    return "-" if value is None else f"{value:.3f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
