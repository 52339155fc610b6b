"""What the dock does with the files of the open project: images, classes, export."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari_scsam._qt.dialogs import ask_images_or_folder, ask_to_add, ask_to_replace
from napari_scsam.core.errors import Cancelled, FileThereError
from napari_scsam.core.jobs import Job
from napari_scsam.project.export import export_labels
from napari_scsam.workflows import projects

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from qtpy.QtWidgets import QWidget

    from napari_scsam._qt.reading_panel import ReadingPanel
    from napari_scsam._qt.session import Session
    from napari_scsam.core.job_runner import JobRunner, OnFailed
    from napari_scsam.core.labels import LabelClass
    from napari_scsam.core.settings import ExportFormat
    from napari_scsam.workflows.projects import FoundImages


class ProjectEdits:
    """Changes a project on the thread for files, and shows the result.

    Parameters
    ----------
    parent : QWidget
        Parent of dialogs.
    files : JobRunner
    reading : ReadingPanel
        Reads images, and shows how far it is.
    session : callable
        Returns the open session; None if there is none.
    say : callable
        Shows a message.
    fail : callable
        Shows an error.
    """

    def __init__(
        self,
        parent: QWidget,
        files: JobRunner,
        reading: ReadingPanel,
        session: Callable[[], Session | None],
        say: Callable[[str], None],
        fail: OnFailed,
    ) -> None:
        self._parent, self._files, self._session = parent, files, session
        self._say, self._fail = say, fail
        self._reading = reading

    def choose_images(self, below: QWidget) -> None:
        """Open a menu below a button to choose images, or a folder of them."""
        ask_images_or_folder(below, self._parent, self.count_images)

    def count_images(self, paths: Sequence[Path]) -> None:
        """Count the images in files and folders, and ask whether they are added."""

        def counted(found: FoundImages) -> None:
            self._say(f"{found.text}.")
            ask_to_add(self._parent, found.text, lambda: self.add_images(found.paths))

        self._run("Counting images", lambda: projects.find_images(paths), counted)

    def add_images(self, paths: Sequence[Path]) -> None:
        """Add image files to the project."""
        session = self._session()
        if session is None:
            return
        project = session.project

        def add(progress: Callable[[int, int], None]) -> tuple[int, int]:
            before = len(project.images())
            ids = project.add_images(list(paths), progress=progress)
            return len(set(ids)), len(project.images()) - before

        def added(counts: tuple[int, int]) -> None:
            if self._session() is not session:
                return
            given, new = counts
            there = given - new
            already = f" {there} {'was' if there == 1 else 'were'} in the project already."
            self._say(f"Added {_images(new)}.{already if there else ''}")
            session.listed.refresh()
            session.rounds.labels_changed()

        def failed(error: Exception) -> None:
            if isinstance(error, Cancelled):
                self._say("Cancelled: no image was added.")
            else:
                self._fail(error)

        self._say(f"Adding {_images(len(paths))}: reading each once …")
        self._reading.run(self._reading.runner, "Adding images", add, added, failed)

    def change_classes(self, classes: Sequence[LabelClass], then: Callable[[Path], None]) -> None:
        """Change names and colours, or add classes; `then` opens the project again."""
        session = self._session()
        if session is None:
            return
        project = session.project
        self._run(
            "Changing the classes",
            lambda: project.change(classes=classes),
            lambda _: then(project.folder),
        )

    def export_to(
        self, folder: str | Path, format: ExportFormat, *, overwrite: bool = False
    ) -> None:
        """Write the committed labels into `folder`; asks before it replaces files."""
        session = self._session()
        if session is None:
            return
        project = session.project

        def done(paths: list[Path]) -> None:
            count = f"{len(paths)} file{'' if len(paths) == 1 else 's'}"
            self._say(f"Exported {count} to {folder}, each read back and identical.")

        def failed(error: Exception) -> None:
            if not isinstance(error, FileThereError):
                return self._fail(error)
            self._say("Nothing was exported yet.")
            again = partial(self.export_to, folder, format, overwrite=True)
            ask_to_replace(self._parent, error.paths, again)

        def work(_progress: Any, _cancel: Any) -> list[Path]:
            return export_labels(project, folder, format, overwrite=overwrite)

        self._say("Exporting …")
        self._files.run(Job("Exporting", work), done, failed)

    def _run(self, name: str, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        self._files.run(Job(name, lambda _progress, _cancel: work()), done, self._fail)


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"
