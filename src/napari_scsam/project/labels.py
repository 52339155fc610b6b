"""The committed label maps: one write-once file per commit, and which one counts now."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.core.errors import InputError, ProjectError
from napari_scsam.core.judged import ClassIds, Judged
from napari_scsam.core.labels import done_planes
from napari_scsam.io import nifti
from napari_scsam.io.atomic import make_folder, write_bytes
from napari_scsam.project.schema import CommitRecord, ImageRecord

if TYPE_CHECKING:
    from pathlib import Path

    from napari_scsam.core.arrays import LabelArray
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
    class_ids : collection of int
        The project's classes, as they are when it is opened.
    """

    def __init__(self, folder: Path, journal: Journal, class_ids: Collection[int]) -> None:
        self._folder = folder / "labels"
        self._journal = journal
        self._lock = threading.Lock()
        self._last: tuple[Path, LabelArray] | None = None
        self._class_ids = tuple(sorted(class_ids))
        self._migrations = journal.events([MIGRATION])

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
        label: LabelArray,
        plane: int | None,
        judged: ClassIds,
        source: Source | None = None,
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
        make_folder(path.parent)
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

    def current(self, image_id: str) -> CommitRecord | None:
        """The commit that counts now; None without one, or when it was taken back."""
        last = self._journal.last(["commit", "revert"], image_id)
        if last is None or last.payload["version"] is None:
            return None
        return self._commit(image_id, last.payload["version"])

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
            content = commit.path.read_bytes()
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
            return Judged.from_json(found)
        later = (m.payload["judged"] for m in self._migrations if m.id > event.id)
        return Judged(tuple(next(later, self._class_ids)))

    def _path(self, image_id: str, version: int) -> Path:
        return self._folder / image_id / f"{version:06d}.nii.gz"

    def _commit(self, image_id: str, version: int) -> CommitRecord | None:
        event = self._journal.commit_event(image_id, version)
        return None if event is None else self._to_record(event)

    def _next_version(self, image_id: str) -> int:
        """A version that no commit has and no file, not even as a crash's orphan."""
        last = self._journal.last(["commit"], image_id)
        folder = self._folder / image_id
        names = [_NAME.fullmatch(p.name) for p in folder.iterdir()] if folder.is_dir() else []
        orphans = [int(m[1]) for m in names if m]
        return 1 + max([0 if last is None else int(last.payload["version"]), *orphans])

    def _remember(self, path: Path, label: LabelArray) -> None:
        with self._lock:
            self._last = (path, np.array(label))

    def _to_record(self, event: Event) -> CommitRecord:
        image, version = str(event.image), int(event.payload["version"])
        return CommitRecord(
            id=event.id,
            image=image,
            version=version,
            plane=event.payload["plane"],
            planes=tuple(event.payload["planes"]),
            sha256=event.payload["sha256"],
            time=event.time,
            path=self._path(image, version),
            judged=self._judged_by(event),
        )
