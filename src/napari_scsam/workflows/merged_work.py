"""What labels of another project were made of and cost, journalled with those that are merged."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from napari_scsam.project.merge_origin import MERGED, MergeOrigin, merge_origin
from napari_scsam.project.opinions import MERGE, SECOND
from napari_scsam.workflows.effort import SOURCES, steps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_scsam.project import CommitRecord, Project
    from napari_scsam.project.journal import Event
    from napari_scsam.project.labels import Source
    from napari_scsam.workflows.class_mapping import ClassMapping

# Time and hash, which identify a commit in all copies of a project.
Identity = tuple[str, str]


class MergedWork:
    """Which labels of two projects both have, and what the others were made of.

    Parameters
    ----------
    project, other : Project
    classes : ClassMapping
    rounds : mapping of int to int
        This project's number of the rounds of the other one.
    """

    def __init__(
        self, project: Project, other: Project, classes: ClassMapping, rounds: Mapping[int, int]
    ) -> None:
        self._project, self._other = project, other
        self._classes, self._rounds = classes, rounds
        self._here, self._there = _Commits(project), _Commits(other)
        self._steps = {(s.image, s.version): s for s in steps(other.events())}

    def is_here(self, image: str, plane: int, commit: CommitRecord) -> bool:
        """Whether a slice of a commit there is here."""
        return self._here.has(image, plane, self._there.identity(commit))

    def is_there(self, other_image: str, plane: int, commit: CommitRecord) -> bool:
        """Whether a slice of a commit here is there."""
        return self._there.has(other_image, plane, self._here.identity(commit))

    def merged(self, image: str, plane: int, commit: CommitRecord) -> tuple[int, bool] | None:
        """Version here of a slice that was merged, and whether it is beside another label."""
        return self._here.merged.get((image, plane, self._there.identity(commit)))

    def source(self, image: str, plane: int, commit: CommitRecord) -> Source:
        """What a slice was made of, and in which commit there."""
        found = self._there.sources.get((commit.image, commit.version))
        origin = self._origin(image, plane, commit)
        if found is None or found.kind == MERGE or origin.is_part:
            return MERGE, {MERGED: origin.to_json()}
        size = max(self._project.image(image).shape)
        made_of = self._classes.origin(found.payload, size)
        kind = "prompts" if found.kind == SECOND else found.kind
        return kind, {**made_of, "image": image, MERGED: origin.to_json()}

    def note(self, made: CommitRecord, source: Source) -> None:
        """Remember that a slice is merged, by its commit here and what that was made of."""
        kind, payload = source
        self._here.remember(made.image, made.version, kind, merge_origin(payload))

    def left(self, images: Mapping[str, str]) -> int:
        """Count the commits there of which no slice is here; `images` has the ids there first."""
        return sum(
            not self._here.counts(here, self._there.identity(commit))
            for there, here in images.items()
            for commit in self._other.commits(there)
        )

    def _origin(self, image: str, plane: int, commit: CommitRecord) -> MergeOrigin:
        time, sha256 = self._there.identity(commit)
        step = self._steps.get((commit.image, commit.version))
        number = None if step is None or step.round is None else self._rounds.get(step.round)
        return MergeOrigin(
            project=str(self._other.folder),
            version=commit.version,
            plane=plane,
            time=time,
            sha256=sha256,
            round=number,
            seconds=None if step is None else step.seconds,
            is_part=step is None or self._here.counts(image, (time, sha256)),
        )


class _Commits:
    """The commits of a project, and those that were merged into it."""

    def __init__(self, project: Project) -> None:
        self._project = project
        events = [event for kind in SOURCES for event in project.events(kind)]
        self.sources: dict[tuple[str | None, int], Event] = {
            (event.image, version): event
            for event in events
            if isinstance(version := event.payload.get("version"), int)
        }
        # By image, slice and commit elsewhere: version here, whether it is beside another label.
        self.merged: dict[tuple[str, int, Identity], tuple[int, bool]] = {}
        self._made: dict[str, set[Identity]] = {}
        self._merged_of: dict[str, set[Identity]] = defaultdict(set)
        for (image, version), event in self.sources.items():
            if image is not None:
                self.remember(image, version, event.kind, merge_origin(event.payload))

    def identity(self, commit: CommitRecord) -> Identity:
        """What identifies a commit of the project, or the one that it was merged from."""
        source = self.sources.get((commit.image, commit.version))
        origin = None if source is None else merge_origin(source.payload)
        return (commit.time, commit.sha256) if origin is None else (origin.time, origin.sha256)

    def has(self, image: str, plane: int, commit: Identity) -> bool:
        """Whether a commit was made in this project, or its slice `plane` merged into it."""
        return commit in self._made_of(image) or (image, plane, commit) in self.merged

    def counts(self, image: str, commit: Identity) -> bool:
        """Whether a commit was made in this project, or any slice of it merged into it."""
        return commit in self._made_of(image) or commit in self._merged_of[image]

    def remember(self, image: str, version: int, kind: str, origin: MergeOrigin | None) -> None:
        """Add a slice that was merged."""
        if origin is not None:
            known = (origin.time, origin.sha256)
            self.merged[image, origin.plane, known] = (version, kind == SECOND)
            self._merged_of[image].add(known)

    def _made_of(self, image: str) -> set[Identity]:
        if image not in self._made:
            self._made[image] = {(c.time, c.sha256) for c in self._project.commits(image)}
        return self._made[image]
