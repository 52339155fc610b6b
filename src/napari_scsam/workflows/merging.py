"""Merging two copies of a project: what one of them has is brought into the other."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.core.errors import InputError, ScsamError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.labels import NOT_ANNOTATED
from napari_scsam.core.project_layout import PENDING_FOLDER
from napari_scsam.project.files import hash_file
from napari_scsam.project.opinions import CONFLICTS, MERGE
from napari_scsam.project.tags import note_tags
from napari_scsam.workflows.anonymising import original_hashes
from napari_scsam.workflows.handover import merge_rounds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.project import CommitRecord, ImageRecord, Project
    from napari_scsam.project.journal import Event

# Labels come as they are, with 255 for what is not annotated.
AS_IT_IS = {NOT_ANNOTATED: NOT_ANNOTATED}
# Kinds of events that change which label is current.
_LABELLING = ("commit", "revert")


@dataclass(frozen=True)
class Change:
    """What the merge did, or could not decide, on one image.

    Attributes
    ----------
    image, name : str
    planes : tuple of int
        Slices along axis 0.
    version : int or None
        Version that the other project's label was kept as.
    """

    image: str
    name: str
    planes: tuple[int, ...]
    version: int | None = None


@dataclass
class Merged:
    """Result of a merge.

    Attributes
    ----------
    added : list of str
        Images that only the other project had.
    taken : list of Change
        Slices whose label was taken from the other project.
    conflicts : list of Change
        Slices that both projects changed: this project's label stays, and the other one is kept
        as an earlier version.
    problems : list of str
        What could not be merged; it is unchanged in the other project.
    rounds : list of int
        Numbers here of rounds that only the other project had.
    """

    added: list[str] = field(default_factory=list)
    taken: list[Change] = field(default_factory=list)
    conflicts: list[Change] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)


def merge(project: Project, other: Project) -> Merged:
    """Bring images and labels of another project into this one; the other one is only read.

    Images are matched by their content. A slice that only the other project labelled, or changed
    since the two were copies of each other, is taken from it. Where both changed it, this
    project's label stays, the other one is kept as a version, and the conflict is listed. An image
    gets the tags of both. A second merge finds nothing new. Rounds that only the other project has
    are copied, and none of them becomes active.

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
    mapping = _class_mapping(project, other)
    merged = Merged()
    ids = _matched_images(project, other, merged)
    base, labelled = _common_versions(project, other), other.labelled()
    for record in other.images():
        if record.id in ids and record.id in labelled:
            sides = _Sides(project, other, ids[record.id], record.id, mapping, base.get(record.id))
            try:
                _merge_image(sides, merged)
            except ScsamError as exc:
                merged.problems.append(f"{record.name}: {exc}")
    _merge_tags(project, other, ids)
    merged.rounds, problems = merge_rounds(project, other)
    merged.problems += [*problems, *_what_stays(other)]
    return merged


@dataclass(frozen=True)
class _Sides:
    """One image in the two projects, and the version of its label that they had in common."""

    project: Project
    other: Project
    image: str
    other_image: str
    mapping: Mapping[int, int]
    base: int | None

    def labels(self) -> tuple[LabelArray, LabelArray, LabelArray]:
        """Return the label here, the one there in the classes of here, and the common one."""
        shape = self.project.image(self.image).shape
        empty = np.full(shape, NOT_ANNOTATED, np.uint8)
        mine, theirs = self.project.label(self.image), self.other.label(self.other_image)
        base = None if self.base is None else self.project.label(self.image, self.base)
        return (
            empty if mine is None else mine,
            empty if theirs is None else _mapped(theirs, self.mapping),
            empty if base is None else base,
        )

    def their_commit(self) -> CommitRecord:
        """The commit of the other project's label that is current."""
        version = self.other.label_version(self.other_image)
        return next(c for c in self.other.commits(self.other_image) if c.version == version)


