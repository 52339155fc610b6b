"""Merging one image of two projects, slice by slice."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.core.errors import InputError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.labels import NOT_ANNOTATED
from napari_scsam.core.volume import take_plane
from napari_scsam.project.opinions import (
    SECOND,
    add_opinion,
    added_versions,
    labelling_commit,
    leading_to_current,
    opinions,
)
from napari_scsam.workflows.merge_result import Change

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.project import CommitRecord, Project
    from napari_scsam.project.journal import Event
    from napari_scsam.project.opinions import Opinion
    from napari_scsam.workflows.class_mapping import ClassMapping
    from napari_scsam.workflows.merge_result import Merged
    from napari_scsam.workflows.merged_checks import MergedChecks
    from napari_scsam.workflows.merged_work import MergedWork

# Labels come as they are, with 255 for what is not annotated.
AS_IT_IS = {NOT_ANNOTATED: NOT_ANNOTATED}


@dataclass(frozen=True)
class Merging:
    """What all images of a merge have in common.

    Attributes
    ----------
    project, other : Project
    classes : ClassMapping
    work : MergedWork
    checks : MergedChecks
    merged : Merged
        The result so far.
    """

    project: Project
    other: Project
    classes: ClassMapping
    work: MergedWork
    checks: MergedChecks
    merged: Merged

    @cached_property
    def opinions(self) -> dict[str, list[Opinion]]:
        """The second opinions of the other project, by its ids."""
        return opinions(self.other)

    @cached_property
    def reverts(self) -> tuple[list[Event], list[Event]]:
        """The commits undone here, before the merge, and there."""
        return self.project.events("revert"), self.other.events("revert")


@dataclass(frozen=True)
class _Side:
    """The label of an image in one of the projects."""

    project: Project
    image: str
    reverts: Sequence[Event]

    @cached_property
    def chain(self) -> list[CommitRecord]:
        """The commits that led to the current label."""
        return leading_to_current(self.project, self.image, self.reverts)

    @cached_property
    def added(self) -> set[int]:
        """See `added_versions`."""
        return added_versions(self.project, self.image)

    def commit_of(self, plane: int) -> CommitRecord | None:
        """The commit that labelled a slice last; None without any."""
        found = labelling_commit(self.chain, plane, self.added)
        # A slice of which little is annotated counts as not labelled.
        return found or (self.chain[-1] if self.chain else None)

    def judged(self, plane: int) -> tuple[int, ...]:
        """The classes that the current label judges on a slice."""
        return self.chain[-1].judged.on(plane) if self.chain else ()

    def label(self, version: int | None) -> LabelArray:
        """A version of the label as slices along axis 0; not annotated if it is None."""
        label = None if version is None else self.project.label(self.image, version)
        if label is None:
            label = np.full(self.project.image(self.image).shape, NOT_ANNOTATED, np.uint8)
        return label if label.ndim == 3 else label[None]

    def current(self) -> LabelArray:
        """The current label."""
        return self.label(self.project.label_version(self.image))


@dataclass(frozen=True)
class _Slice:
    """A slice of the other project's label, with the image and the classes of here."""

    image: str
    plane: int
    label: LabelArray
    commit: CommitRecord
    judged: Sequence[int]


def merge_image(merging: Merging, image: str, other_image: str, base: int | None) -> None:
    """Bring what the other project has of an image, and keep both labels where both changed it.

    Parameters
    ----------
    merging : Merging
    image, other_image : str
        Its id here and there.
    base : int or None
        Version of the label that was current in both when they were copies of each other.
    """
    here = _Side(merging.project, image, merging.reverts[0])
    there = _Side(merging.other, other_image, merging.reverts[1])
    merged, name = merging.merged, merging.project.image(image).name
    taken, conflicts, alike = _compared(merging, here, there, base)
    for one in taken:
        _take(merging, one)
    if taken:
        merged.taken.append(Change(image, name, tuple(one.plane for one in taken)))
    for one in conflicts:
        merged.conflicts.append(Change(image, name, (one.plane,), _keep_beside(merging, one)))
    for one in alike:
        merged.alike.append(Change(image, name, (one.plane,), _keep_beside(merging, one)))
    for one in _opinions(merging, here, there):
        merged.opinions.append(Change(image, name, (one.plane,), _keep_beside(merging, one)))


