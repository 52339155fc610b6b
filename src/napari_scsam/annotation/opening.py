"""Opens images of the project: reads them on a thread, then shows a plane."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_scsam.annotation.committed_label import annotated_planes
from napari_scsam.annotation.earlier_versions import (
    Version,
    earlier_versions,
    extend_history,
)
from napari_scsam.annotation.state import OpenImage, Selection, StateStore
from napari_scsam.core.errors import ProjectError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam.annotation.autosave import Autosave
    from napari_scsam.annotation.committed_label import CommittedLabel
    from napari_scsam.annotation.pending import Pending
    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.job_runner import JobRunner
    from napari_scsam.core.volume import Volume
    from napari_scsam.project import ImageRecord, Project


@dataclass(frozen=True, eq=False)
class _Read:
    """What is read to open an image."""

    volume: Volume
    label: LabelArray | None
    version: int | None
    annotated: frozenset[int]
    pending: Pending | ProjectError | None
    versions: tuple[Version, ...]


class ImageOpener:
    """Shows images of a project.

    Parameters
    ----------
    project : Project
    files : JobRunner
        Reads the images.
    store : StateStore
    committed : CommittedLabel
        Switched to the opened image.
    autosave : Autosave
        Has the uncommitted work of the last session.
    """

    def __init__(
        self,
        project: Project,
        files: JobRunner,
        store: StateStore,
        committed: CommittedLabel,
        autosave: Autosave,
    ) -> None:
        self._project = project
        self._files = files
        self._store = store
        self._committed = committed
        self._autosave = autosave
        self._notes_shown = False

    def open(
        self,
        image_id: str,
        plane: Plane | None = None,
        then: Callable[[], None] | None = None,
        *,
        again: bool = False,
    ) -> None:
        """Show an image at `plane` or at its middle, then call `then`.

        With `again`, it and its label are read anew although it is open.
        """
        now = self._store.now
        if now.is_open(image_id) and not again:
            self._store.put(now.at(plane or now.plane or Plane()))
            if then is not None:
                then()
            return
        record = self._project.image(image_id)

        def read(_progress: Any, _cancel: Any) -> _Read:
            second = self._committed.second
            volume, label = self._project.volume(image_id), second.label(image_id)
            no_steps = self._project.read_only or second.is_on  # of others, which are hidden
            return _Read(
                volume,
                label,
                self._project.label_version(image_id),
                annotated_planes(label),
                self._autosave.read(image_id, volume.shape),
                () if no_steps else earlier_versions(self._project, image_id),
            )

        def opened(result: _Read) -> None:
            self._committed.open(image_id, result.label, result.version, result.annotated)
            said = self._autosave.restore(image_id, result.pending)
            extend_history(self._store, image_id, result.versions)
            self._show(record, result.volume, plane, said or "Ready.")
            self._show_notes()
            if isinstance(result.pending, ProjectError):
                self._store.fail(result.pending)
            if then is not None:
                then()

        self._store.put(now.doing("opening", f"Opening {record.name} …"))
        self._files.run(Job(f"Opening {record.name}", read), opened, self._store.fail)

    def close(self) -> None:
        """Save uncommitted work for the next session."""
        self._autosave.close()

    def _show_notes(self) -> None:
        """Show what failed when the project was opened: once, or for each image if read-only."""
        notes = self._project.notes
        if notes and (self._project.read_only or not self._notes_shown):
            self._store.fail(ProjectError(" ".join(notes)))
        self._notes_shown = True

    def _show(self, record: ImageRecord, volume: Volume, plane: Plane | None, said: str) -> None:
        middle = 0 if volume.ndim == 2 else volume.shape[0] // 2
        now = replace(
            self._store.now,
            image=OpenImage(record.id, record.name, volume),
            plane=plane or Plane(0, middle),
            selection=Selection(),
            active_objects={},
        )
        self._store.put(now.doing("", said, elsewhere=True))
