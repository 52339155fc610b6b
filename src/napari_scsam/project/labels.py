"""The committed label maps: one write-once file per commit, and which one counts now."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.core.errors import InputError, ProjectError
from napari_scsam.core.judged import ClassIds, Judged, check_judged
from napari_scsam.core.labels import NOT_ANNOTATED, LabelClass, as_label_array, done_planes
from napari_scsam.core.project_layout import LABELS_FOLDER
from napari_scsam.core.volume import take_plane
from napari_scsam.io import nifti
from napari_scsam.io.atomic import write_bytes
from napari_scsam.io.real_files import make_real_folder, read_real, real_folder
from napari_scsam.project import claims
from napari_scsam.project.own_files import sweep
from napari_scsam.project.schema import CommitRecord, ImageRecord

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.geometry import Plane
    from napari_scsam.project.journal import Event, Journal, Noted

_NAME = re.compile(r"(\d{6,})\.nii\.gz")
# The event that says which classes were judged by the commits before it that name none.
MIGRATION = "judged"
# Kind and payload of the event that says where a label came from.
Source = tuple[str, Mapping[str, Any]]


class Labels:
    """The ``labels`` folder of a project and what its journal says about it.

    The label that was read or written last stays in memory.

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
        self._project = folder
        self._folder = folder / LABELS_FOLDER
        self._journal = journal
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
        """Write down what the commits of an earlier version judged.

        Version 0.1.0 noted no classes: a person judged all that the class table had. No later
        than when another version opens the project, which may add some, these are put down.
        """
        last = self._migrations[-1].id if self._migrations else 0
        if self._journal.has_commit_without("judged", after=last):
            payload = {"judged": list(self._class_ids)}
            self._migrations.append(self._journal.append(MIGRATION, payload))

    def commit(
        self,
        image: ImageRecord,
        label: NDArray[np.generic],
        plane: Plane | None = None,
        mapping: Mapping[int, int] | None = None,
        judged: Collection[int] | None = None,
        source: Source | None = None,
    ) -> CommitRecord:
        """Save a label map that a person says is right; it is durable when this returns.

        Parameters
        ----------
        image : ImageRecord
            The image.
        label : ndarray
            Whole numbers: 0 background, class ids, 255 not annotated. On the image's
            whole grid, or of shape (rows, cols) with `plane`.
        plane : Plane, optional
            The slice (axis 0) that `label` is of. It is put into the label that
            counts now; slices that nobody committed stay 255.
        mapping : mapping of int to int, optional
            Values to replace first, such as ``{255: 1}``. A label of only 0 and 255 is
            refused without one, since most such masks mean a class by 255; where 255
            does mean "not annotated", give ``{255: 255}``.
        judged : collection of int, optional
            Ids of the classes that the person looked for; all of the class table by default.
            Any other is unknown, not absent, on what is committed: a pixel of 0 may be of it.
            Slices that are not committed now keep theirs.
        source : pair of str and mapping, optional
            Where the label came from: the kind and the payload of an event, as `record` takes
            them, that gets the image and the version, too. It is noted in the same transaction,
            so that no crash comes between the two.

        Raises
        ------
        InputError
            If shape, values, judged classes or the source's kind do not fit; nothing is written.
        ReadOnlyError
            If the project is open read-only.
        ProjectError
            If the disk is full or can't be written; the earlier label is untouched.
        """
        whole = self._whole(image, label, plane, mapping)
        own = whole if plane is None else take_plane(whole, plane, whole.ndim)
        ids = check_judged(judged, own, self._classes)
        return self._write(image, whole, None if plane is None else plane.index, ids, source)

    def _whole(
        self,
        image: ImageRecord,
        label: NDArray[np.generic],
        plane: Plane | None,
        mapping: Mapping[int, int] | None,
    ) -> LabelArray:
        if plane is None:
            return as_label_array(label, image.shape, self._classes, mapping)
        if plane.axis != 0:
            raise InputError(f"Slices are committed along axis 0, got {plane}.")
        whole = self.of(image.id)
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
        judged: ClassIds,
        source: Source | None,
    ) -> CommitRecord:
        """Write `label` as a new version, flush it, and then note it in the journal.

        The classes `judged` are those of `plane`, or of the whole grid; other planes keep theirs.
        The `source` is an event of its own, in the same transaction.

        Until the journal's transaction has ended, the file is an orphan that nobody
        reads, and the earlier version counts.
        """
        version = self._next_version(image.id)
        path = self._path(image.id, version)
        content = nifti.encode_label(label, image)
        make_real_folder(self._project, LABELS_FOLDER, image.id)
        write_bytes(path, content)
        payload = {
            "version": version,
            "sha256": hashlib.sha256(content).hexdigest(),
            "plane": plane,
            "planes": done_planes(label),
            "judged": self._composed(image.id, plane, judged).to_json(),
        }
        noted: list[Noted] = [("commit", payload, image.id)]
        if source is not None:
            kind, said = source
            noted.append((kind, {"image": image.id, **said, "version": version}, image.id))
        event, *_ = self._journal.append_all(noted)
        self._remember(path, label)
        return self._to_record(event)

    def of(self, image_id: str) -> LabelArray | None:
        """The caller's own copy of the label that counts now; None without one."""
        current = self.current(image_id)
        return None if current is None else self.read(current)

    def current(self, image_id: str) -> CommitRecord | None:
        """The commit that counts now; None without one, or when it was taken back."""
        last = self._journal.last(["commit", "revert"], image_id)
        if last is None:
            return None
        with self._journal.reading(last) as payload:
            version = payload["version"]
            if version is None:
                return None
            version = claims.number(version, 1)
        return self._commit(image_id, version)

    def all_current(self) -> dict[str, CommitRecord]:
        """The commit that counts now, of every image that has one."""
        commits = map(self._to_record, self._journal.current_commits())
        return {c.image: c for c in commits}

    def commits(self, image_id: str) -> list[CommitRecord]:
        """Every commit of an image, the oldest first."""
        return [self._to_record(e) for e in self._journal.events(["commit"], image_id)]

    def revert(self, image_id: str, version: int | None) -> None:
        """Make a committed version count, or none; InputError when there is no such one."""
        if version is not None and self._commit(image_id, version) is None:
            versions = [c.version for c in self.commits(image_id)]
            raise InputError(
                f"The image {image_id} has no label version {version}; it has {versions or 'none'}."
            )
        self._journal.append("revert", {"version": version}, image_id)

    def read(self, commit: CommitRecord) -> LabelArray:
        """The caller's own copy of a committed label.

        Raises
        ------
        ProjectError
            If the file is missing or not what was committed.
        """
        with self._lock:
            if self._last is not None and self._last[0] == commit.path:
                return self._last[1].copy()
        advice = "restore it from your backup, or undo to an earlier version"
        try:
            real_folder(self._project, LABELS_FOLDER, commit.image)
            content = read_real(commit.path)
        except OSError as exc:
            raise ProjectError(
                f"The committed label {commit.path} can't be read ({exc.strerror or exc}): "
                f"{advice}."
            ) from exc
        if hashlib.sha256(content).hexdigest() != commit.sha256:
            raise ProjectError(
                f"The committed label {commit.path} is not what was saved (its hash differs): "
                f"{advice}."
            )
        label = nifti.decode_label(content, commit.path)
        self._remember(commit.path, label)
        return label

    def _composed(self, image_id: str, plane: int | None, judged: ClassIds) -> Judged:
        before = None if plane is None else self.current(image_id)
        if before is None or plane is None:
            return Judged(judged)
        return before.judged.replaced(plane, judged)

    def _judged_by(self, event: Event) -> Judged:
        """What a commit says of its classes, or what was put down of all before some event."""
        found = event.payload.get("judged")
        if found is not None:
            return claims.judged(found)
        later = next((m for m in self._migrations if m.id > event.id), None)
        if later is None:
            return Judged(self._class_ids)
        with self._journal.reading(later) as payload:
            return Judged(claims.class_ids(payload["judged"]))

    def _path(self, image_id: str, version: int) -> Path:
        return self._folder / image_id / f"{version:06d}.nii.gz"

    def _commit(self, image_id: str, version: int) -> CommitRecord | None:
        event = self._journal.commit_event(image_id, version)
        return None if event is None else self._to_record(event)

    def _next_version(self, image_id: str) -> int:
        """A version that no commit has and no file, not even as a crash's orphan."""
        last = self._journal.last(["commit"], image_id)
        folder = real_folder(self._project, LABELS_FOLDER, image_id)
        sweep(folder)
        names = [_NAME.fullmatch(p.name) for p in folder.iterdir()] if folder.is_dir() else []
        orphans = [int(m[1]) for m in names if m]
        noted = 0 if last is None else self._to_record(last).version
        return 1 + max([noted, *orphans])

    def _remember(self, path: Path, label: LabelArray) -> None:
        with self._lock:
            self._last = (path, np.array(label))

    def _to_record(self, event: Event) -> CommitRecord:
        with self._journal.reading(event) as payload:
            image, version = claims.image_id(event.image), claims.number(payload["version"], 1)
            return CommitRecord(
                id=event.id,
                image=image,
                version=version,
                plane=claims.plane(payload["plane"]),
                planes=claims.planes(payload["planes"]),
                sha256=claims.sha256(payload["sha256"]),
                time=event.time,
                path=self._path(image, version),
                judged=self._judged_by(event),
            )
