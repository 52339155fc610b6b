"""Saves uncommitted work in the project folder after each step."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari_scsam.annotation.pending import Pending, pending_of, read_back, to_json, with_pending
from napari_scsam.core.errors import INVALID, ProjectError
from napari_scsam.core.jobs import Job
from napari_scsam.project.pending import damaged, read_pending, write_pending

if TYPE_CHECKING:
    from napari_scsam.annotation.state import StateStore
    from napari_scsam.annotation.work import Work
    from napari_scsam.core.job_runner import JobRunner
    from napari_scsam.project import Project


class Autosave:
    """Writes uncommitted work whenever it has changed, and reads it back once per image.

    Parameters
    ----------
    project : Project
    files : JobRunner
        Writes one file after the other.
    store : StateStore
    """

    def __init__(self, project: Project, files: JobRunner, store: StateStore) -> None:
        self._project = project
        self._files = files
        self._store = store
        self._work: Work | None = None
        # What the project folder contains, for each image that was opened.
        self._saved: dict[str, Pending] = {}
        self._is_writing = False
        self._lock = threading.Lock()
        self._closed = False

    def read(self, image_id: str, shape: tuple[int, ...]) -> Pending | ProjectError | None:
        """Read the uncommitted work on an image, on a thread; None if it was opened before."""
        if image_id in self._saved or self._project.read_only:
            return None
        try:
            planes = read_pending(self._project, image_id)
        except ProjectError as error:
            return error
        try:
            return read_back(planes, shape)
        except INVALID:
            return damaged(self._project, image_id)

    def restore(self, image_id: str, found: Pending | ProjectError | None) -> str:
        """Restore the uncommitted work on an image; returns a message for the status line."""
        if found is None or isinstance(found, ProjectError):
            return ""
        self._saved[image_id] = found
        if not found:
            return ""
        self._store.begin_with(lambda work: with_pending(work, image_id, found))
        number = len(found)
        slices = "1 slice" if number == 1 else f"{number} slices"
        return f"Uncommitted work of the last session was restored on {slices}."

    def save(self) -> None:
        """Write the uncommitted work on the open image, if it has changed."""
        now = self._store.now
        image_id = now.image_id
        if image_id is None or self._project.read_only or self._is_writing or self._closed:
            return
        if now.work is self._work and image_id in self._saved:
            return
        pending = pending_of(now.work, image_id)
        if pending == self._saved.get(image_id, {}):
            self._saved.setdefault(image_id, pending)
            self._work = now.work
            return
        self._write(image_id, pending, now.work)

    def close(self) -> None:
        """Write what is left now; writes that were queued before are dropped."""
        with self._lock:
            self._closed = True
        now = self._store.now
        if now.image_id is None or self._project.read_only:
            return
        pending = pending_of(now.work, now.image_id)
        if pending != self._saved.get(now.image_id, {}):
            # The window closes, so an error, such as a full disk, can't be shown any more.
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
            self._saved[image_id], self._work = pending, work
            self.save()  # later changes

        def failed(error: Exception) -> None:
            # Tried again after the next step; the error is shown.
            self._is_writing = False
            self._saved[image_id], self._work = pending, work
            self._store.fail(error)

        self._files.run(Job("Saving uncommitted work", write), written, failed)
