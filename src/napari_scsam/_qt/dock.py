"""The dock: composition root of the plugin, and the manifest's first widget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import QScrollArea, QVBoxLayout, QWidget

from napari_scsam._qt.annotate_panel import AnnotatePanel
from napari_scsam._qt.job_runner import ThreadJobRunner
from napari_scsam._qt.keymap import Keymap
from napari_scsam._qt.queue_panel import QueuePanel
from napari_scsam._qt.session import Session
from napari_scsam._qt.widgets import text_label
from napari_scsam.controllers.inference import Segmenter
from napari_scsam.controllers.queue import QueueRow
from napari_scsam.controllers.view_state import ViewState
from napari_scsam.core.errors import ScsamError
from napari_scsam.core.jobs import Job
from napari_scsam.core.settings import Modality
from napari_scsam.project import Project


class ScsamDock(QWidget):
    """Suggest, correct, commit and co-train beside a napari viewer.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    segmenter : callable, optional
        Makes the Segmenter of a project, given its cache folder; a stand-in for tests.
    """

    def __init__(
        self, napari_viewer: Any, *, segmenter: Callable[[Path], Segmenter] = Segmenter
    ) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._make_segmenter = segmenter
        self.session: Session | None = None
        self._inference = ThreadJobRunner("scsam-inference", self)
        self._files = ThreadJobRunner("scsam-files", self)
        self._queue = QueuePanel()
        self._annotate = AnnotatePanel()
        self._status = text_label("status", selectable=True)
        self._lay_out()
        self._connect()
        self._keys: Keymap | None = None
        self._say("Ready.")

    def _lay_out(self) -> None:
        body = QWidget()
        column = QVBoxLayout(body)
        column.setContentsMargins(6, 6, 6, 6)
        column.addWidget(self._queue, 1)
        column.addWidget(self._annotate)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(body)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(scroll, 1)
        layout.addWidget(self._status)
        self.setMinimumWidth(280)

    def _connect(self) -> None:
        self._queue.picked.connect(lambda image_id: self._with(lambda a: a.open_image(image_id)))
        self._annotate.pressed.connect(self.press)
        self._annotate.class_picked.connect(lambda c: self._with(lambda a: a.set_class(c)))
        self._annotate.tool_picked.connect(lambda t: self._with(lambda a: a.set_tool(t)))

    # ---------------------------------------------------------------- projects

    def open_project_folder(self, path: str | Path) -> None:
        """Open a project folder in place of the one before."""
        self._open(lambda: Project.open(path), "Opening the project …")

    def create_project(
        self,
        folder: str | Path,
        classes: Sequence[str],
        images: Sequence[str | Path],
        modality: Modality = "other",
    ) -> None:
        """Make a project, add images to it and open it."""

        def make() -> Project:
            project = Project.create(folder, classes, modality=modality)
            try:
                if images:
                    project.add_images(images)
            except ScsamError:
                project.close()
                raise
            return project

        self._open(make, "Making the project: reading every image once …")

    def _open(self, make: Callable[[], Project], message: str) -> None:
        self.close_project()
        self._say(message)
        self._files.run(Job(message, lambda _p, _c: make()), self._opened, self._fail)

    def _opened(self, project: Project) -> None:
        self.session = Session(
            self._viewer,
            project,
            self._inference,
            self._files,
            self._show_state,
            self._show_rows,
            self._make_segmenter(project.folder / "cache"),
        )
        self._annotate.set_classes(project.classes)
        self._keys = Keymap(self.window(), self._key_actions())
        self.session.open_first()

    def close_project(self) -> None:
        """Close the open project, if there is one."""
        if self._keys is not None:
            self._keys.close()
            self._keys = None
        if self.session is not None:
            self.session.close()
            self.session = None

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """Stop the jobs and close the project; a running round goes on by itself."""
        self.shut_down()
        super().closeEvent(event)

    def shut_down(self) -> None:
        """Stop the jobs and close the project; harmless when done before."""
        self._inference.close()
        self._files.close()
        self.close_project()

    # ---------------------------------------------------------------- the loop

    def press(self, name: str) -> None:
        """Do what the button with this object name does."""
        actions = {
            "suggest": lambda a: a.suggest(),
            "accept_next": lambda a: a.accept_and_next(),
            "accept_all": lambda a: a.accept_all(),
            "reject": lambda a: a.reject(),
            "commit": lambda a: a.commit(),
            "skip": lambda a: a.skip(),
            "undo": lambda a: a.undo(),
            "redo": lambda a: a.redo(),
        }
        if self.session is not None and name in self.session.annotation.view_state.enabled:
            actions[name](self.session.annotation)

    def _key_actions(self) -> dict[str, Callable[[], Any]]:
        pressed = {
            "J": "accept_next", "K": "skip", "G": "suggest", "U": "undo", "Shift+U": "redo",
        }  # fmt: skip
        actions: dict[str, Callable[[], Any]] = {
            key: lambda name=name: self.press(name) for key, name in pressed.items()
        }
        return actions | {
            "H": lambda: self._with(lambda a: a.previous()),
            "N": lambda: self._with(lambda a: a.next_question()),
            "Q": lambda: self._with(lambda a: a.answer(True)),
            "W": lambda: self._with(lambda a: a.answer(False)),
        }

    def _with(self, action: Callable[[Any], None]) -> None:
        if self.session is not None:
            action(self.session.annotation)

    # ---------------------------------------------------------------- showing

    def _show_state(self, state: ViewState) -> None:
        self._annotate.show_state(state)
        self._say(state.status or "Ready.", error=state.is_error)

    def _show_rows(self, rows: list[QueueRow], current: str | None) -> None:
        self._queue.show_rows(rows)
        self._queue.show_current(current)

    def _say(self, text: str, *, error: bool = False) -> None:
        self._status.setText(text)
        self._status.setProperty("error", error)

    def _fail(self, error: Exception) -> None:
        self._say(str(error), error=True)
        if not isinstance(error, ScsamError):
            raise error