def _merge_image(sides: _Sides, merged: Merged) -> None:
    """Take what the other project changed of a label, and keep both where both did."""
    project, image = sides.project, sides.image
    mine, theirs, base = sides.labels()
    mine3, theirs3, base3 = (np.atleast_3d(a.T).T for a in (mine, theirs, base))
    numbers = [n for n in range(len(mine3)) if not np.array_equal(mine3[n], theirs3[n])]
    taken = tuple(n for n in numbers if np.array_equal(mine3[n], base3[n]))
    conflicts = tuple(
        n for n in numbers if n not in taken and not np.array_equal(theirs3[n], base3[n])
    )
    commit = sides.their_commit()
    source = (MERGE, {"from": str(sides.other.folder), "version_there": commit.version})
    name = project.image(image).name
    noted = (source[0], {**source[1], CONFLICTS: list(conflicts)})
    version = _kept(sides, theirs, commit, noted) if conflicts else None
    if taken:
        _take(sides, theirs3, taken, commit, source)
        merged.taken.append(Change(image, name, taken))
    if conflicts:
        merged.conflicts.append(Change(image, name, conflicts, version))


def _take(
    sides: _Sides,
    theirs: LabelArray,
    planes: Sequence[int],
    commit: CommitRecord,
    source: tuple[str, Mapping[str, Any]],
) -> None:
    """Commit slices of the other project, each with the classes that were judged there."""
    for number in planes:
        judged = sorted(sides.mapping.get(c, c) for c in commit.judged.on(number))
        with _signed_as(sides.project, commit.by):
            sides.project.commit(
                sides.image,
                theirs[number],
                plane=Plane(0, number),
                mapping=AS_IT_IS,
                judged=judged,
                source=source,
            )


def _kept(
    sides: _Sides,
    theirs: LabelArray,
    commit: CommitRecord,
    source: tuple[str, Mapping[str, Any]],
) -> int:
    """Keep the other project's label as a version, under this project's own; return its number."""
    project, image = sides.project, sides.image
    for event in project.events(MERGE):
        if event.image == image and event.payload.get("kept") == commit.sha256:
            return int(event.payload["version"])
    current = project.label_version(image)
    judged = sorted({sides.mapping.get(c, c) for c in commit.judged.classes})
    noted = (MERGE, {**source[1], "kept": commit.sha256})
    with _signed_as(project, commit.by):
        kept = project.commit(image, theirs, mapping=AS_IT_IS, judged=judged or None, source=noted)
    project.revert(image, current)
    return kept.version


@contextmanager
def _signed_as(project: Project, annotator: str) -> Iterator[None]:
    """Record commits in the block as made by somebody else."""
    own = project.sign()
    project.sign(annotator)
    try:
        yield
    finally:
        project.sign(own)


def _class_mapping(project: Project, other: Project) -> dict[int, int]:
    """Return this project's id of each class of the other one, by name."""
    own = {c.name: c.id for c in project.classes}
    strange = [c.name for c in other.classes if c.name not in own]
    if strange:
        raise InputError(
            f"{other.folder} has the class {', '.join(strange)}, which {project.folder} lacks: "
            "nothing was merged. Merge in the other direction, or rename the class in project.toml."
        )
    return {c.id: own[c.name] for c in other.classes}


def _mapped(label: LabelArray, mapping: Mapping[int, int]) -> LabelArray:
    """Return a label with the ids of this project; a class that was deleted is not annotated."""
    values = np.full(256, NOT_ANNOTATED, np.uint8)
    values[0] = 0
    for there, here in mapping.items():
        values[there] = here
    mapped: LabelArray = values[label]
    return mapped


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


def _what_stays(other: Project) -> list[str]:
    """Say what of the other project is not merged."""
    left = []
    pending = other.folder / PENDING_FOLDER
    count = len(list(pending.glob("*.json"))) if pending.is_dir() else 0
    if count:
        left.append(
            f"{count} image{'' if count == 1 else 's'} of {other.folder} with uncommitted work: "
            "open it and commit, then merge again."
        )
    return left
