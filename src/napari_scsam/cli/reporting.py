"""The command report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Group
from rich.markup import escape

from napari_scsam.cli.opening import opened
from napari_scsam.cli.options import Json, Overwrite
from napari_scsam.cli.report import Report
from napari_scsam.io import check_outputs
from napari_scsam.project.export import image_places
from napari_scsam.workflows.project_report import ReportBy, collect_report


def report(
    folder: Path,
    /,
    *,
    out: Path | None = None,
    by: ReportBy = "round",
    overwrite: Overwrite = False,
    json: Json = False,
) -> Report:
    """Write what was labelled, what it cost and how good it is as one HTML file.

    It is made from the journal and the labels; the images are not needed.

    Parameters
    ----------
    folder
        The project folder.
    out
        HTML file to write; by default <project folder>-report.html in the current folder, and none
        with --json.
    by
        Group the effort by the round that was active, the size of the structures, the annotator, or
        the tags of the images.
    """
    target = out or (None if json else Path(f"{folder.resolve().name}-report.html"))
    with opened(folder, read_only=True) as project:
        if target is not None:
            check_outputs([target], image_places(project.images()), overwrite=overwrite)
        data = collect_report(project, by)
    if target is not None:
        _write(target, data)
    return Report({**data, "out": target}, _text(data, target), json)


def _write(target: Path, data: dict[str, Any]) -> None:
    from napari_scsam.workflows.report_page import write_page

    write_page(target, data)


def _text(data: dict[str, Any], target: Path | None) -> Group:
    totals = data["totals"]
    lines = [
        f"{totals['labelled_images']} of {totals['images']} images, "
        f"{totals['labelled_slices']} of {totals['slices']} slices are labelled.",
        *filter(None, [data["random_checks"]["text"]]),
        *data["notes"],
        f"Wrote {target}",
    ]
    return Group(*map(escape, lines))
