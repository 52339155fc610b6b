"""The committed label maps: one write-once file per commit, and the current version."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.core.errors import InputError, ProjectError
from napari_scsam.core.judged import ClassIds, Judged, check_judged, check_judged_planes
from napari_scsam.core.labels import NOT_ANNOTATED, LabelClass, as_label_array, done_planes, is_done
from napari_scsam.core.volume import take_plane
from napari_scsam.io.atomic import write_bytes
from napari_scsam.io.label_parts import LabelPart
from napari_scsam.project import parsing
from napari_scsam.project.current_labels import CurrentLabels
from napari_scsam.project.label_files import LabelFiles
from napari_scsam.project.schema import CommitRecord, ImageRecord

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.geometry import Plane
    from napari_scsam.project.journal import Event, Journal, NewEvent

# From this number of voxels on, the commit of one slice is stored as a file of that slice alone
# (arbitrary: encoding the label of a smaller volume takes less time than the flushes of a commit).
SLICE_FILES_FROM = 2**21
# The event with the judged classes of all earlier commits that list none.
MIGRATION = "judged"
# Kind and payload of the event with the origin of a label.
Source = tuple[str, Mapping[str, Any]]


class Labels:
    """The ``labels`` folder of a project, and the commits in its journal.

    The label that was read or written last is cached in memory.

    Parameters
    ----------
    folder : Path
        The project folder.
    journal : Journal
        The project's.
    classes : collection of LabelClass
        The project's classes, as they are when it is opened.
    """

    def __init__(self, folder: Path, journal: Journal, classes: Collection[LabelClass]) -> None:
        self._files = LabelFiles(folder)
        self._journal = journal
        self._current = CurrentLabels(journal)
        self._lock = threading.Lock()
        self._last: tuple[Path, LabelArray] | None = None
        self.use_classes(classes)
        self._migrations = journal.events([MIGRATION])

    def use_classes(self, classes: Collection[LabelClass]) -> None:
        """Check labels against another class table from now on; earlier commits judged none of it.

        Each commit notes the classes that it judged, so that a new class is unknown there.
        """
        self._classes = tuple(classes)
        self._class_ids = tuple(sorted(c.id for c in classes))

    def migrate(self) -> None:
        """Record the judged classes of commits by an earlier version.

        Version 0.1.0 recorded no judged classes: they were all classes of the class table. They
        are recorded when the project is first opened, before classes can be added to the table.
        """
        last = self._migrations[-1].id if self._migrations else 0
        # Versions with hashes record the judged classes of each commit.
        last = max(last, self._journal.hashed_to)
        if self._journal.has_commit_without("judged", after=last):
            payload = {"judged": list(self._class_ids)}
            self._migrations.append(self._journal.append(MIGRATION, payload))

    def commit(
        self,
        image: ImageRecord,
        label: NDArray[np.generic],
        plane: Plane | None = None,
        mapping: Mapping[int, int] | None = None,
        judged: Collection[int] | Judged | None = None,
        source: Source | None = None,
    ) -> CommitRecord:
        """Save a label map that a person has accepted; it is durable when this returns.

        Parameters
        ----------
        image : ImageRecord
            The image.
        label : ndarray
            Whole numbers: 0 background, class ids, 255 not annotated. On the image's
            whole grid, or of shape (rows, cols) with `plane`.
        plane : Plane, optional
            The slice (axis 0) that `label` is of. The other slices of the current label
            stay as they are; slices that were never committed are 255.
        mapping : mapping of int to int, optional
            Values to replace first, such as ``{255: 1}``. It is required for a label of
            only 0 and 255, because 255 means a class in most such masks. Where it does mean
            "not annotated", give ``{255: 255}``.
        judged : collection of int or Judged, optional
            IDs of the classes that the person looked for; all of the class table by default.
            Any other class is unknown, not absent: a pixel of 0 may belong to it. Slices that
            are not part of this commit keep their judged classes. `Judged` gives those of every
            slice.
        source : pair of str and mapping, optional
            The origin of the label: kind and payload of an event, as for `Project.record`.
            The image and the version are added to the payload. It is recorded in the same
            transaction, so that a crash can't separate the two.

        Raises
        ------
        InputError
            If shape, values, judged classes or the source's kind are invalid; nothing is written.
        ReadOnlyError
            If the project is open read-only.
        ProjectError
            If the disk is full or can't be written; the earlier label is unchanged.
        """
        if plane is not None and plane.axis != 0:
            raise InputError(f"Slices are committed along axis 0, got {plane}.")
        if plane is not None and self._is_stored_by_slice(image):
            shape = take_plane(np.broadcast_to(np.uint8(0), image.shape), plane, 3).shape
            content = own = as_label_array(label, shape, self._classes, mapping)
        else:
            content = self._whole(image, label, plane, mapping)
            own = content if plane is None else take_plane(content, plane, content.ndim)
        index = None if plane is None else plane.index
        if isinstance(judged, Judged):
            after = check_judged_planes(judged, own, self._classes, index)
        else:
            ids = check_judged(judged, own, self._classes)
            after = _judged_after(self.current(image.id), index, ids)
        return self._write(image, content, index, after, source)

    def _is_stored_by_slice(self, image: ImageRecord) -> bool:
        """Whether a commit of one slice of an image is stored as a file of that slice alone."""
        return len(image.shape) == 3 and prod(image.shape) >= SLICE_FILES_FROM

    def _whole(
        self,
        image: ImageRecord,
        label: NDArray[np.generic],
        plane: Plane | None,
        mapping: Mapping[int, int] | None,
    ) -> LabelArray:
        if plane is None:
            return as_label_array(label, image.shape, self._classes, mapping)
        whole = self.of(image)
        if whole is None:
            whole = np.full(image.shape, NOT_ANNOTATED, np.uint8)
        target = take_plane(whole, plane, len(image.shape))
        target[...] = as_label_array(label, target.shape, self._classes, mapping)
        return whole

    def _write(
        self,
        image: ImageRecord,
        label: LabelArray,
        plane: int | None,
        judged: Judged,
        source: Source | None,
    ) -> CommitRecord:
        """Write `label` as a new version, flush it, and then record it in the journal.

        `label` is the whole label, or of a volume only the slice `plane`. The classes `judged`
        are those of the whole image. The `source` is an event
        of its own, in the same transaction.

        Until the transaction has ended, the file is an orphan that is never read, and the
        earlier version is current.
        """
        before = self.current(image.id)
        version = self._next_version(image.id)
        by_slice = label.ndim < len(image.shape)
        part, content = self._files.encode(image, version, label, plane if by_slice else None)
        write_bytes(part.path, content)
        payload: dict[str, Any] = {
            "version": version,
            "sha256": part.sha256,
            "plane": plane,
            "planes": done_planes(label),
            "judged": judged.to_json(),
        }
        if plane is not None and by_slice:
            payload["base"] = None if before is None else before.version
            payload["planes"] = _planes_after(before, plane, label)
        events: list[NewEvent] = [("commit", payload, image.id)]
        if source is not None:
            kind, origin = source
            events.append((kind, {"image": image.id, **origin, "version": version}, image.id))
        event, *_ = self._journal.append_all(events)
        if by_slice:
            self._update_cache(before, part, label)
        else:
            self._remember(part.path, label)
        return self._to_record(event)

    def of(self, image: ImageRecord, version: int | None = None) -> LabelArray | None:
        """A copy of an image's current label, or of a version; None without one."""
        commit = self.current(image.id) if version is None else self._commit(image.id, version)
        return None if commit is None else self.read(commit, image)

    def current(self, image_id: str) -> CommitRecord | None:
        """The current commit; None if there is none, or if it was reverted."""
        event = self._current.commits().get(image_id)
        return None if event is None else self._to_record(event)

    def current_versions(self) -> dict[str, int]:
        """The version of the current label, by image."""
        versions = {}
        for image, event in self._current.commits().items():
            with self._journal.reading(event) as payload:
                versions[image] = parsing.number(payload["version"], 1)
        return versions

    def current_planes(self) -> Mapping[str, list[int]]:
        """The slices that are mostly annotated by the current label, by image."""
        return self._current.planes()

    def all_current(self) -> dict[str, CommitRecord]:
        """The current commit of every image that has one."""
        return {i: self._to_record(event) for i, event in self._current.commits().items()}

    def commits(self, image_id: str) -> list[CommitRecord]:
        """Every commit of an image, the oldest first."""
        return [self._to_record(e) for e in self._journal.events(["commit"], image_id)]

    def revert(self, image_id: str, version: int | None) -> None:
        """Make a committed version current, or none; InputError if there is no such version."""
        if version is not None and self._commit(image_id, version) is None:
            versions = [c.version for c in self.commits(image_id)]
            raise InputError(
                f"The image {image_id} has no label version {version}; it has {versions or 'none'}."
            )
        self._journal.append("revert", {"version": version}, image_id)

    def read(self, commit: CommitRecord, image: ImageRecord) -> LabelArray:
        """Read a copy of a committed label of an image.

        Raises
        ------
        ProjectError
            If a file is missing, or its hash is not that of the commit.
        """
        with self._lock:
            if self._last is not None and self._last[0] == commit.path:
                return self._last[1].copy()
        label = self._files.read(image, self._parts(commit))
        self._remember(commit.path, label)
        return label

    def for_training(self) -> dict[str, CommitRecord]:
        """The current commit of every image that has one, with the files of its label."""
        return {i: replace(c, parts=self._parts(c)) for i, c in self.all_current().items()}

    def _parts(self, commit: CommitRecord) -> tuple[LabelPart, ...]:
        """The files of a label: the whole volume first, if there is one, then its slices.

        A commit of a slice refers to the version before it. The newest file of each slice counts.
        """
        if not commit.is_slice:
            return (LabelPart(None, commit.path, commit.sha256),)
        events = self._commit_events(commit.image)
        parts: dict[int, LabelPart] = {}
        version: int | None = commit.version
        while version is not None:
            record = self._to_record(events[version])
            if not record.is_slice:
                return (LabelPart(None, record.path, record.sha256), *_sorted(parts))
            plane = record.plane or 0
            parts.setdefault(plane, LabelPart(plane, record.path, record.sha256))
            version = record.base
            if version is not None and version not in events:
                raise ProjectError(
                    f"The journal is damaged: version {record.version} of the label of "
                    f"{record.image} refers to version {version}, which does not exist."
                )
        return _sorted(parts)

    def _commit_events(self, image_id: str) -> dict[int, Event]:
        """Every commit of an image, by version."""
        found = {}
        for event in self._journal.events(["commit"], image_id):
            with self._journal.reading(event) as payload:
                found[parsing.number(payload["version"], 1)] = event
        return found

    def _judged_by(self, event: Event) -> Judged:
        """The judged classes of a commit: its own, or those of the migration event after it."""
        found = event.payload.get("judged")
        if found is not None:
            return parsing.judged(found)
        later = next((m for m in self._migrations if m.id > event.id), None)
        if later is None:
            return Judged(self._class_ids)
        with self._journal.reading(later) as payload:
            return Judged(parsing.class_ids(payload["judged"]))

    def _commit(self, image_id: str, version: int) -> CommitRecord | None:
        event = self._journal.commit_event(image_id, version)
        return None if event is None else self._to_record(event)

    def _next_version(self, image_id: str) -> int:
        """A version number that neither a commit nor a file has, not even an orphan of a crash."""
        last = self._journal.last("commit", image_id)
        committed = 0 if last is None else self._to_record(last).version
        return 1 + max(committed, self._files.last_version(image_id))

    def _update_cache(
        self, before: CommitRecord | None, part: LabelPart, label: LabelArray
    ) -> None:
        """Put a slice into the cached label, if that is the version before."""
        with self._lock:
            if self._last is not None and before is not None and self._last[0] == before.path:
                self._last[1][part.plane] = label
                self._last = (part.path, self._last[1])

    def _remember(self, path: Path, label: LabelArray) -> None:
        with self._lock:
            self._last = (path, np.array(label))

    def _to_record(self, event: Event) -> CommitRecord:
        with self._journal.reading(event) as payload:
            image, version = parsing.image_id(event.image), parsing.number(payload["version"], 1)
            plane, is_slice = parsing.plane(payload["plane"]), "base" in payload
            return CommitRecord(
                id=event.id,
                image=image,
                version=version,
                plane=plane,
                planes=parsing.planes(payload["planes"]),
                sha256=parsing.sha256(payload["sha256"]),
                time=event.time,
                path=self._files.path(image, version, plane if is_slice else None),
                judged=self._judged_by(event),
                is_slice=is_slice,
                base=parsing.base(payload.get("base"), version),
                by=parsing.text(payload.get("by", "")),
            )


def _planes_after(before: CommitRecord | None, plane: int, label: LabelArray) -> list[int]:
    """The slices that are mostly annotated after the commit of a slice."""
    others = set(() if before is None else before.planes) - {plane}
    return sorted(others | ({plane} if is_done(label) else set()))


def _judged_after(before: CommitRecord | None, plane: int | None, judged: ClassIds) -> Judged:
    """The classes that are judged on each slice after a commit."""
    if before is None or plane is None:
        return Judged(judged)
    return before.judged.replaced(plane, judged)


def _sorted(parts: Mapping[int, LabelPart]) -> tuple[LabelPart, ...]:
    return tuple(parts[plane] for plane in sorted(parts))
