"""Commands between copies of a project: merge and pack."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Group
from rich.markup import escape

from napari_scsam.cli.opening import opened
from napari_scsam.cli.options import Json
from napari_scsam.cli.report import Report, StderrProgress
from napari_scsam.workflows.handover import pack as pack_project
from napari_scsam.workflows.merge_result import Change, Merged
from napari_scsam.workflows.merging import merge as merge_projects

if TYPE_CHECKING:
    from collections.abc import Sequence


def merge(folder: Path, other: Path, /, *, json: Json = False) -> Report:
    """Bring the images and labels of another copy of a project into this one.

    Where both labelled the same slice differently, this project's label stays, the other one is
    kept beside it, and the conflict is listed. Second opinions come along. Rounds are copied, and
    none of them becomes active. What stays in the other project is listed; it is only read.

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
        f"{_count(len(merged.added), 'image')} added; labels of {_slices(merged.taken)} taken.",
        *_kept(merged),
        *(_conflict(change) for change in merged.conflicts),
        *(f"Round {number} was merged; it is not active." for number in merged.rounds),
        *(f"Left in the other project: {what}" for what in merged.left),
        *(f"Not merged: {problem}" for problem in merged.problems),
    ]
    return Group(*map(escape, lines))


def _kept(merged: Merged) -> list[str]:
    found = (
        (merged.opinions, "with a second opinion, which is kept beside the label."),
        (merged.alike, "labelled the same by two people, which counts as agreement."),
        (merged.skipped, "skipped there, and now here."),
    )
    return [f"{_slices(changes)} {what}" for changes, what in found if changes]


def _slices(changes: Sequence[Change]) -> str:
    return _count(sum(len(change.planes) for change in changes), "slice")


def _conflict(change: Change) -> str:
    planes = ", ".join(map(str, change.planes))
    return (
        f"Conflict: {change.name}, slice {planes}: this project's label stays, the other one is "
        f"version {change.version}."
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
