"""Saves uncommitted work in the project folder after each step."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari_scsam.annotation.pending import (
    Pending,
    pending_of,
    read_back,
    to_json,
    unfinished_in,
    with_pending,
)
from napari_scsam.core.errors import INVALID, ProjectError
from napari_scsam.core.jobs import Job
from napari_scsam.project.pending import damaged, read_pending, write_pending

if TYPE_CHECKING:
    from napari_scsam.annotation.pending import Unfinished
    from napari_scsam.annotation.state import AnnotationState, StateStore
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
        # What was last compared with the project folder.
        self._seen: tuple[Work, Unfinished] | None = None
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
        self._store.begin_with(
            lambda work: with_pending(work, image_id, found), unfinished_in(found, image_id)
        )
        number = len(found)
        slices = "1 slice" if number == 1 else f"{number} slices"
        return f"Uncommitted work of the last session was restored on {slices}."

    def save(self) -> None:
        """Write the uncommitted work on the open image, if it has changed."""
        now = self._store.now
        image_id = now.image_id
        if image_id is None or self._project.read_only or self._is_writing or self._closed:
            return
        if self._is_seen(now) and image_id in self._saved:
            return
        pending = pending_of(now.work, now.unfinished, image_id)
        if pending == self._saved.get(image_id, {}):
            self._saved.setdefault(image_id, pending)
            self._seen = (now.work, now.unfinished)
            return
        self._write(image_id, pending, now)

    def close(self) -> None:
        """Write what is left now; writes that were queued before are dropped."""
        with self._lock:
            self._closed = True
        now = self._store.now
        if now.image_id is None or self._project.read_only:
            return
        pending = pending_of(now.work, now.unfinished, now.image_id)
        if pending != self._saved.get(now.image_id, {}):
            # The window closes, so an error, such as a full disk, can't be shown any more.
            with suppress(ProjectError):
                write_pending(self._project, now.image_id, to_json(pending))

    def _is_seen(self, now: AnnotationState) -> bool:
        seen = self._seen
        return seen is not None and now.work is seen[0] and now.unfinished is seen[1]

    def _write(self, image_id: str, pending: Pending, now: AnnotationState) -> None:
        self._is_writing, seen = True, (now.work, now.unfinished)

        def write(_progress: Any, _cancel: Any) -> None:
            with self._lock:
                if not self._closed:
                    write_pending(self._project, image_id, to_json(pending))

        def written(_: None) -> None:
            self._is_writing = False
            self._saved[image_id], self._seen = pending, seen
            self.save()  # later changes

        def failed(error: Exception) -> None:
            # Tried again after the next step; the error is shown.
            self._is_writing = False
            self._saved[image_id], self._seen = pending, seen
            self._store.fail(error)

        self._files.run(Job("Saving uncommitted work", write), written, failed)
