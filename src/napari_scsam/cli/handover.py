"""Commands between copies of a project: merge and pack."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Group
from rich.markup import escape

from napari_scsam.cli.opening import opened
from napari_scsam.cli.options import Json
from napari_scsam.cli.report import Report, StderrProgress
from napari_scsam.workflows.handover import pack as pack_project
from napari_scsam.workflows.merging import Change, Merged
from napari_scsam.workflows.merging import merge as merge_projects


def merge(folder: Path, other: Path, /, *, json: Json = False) -> Report:
    """Bring the images and labels of another copy of a project into this one.

    Where both labelled the same slice differently, this project's label stays, the other one is
    kept as an earlier version, and the conflict is listed. Rounds are copied, and none of them
    becomes active. The other project is only read.

    Parameters
    ----------
    folder
        The project folder that is changed.
    other
        The other project folder.
    """
    with opened(folder) as project, opened(other, read_only=True) as source:
        merged = merge_projects(project, source)
    return Report(asdict(merged), _text(merged), json)


def pack(
    folder: Path,
    /,
    *,
    out: Path,
    images: Annotated[bool, Parameter(negative="")] = False,
    anonymise: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> Report:
    """Copy a project to a new folder, to train or label on another machine.

    Labels come back by merge, and a round by rounds --take. Unless --anonymise is given, the
    journal in the copy has the names and paths of the images.

    Parameters
    ----------
    folder
        The project folder.
    out
        New folder for the copy.
    images
        Copy the images, too; otherwise the copy refers to them by path.
    anonymise
        With --images: leave out names, paths, cases, rounds, and the texts in the headers of the
        images. Pixels are not changed: what is left in is listed.
    """
    with opened(folder, read_only=True) as project, StderrProgress() as progress:
        packed = pack_project(
            project, out, with_images=images, anonymise=anonymise, progress=progress
        )
    lines = [f"Packed {folder} into {packed.folder}, with {_count(packed.images, 'image')}."]
    lines += [f"Not there, or changed: {name}" for name in packed.missing]
    lines += [f"Left in: {what}" for what in packed.left_in]
    return Report(asdict(packed), Group(*map(escape, lines)), json)


def _text(merged: Merged) -> Group:
    lines = [
        f"{_count(len(merged.added), 'image')} added; labels of "
        f"{_count(sum(len(c.planes) for c in merged.taken), 'slice')} taken.",
        *(_conflict(change) for change in merged.conflicts),
        *(f"Round {number} was merged; it is not active." for number in merged.rounds),
        *(f"Not merged: {problem}" for problem in merged.problems),
    ]
    return Group(*map(escape, lines))


def _conflict(change: Change) -> str:
    planes = ", ".join(map(str, change.planes))
    return (
        f"Conflict: {change.name}, slice {planes}: this project's label stays, the other one is "
        f"version {change.version}."
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
