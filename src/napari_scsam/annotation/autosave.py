"""Keeps in the project folder what is not committed yet, a moment after each step."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari_scsam.annotation.pending import Pending, pending_of, read_back, to_json, with_pending
from napari_scsam.core.errors import ProjectError
from napari_scsam.core.jobs import Job
from napari_scsam.project.pending import damaged, read_pending, write_pending

if TYPE_CHECKING:
    from napari_scsam.annotation.state import StateStore
    from napari_scsam.annotation.work import Work
    from napari_scsam.core.job_runner import JobRunner
    from napari_scsam.project import Project


class Autosave:
    """Writes what waits to be saved whenever it has changed, and reads it back once.

    Parameters
    ----------
    project : Project
    files : JobRunner
        Writes, one after the other.
    store : StateStore
    """

    def __init__(self, project: Project, files: JobRunner, store: StateStore) -> None:
        self._project = project
        self._files = files
        self._store = store
        self._work: Work | None = None
        # What is in the folder of each image that was opened.
        self._kept: dict[str, Pending] = {}
        self._is_writing = False
        self._lock = threading.Lock()
        self._closed = False

    def read(self, image_id: str, shape: tuple[int, ...]) -> Pending | ProjectError | None:
        """What was kept of an image (a thread's work); None where it was opened before."""
        if image_id in self._kept or self._project.read_only:
            return None
        try:
            planes = read_pending(self._project, image_id)
        except ProjectError as error:
            return error
        try:
            return read_back(planes, shape)
        except (KeyError, TypeError, ValueError):
            return damaged(self._project, image_id)

    def restore(self, image_id: str, found: Pending | ProjectError | None) -> str:
        """Bring back what was kept of an image; returns what to say of it."""
        if found is None or isinstance(found, ProjectError):
            return ""
        self._kept[image_id] = found
        if not found:
            return ""
        self._store.begin_with(lambda work: with_pending(work, image_id, found))
        number = len(found)
        slices = "the slice" if number == 1 else f"{number} slices"
        return f"Here is what was not saved last time, on {slices}."

    def save(self) -> None:
        """Write what waits to be saved of the open image, if it has changed."""
        now = self._store.now
        image_id = now.image_id
        if image_id is None or self._project.read_only or self._is_writing or self._closed:
            return
        if now.work is self._work and image_id in self._kept:
            return
        pending = pending_of(now.work, image_id)
        if pending == self._kept.get(image_id, {}):
            self._kept.setdefault(image_id, pending)
            self._work = now.work
            return
        self._write(image_id, pending, now.work)

    def close(self) -> None:
        """Write what is left at once; what was queued before comes to nothing."""
        with self._lock:
            self._closed = True
        now = self._store.now
        if now.image_id is None or self._project.read_only:
            return
        pending = pending_of(now.work, now.image_id)
        if pending != self._kept.get(now.image_id, {}):
            # The window closes: there is nobody left to be told of a full disk.
            with suppress(ProjectError):
                write_pending(self._project, now.image_id, to_json(pending))

    def _write(self, image_id: str, pending: Pending, work: Work) -> None:
        self._is_writing = True

        def write(_progress: Any, _cancel: Any) -> None:
            with self._lock:
                if not self._closed:
                    write_pending(self._project, image_id, to_json(pending))

        def written(_: None) -> None:
            self._is_writing = False
            self._kept[image_id], self._work = pending, work
            self.save()  # what was done meanwhile

        def failed(error: Exception) -> None:
            # Not tried again before the next step; the person is told why.
            self._is_writing = False
            self._kept[image_id], self._work = pending, work
            self._store.fail(error)

        self._files.run(Job("Keeping the work", write), written, failed)