def _compared(
    merging: Merging, here: _Side, there: _Side, base: int | None
) -> tuple[list[_Slice], list[_Slice], list[_Slice]]:
    """Slices to take, those that both changed, and those that two people labelled the same."""
    mine, before = here.current(), here.label(base)
    # Compared as they are there: a class that was deleted there since then is no change.
    raw, raw_before = there.current(), there.label(base)
    if raw.shape != mine.shape:
        raise InputError(f"its label there has the shape {raw.shape}, and here {mine.shape}.")
    taken, conflicts, alike = [], [], []
    for n in range(len(mine)):
        theirs, commit = merging.classes.label(raw[n]), there.commit_of(n)
        judged = merging.classes.classes(there.judged(n))
        if commit is None or not judged or not _is_known(theirs):
            continue
        one = _Slice(here.image, n, theirs, commit, judged)
        if np.array_equal(mine[n], theirs):
            if _made_twice(merging, here, there, n):
                alike.append(one)
        elif not np.array_equal(raw[n], raw_before[n]):
            loses = _is_known(mine[n]) and not set(here.judged(n)) <= set(judged)
            merged = merging.work.merged(here.image, n, commit)
            if np.array_equal(mine[n], before[n]) and not loses:
                taken.append(one)
            elif merged is None or merged[1]:  # otherwise it was taken, and changed here since
                conflicts.append(one)
    return taken, conflicts, alike


def _is_known(label: LabelArray) -> bool:
    """Whether any pixel is annotated."""
    return bool((label != NOT_ANNOTATED).any())


def _made_twice(merging: Merging, here: _Side, there: _Side, plane: int) -> bool:
    """Whether two people labelled a slice, neither of them after the other; False once noted."""
    one, other = here.commit_of(plane), there.commit_of(plane)
    return (
        one is not None
        and other is not None
        and one.by != other.by
        and not merging.work.is_here(here.image, plane, other)
        and not merging.work.is_there(there.image, plane, one)
    )


def _opinions(merging: Merging, here: _Side, there: _Side) -> Iterator[_Slice]:
    """The second opinions of the other project on an image that are not here."""
    for opinion in merging.opinions.get(there.image, ()):
        commit = opinion.commit
        for plane in opinion.planes:
            judged = merging.classes.classes(commit.judged.on(plane))
            if judged and not merging.work.is_here(here.image, plane, commit):
                label = take_plane(there.label(commit.version), Plane(0, plane), 3)
                yield _Slice(here.image, plane, merging.classes.label(label), commit, judged)


def _take(merging: Merging, one: _Slice) -> None:
    """Commit a slice of the other project, after what was noted there before it was labelled."""
    source = merging.work.source(one.image, one.plane, one.commit)
    merging.checks.bring(one.image, one.plane)
    with _signed_as(merging.project, one.commit.by):
        made = merging.project.commit(
            one.image,
            one.label,
            plane=Plane(0, one.plane),
            mapping=AS_IT_IS,
            judged=one.judged,
            source=source,
        )
    merging.work.note(made, source)


def _keep_beside(merging: Merging, one: _Slice) -> int:
    """Keep a slice as a version beside this project's own label, once; return its number."""
    known = merging.work.merged(one.image, one.plane, one.commit)
    if known is not None:
        return known[0]
    _, made_of = merging.work.source(one.image, one.plane, one.commit)
    origin = {**made_of, "plane": one.plane}
    with _signed_as(merging.project, one.commit.by):
        made = add_opinion(
            merging.project,
            one.image,
            one.label,
            Plane(0, one.plane),
            one.judged,
            origin,
            AS_IT_IS,
        )
    merging.work.note(made, (SECOND, origin))
    return made.version


@contextmanager
def _signed_as(project: Project, annotator: str) -> Iterator[None]:
    """Record commits in the block as made by somebody else."""
    own = project.sign()
    project.sign(annotator)
    try:
        yield
    finally:
        project.sign(own)
