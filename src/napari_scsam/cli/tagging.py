"""The command tag."""

from __future__ import annotations

from pathlib import Path

from napari_scsam.cli.opening import opened
from napari_scsam.cli.options import Json
from napari_scsam.cli.report import Report
from napari_scsam.workflows.tagging import tag_images


def tag(folder: Path, table: Path, /, *, json: Json = False) -> Report:
    """Give images tags, such as their site or scanner; the list and the report group by them.

    Parameters
    ----------
    folder
        The project folder.
    table
        CSV file with the columns image (name, id or path) and tag. An image may have several rows;
        they replace the tags that it had. An empty tag takes its tags away.
    """
    with opened(folder) as project:
        tags = tag_images(project, table)
    names = sorted({name for given in tags.values() for name in given})
    count = f"{len(tags)} image{'' if len(tags) == 1 else 's'}"
    said = ", ".join(names) or "none"
    return Report({"images": tags, "tags": names}, f"Tagged {count}: {said}.", json)
