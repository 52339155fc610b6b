"""Labelling without seeing what other people labelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.core.errors import InputError
from napari_scsam.core.geometry import Plane, SliceKey
from napari_scsam.core.judged import Judged
from napari_scsam.core.labels import NOT_ANNOTATED
from napari_scsam.core.volume import take_plane
from napari_scsam.project.opinions import (
    add_opinion,
    added_versions,
    author_of,
    leading_to_current,
    opinions,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.project import CommitRecord, Project
    from napari_scsam.project.journal import Event
    from napari_scsam.project.labels import Source
    from napari_scsam.project.opinions import Opinion


class SecondOpinion:
    """Reads and commits labels; while it is on, those of other people are hidden and stay current.

    Parameters
    ----------
    project : Project

    Attributes
    ----------
    is_on : bool
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self.is_on = False
        # By image: slices of others, and for whom and which version of the label.
        self._others: dict[str, tuple[tuple[str, int | None], frozenset[int]]] = {}

    def label(self, image: str) -> LabelArray | None:
        """The current label of an image, as its present annotator may see it.

        Slices that somebody else labelled last have the present annotator's own second opinion,
        or are not annotated.
        """
        label = self._project.label(image)
        if not self.is_on or label is None:
            return label
        own = self._own_versions(opinions(self._project, image).get(image, ()))
        for plane in self._of_others(image):
            view = _slice_of(label, plane)
            version = own.get(plane)
            other = None if version is None else self._project.label(image, version)
            view[...] = NOT_ANNOTATED if other is None else _slice_of(other, plane)
        return label

    def commit(
        self,
        image: str,
        label: LabelArray,
        *,
        plane: Plane | None = None,
        mapping: Mapping[int, int],
        judged: Collection[int] | Judged | None = None,
        source: Source,
    ) -> CommitRecord:
        """Save a label as `Project.commit` does; what others labelled stays current.

        While this is on, each slice of others that was changed is kept as a version beside the
        current label. Returns the commit that is current then.
        """
        others = self._of_others(image) if self.is_on else frozenset()
        if plane is not None and plane.index not in others:
            others = frozenset()
        if not others:
            return self._project.commit(
                image, label, plane=plane, mapping=mapping, judged=judged, source=source
            )
        if plane is not None:
            add_opinion(self._project, image, label, plane, judged, source[1], mapping)
        else:
            self._commit_whole(image, label, mapping, judged, source)
        version = self._project.label_version(image)
        return next(c for c in self._project.commits(image) if c.version == version)

    def revert(self, image: str, version: int | None) -> None:
        """Return to another version as `Project.revert` does.

        Raises
        ------
        InputError
            If this is on, and a commit of somebody else would be undone.
        """
        if self.is_on:
            chain = leading_to_current(self._project, image)
            numbers = [commit.version for commit in chain]
            kept = numbers.index(version) + 1 if version in numbers else 0
            other = next((c for c in chain[kept:] if c.by != self._project.sign()), None)
            if other is not None:
                raise InputError(
                    f"This would undo what {other.by or 'somebody else'} committed, which is "
                    "hidden now: switch off Second opinion first."
                )
        self._project.revert(image, version)

    def committed(self) -> Mapping[str, Sequence[int]]:
        """The slices by image that are done for the present annotator, who does not see others'."""
        planes = self._project.all_committed_planes()
        if not self.is_on:
            return planes
        made, undone = opinions(self._project), self._project.events("revert")
        found = {}
        for image, done in planes.items():
            own = self._own_versions(made.get(image, ()))
            found[image] = sorted({*done} - self._of_others(image, undone) | own.keys())
        return found

    def after(self, key: SliceKey) -> SliceKey | None:
        """The next slice that somebody else labelled and the present annotator did not."""
        images = [record.id for record in self._project.images()]
        at = images.index(key[0])
        made, undone = opinions(self._project), self._project.events("revert")
        for image in (*images[at:], *images[:at]):
            own = self._own_versions(made.get(image, ()))
            for plane in sorted(self._of_others(image, undone) - own.keys()):
                if (image, Plane(0, plane)) != key:
                    return (image, Plane(0, plane))
        return None

    def _commit_whole(
        self,
        image: str,
        label: LabelArray,
        mapping: Mapping[int, int],
        judged: Collection[int] | Judged | None,
        source: Source,
    ) -> None:
        """Save the slices of a whole label that are not as they were shown, one by one."""
        seen = self.label(image)
        if seen is None:  # then nobody has labelled anything
            return
        for plane in range(1 if label.ndim == 2 else len(label)):
            own, place = _slice_of(label, plane), Plane(0, plane)
            if np.array_equal(own, _slice_of(seen, plane)):
                continue
            made_of = (source[0], {**source[1], "plane": plane})
            ids = judged.on(plane) if isinstance(judged, Judged) else judged
            self.commit(
                image, own, plane=place, mapping=mapping, judged=ids or None, source=made_of
            )

    def _of_others(self, image: str, undone: Sequence[Event] | None = None) -> frozenset[int]:
        """Slices whose current label was made by somebody else."""
        planes = self._project.all_committed_planes().get(image, ())
        if not planes:
            return frozenset()
        me = self._project.sign()
        state = (me, self._project.label_version(image))
        known = self._others.get(image)
        if known is None or known[0] != state:
            chain = leading_to_current(self._project, image, undone)
            added = added_versions(self._project, image)
            found = {p for p in planes if author_of(chain, p, added) not in (me, None)}
            known = self._others[image] = (state, frozenset(found))
        return known[1]

    def _own_versions(self, made: Sequence[Opinion]) -> dict[int, int]:
        """The version of the present annotator's last second opinion, by slice."""
        own = [opinion for opinion in made if opinion.commit.by == self._project.sign()]
        return {plane: one.commit.version for one in own for plane in one.planes}


def _slice_of(label: LabelArray, plane: int) -> LabelArray:
    view: LabelArray = take_plane(label, Plane(0, plane), label.ndim)
    return view
