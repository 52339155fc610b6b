"""Merging two copies of a project: what one of them has is brought into the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_scsam.core.errors import InputError, ScsamError
from napari_scsam.core.project_layout import PENDING_FOLDER
from napari_scsam.project.files import hash_file
from napari_scsam.project.tags import note_tags
from napari_scsam.workflows.anonymising import original_hashes
from napari_scsam.workflows.class_mapping import ClassMapping
from napari_scsam.workflows.handover import merge_rounds, round_numbers
from napari_scsam.workflows.merge_result import Merged
from napari_scsam.workflows.merged_checks import MergedChecks, merge_skips
from napari_scsam.workflows.merged_slices import Merging, merge_image
from napari_scsam.workflows.merged_work import MergedWork

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_scsam.project import ImageRecord, Project
    from napari_scsam.project.journal import Event

# Kinds of events that change which label is current.
_LABELLING = ("commit", "revert")


def merge(project: Project, other: Project) -> Merged:
    """Bring images and labels of another project into this one; the other one is only read.

    Images are matched by their content. A slice that only the other project labelled, or changed
    since the two were copies of each other, is taken from it, with its author and what it was made
    of. Where both changed it, this project's label stays, the other one is kept beside it, and the
    conflict is listed. Labels that are the same by two people, and second opinions, are kept beside
    the current label, too. An image gets the tags of both. A second merge finds nothing new. Rounds
    that only the other project has are copied, and none of them becomes active.

    Parameters
    ----------
    project : Project
        Open for writing.
    other : Project

    Raises
    ------
    InputError
        If both are the same folder, or the other project has a class that this one lacks.
    ReadOnlyError
        If the project is open read-only.
    """
    if project.folder.resolve() == other.folder.resolve():
        raise InputError(f"{other.folder} is the same project: name another copy.")
    classes = ClassMapping(project, other)
    merged = Merged()
    ids = _matched_images(project, other, merged)
    merged.rounds, problems = merge_rounds(project, other)
    rounds = round_numbers(project, other)
    work = MergedWork(project, other, classes, rounds)
    checks = MergedChecks(project, other, ids, classes, rounds)
    merging = Merging(project, other, classes, work, checks, merged)
    base = _common_versions(project, other)
    for record in other.images():
        if record.id in ids:
            try:
                merge_image(merging, ids[record.id], record.id, base.get(record.id))
            except ScsamError as exc:
                merged.problems.append(f"{record.name}: {exc}")
    _merge_tags(project, other, ids)
    merged.skipped = merge_skips(project, other, ids)
    merged.problems += [*problems, *_uncommitted(other)]
    merged.left = _left(work.left(ids), *checks.left())
    return merged


def _matched_images(project: Project, other: Project, merged: Merged) -> dict[str, str]:
    """Return this project's id of each image of the other one; missing images are added."""
    by_content = {record.sha256: record.id for record in project.images()}
    originals = original_hashes(other)
    ids = {}
    for record in other.images():
        if originals.get(record.id) in by_content:
            ids[record.id] = by_content[originals[record.id]]
            continue
        if record.sha256 not in by_content:
            try:
                (by_content[record.sha256],) = project.add_images([_file_of(record)])
            except ScsamError as exc:
                merged.problems.append(f"{record.name} was not added: {exc}")
                continue
            merged.added.append(by_content[record.sha256])
        ids[record.id] = by_content[record.sha256]
    return ids


def _merge_tags(project: Project, other: Project, ids: Mapping[str, str]) -> None:
    """Add the other project's tags to those that an image has here."""
    own = {record.id: record.tags for record in project.images()}
    missing = {
        ids[r.id]: [t for t in r.tags if t not in own[ids[r.id]]]
        for r in other.images()
        if r.id in ids
    }
    more = {image: (*own[image], *tags) for image, tags in missing.items() if tags}
    if more:
        note_tags(project, more)


def _file_of(record: ImageRecord) -> Path:
    there = [p for p in record.places if p.is_file() and hash_file(p) == record.sha256]
    if not there:
        raise InputError(f"it is no longer at {record.path}, or has changed.")
    return there[0]


def _common_versions(project: Project, other: Project) -> dict[str, int]:
    """Return the label versions that were current when one project was copied from the other."""
    current: dict[str, int] = {}
    # Without the other events, which differ in an anonymised copy.
    own, others = ([e for e in p.events() if e.kind in _LABELLING] for p in (project, other))
    for mine, theirs in zip(own, others, strict=False):
        if _identity(mine) != _identity(theirs):
            break
        version = mine.payload.get("version")
        if isinstance(version, int):
            current[mine.image or ""] = version
        else:
            current.pop(mine.image or "", None)
    return current


def _identity(event: Event) -> tuple[object, ...]:
    """What tells a commit or its undoing from all others, in every copy of a project."""
    versions = (event.payload.get("version"), event.payload.get("sha256"))
    return (event.kind, event.time, event.image, *versions)


def _uncommitted(other: Project) -> list[str]:
    """Say which work of the other project is not committed."""
    pending = other.folder / PENDING_FOLDER
    count = len(list(pending.glob("*.json"))) if pending.is_dir() else 0
    if not count:
        return []
    return [
        f"{count} image{'' if count == 1 else 's'} of {other.folder} with uncommitted work: "
        "open it and commit, then merge again."
    ]


def _left(commits: int, checks: int, picks: int) -> list[str]:
    """Say what of the other project stays there, since its slices were labelled again or here."""
    found = (
        (commits, "label", "undone, replaced or the same as here, and the time spent on it"),
        (checks, "suggestion", "on random slices whose label was not taken"),
        (picks, "pick", "from the ranked list of slices whose label was not taken"),
    )
    return [f"{n} {noun}{'' if n == 1 else 's'} {why}" for n, noun, why in found if n]
