"""The dock: composition root of the plugin, and the manifest's first widget."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QWidget

from napari_scsam._napari.layers import prepare_napari
from napari_scsam._napari.open_scans import open_scans
from napari_scsam._qt.dialogs import ask_export, ask_folder, browse_for
from napari_scsam._qt.job_runner import Runners
from napari_scsam._qt.key_actions import key_actions
from napari_scsam._qt.key_sheet import KeySheet
from napari_scsam._qt.keymap import Keymap, main_window
from napari_scsam._qt.layout import DockLayout
from napari_scsam._qt.on_demand import OnDemand
from napari_scsam._qt.other_classes import OtherClasses
from napari_scsam._qt.progress_presenter import ProgressPresenter
from napari_scsam._qt.project_edits import ProjectEdits
from napari_scsam._qt.project_panel import NewProject
from napari_scsam._qt.queue_presenter import QueuePresenter
from napari_scsam._qt.session import Session
from napari_scsam._qt.window_watch import CloseWatch, is_open_in_another
from napari_scsam.annotation.view_state import ViewState
from napari_scsam.core.errors import Cancelled, ScsamError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.jobs import Job
from napari_scsam.inference.process_client import SegmenterProcess
from napari_scsam.rounds.shown_rounds import RoundsState
from napari_scsam.rounds.tuning import TuningState
from napari_scsam.workflows import projects

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qtpy.QtGui import QCloseEvent

    from napari_scsam.core.settings import ExportFormat, Modality
    from napari_scsam.inference.messages import SegmenterLike
    from napari_scsam.project import Project
    from napari_scsam.project.open_layers import OpenScan

# Time until napari's imports begin in the background: they would hold up the dock while it is
# being opened (0.4 s instead of 0.1). Arbitrary.
PREPARE_MS = 500
ELSEWHERE = "Another SC-SAM panel of this window has a project open: use that one, or close it."


class ScsamDock(QWidget):
    """Suggest, correct, commit and co-train beside a napari viewer.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    segmenter : callable, optional
        Creates the segmenter of a project from its cache folder and the cache's size limit in
        GB. Tests replace it.
    """

    def __init__(
        self,
        napari_viewer: Any,
        *,
        segmenter: Callable[[Path, float], SegmenterLike] = SegmenterProcess,
    ) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._make_segmenter = segmenter
        self.session: Session | None = None
        self._runners = Runners.of(self)
        self._keys: Keymap | None = None
        self._closing: CloseWatch | None = None
        self._others: OtherClasses | None = None
        self._parts = DockLayout(self)
        self._edits = ProjectEdits(
            self,
            self._runners.files,
            self._parts.foot.reading,
            lambda: self.session,
            self._say,
            self._fail,
        )
        self.images = QueuePresenter(
            self._parts.queue, lambda: self.session, self._runners.files, self._say
        )
        self.progress = ProgressPresenter(
            self._parts.progress, lambda: self.session, lambda: self._press_training("train")
        )
        self._on_demand = OnDemand(self, self._parts, lambda: self.session, self._say)
        self._connect()
        self._show_project(None)
        self._say("Ready.")
        QTimer.singleShot(PREPARE_MS, self._prepare_layers)

    def _prepare_layers(self) -> None:
        if self.session is None:  # napari can't make its first layers twice at the same time
            job = Job("Preparing napari's layers", lambda _progress, _cancel: prepare_napari())
            self._runners.files.run(job, lambda _: None, self._fail)

    def _connect(self) -> None:
        parts = self._parts
        parts.bar.pressed.connect(self._press_bar)
        parts.welcome.sample_wanted.connect(self.open_sample)
        parts.form.submitted.connect(self._create)
        parts.form.cancelled.connect(lambda: self._show_form(False))
        browse_for(self, parts.form)
        parts.annotate.pressed.connect(self.press)
        parts.annotate.editor.saved.connect(
            lambda classes: self._edits.change_classes(classes, self.open_project_folder)
        )
        parts.annotate.class_picked.connect(lambda c: self._with(lambda a: a.editor.set_class(c)))
        parts.annotate.tool_picked.connect(lambda t: self._with(lambda a: a.pick_tool(t)))
        parts.annotate.over_picked.connect(lambda o: self._with(lambda a: a.editor.set_over(o)))
        parts.annotate.others_picked.connect(self._leave_others)
        parts.annotate.axis_picked.connect(lambda axis: self._with(lambda a: a.set_axis(axis)))
        parts.annotate.window_box.picked.connect(self._pick_window)
        parts.training.pressed.connect(self._press_training)
        parts.training.form.changed.connect(self._plan_round)
        parts.training.ticked.connect(lambda: self._in_session(lambda s: s.rounds.tick()))
        parts.tuning.ticked.connect(lambda: self._in_session(lambda s: s.tuning.tick()))
        parts.tuning.switched.connect(lambda on: self._in_session(lambda s: s.tuning.set_use(on)))

    # ---------------------------------------------------------------- projects

    def open_project_folder(self, path: str | Path) -> None:
        """Open a project folder instead of the open one; read-only if it is open elsewhere."""
        found = Path(path)
        self._open(lambda _: projects.open_project(found), "Opening the project …", found)

    def create_project(
        self,
        folder: str | Path,
        classes: Sequence[str],
        images: Sequence[str | Path],
        modality: Modality = "other",
    ) -> None:
        """Create a project, add images to it and open it."""
        self._create(
            NewProject(Path(folder), tuple(classes), tuple(map(Path, images)), (), modality)
        )

    def open_sample(self) -> None:
        """Open the sample project, creating it if there is none."""
        found = projects.sample_folder()
        self._open(lambda _: projects.open_sample(), "Creating the sample project …", found)

    def use_open_layers(self) -> None:
        """Add the open image layers to the project, or to the form of a new one."""
        ours = [] if self.session is None else self.session.canvas.layers.values()
        found = open_scans(self._viewer, ours)
        if not found:
            self._say("No other image layer is open.", error=True)
            return
        for layer, _ in found:
            layer.visible = False
        scans = [scan for _, scan in found]
        if self.session is None:
            self._show_form(True, scans)
        else:
            self._add_scans(self.session, scans)

    def _add_scans(self, session: Session, scans: list[OpenScan]) -> None:
        def added(ids: list[str]) -> None:
            session.listed.refresh()
            session.annotation.navigation.open_image(ids[0])

        job = Job("Adding", lambda _p, _c: projects.add_scans(session.project, scans))
        self._runners.files.run(job, added, self._fail)

    def _create(self, wanted: NewProject) -> None:
        self._open(
            lambda progress: projects.create_project(**vars(wanted), progress=progress),
            "Creating the project: reading every image once …",
        )

    def _open(
        self, make: Callable[[Any], Project], message: str, folder: Path | None = None
    ) -> None:
        if is_open_in_another(self):
            self._say(ELSEWHERE, error=True)
            return
        self._say(message)
        self._parts.foot.reading.cancel()
        # Any other project stays open until the new one is: it may turn out to be none.
        if self.session is not None and folder is not None and self.session.is_in(folder):
            self.close_project()
        self._parts.foot.reading.run(self._runners.files, message, make, self._opened, self._fail)

    def _opened(self, project: Project) -> None:
        self.close_project()
        self.session = Session(
            self._viewer,
            project,
            self._runners,
            self,
            self._make_segmenter(project.folder / "cache" / "embeddings", project.cache_gb),
        )
        self._show_project(project)
        self._others = OtherClasses(project, self._runners.files, self._fail)
        self._parts.annotate.show_others(self._others.is_open)
        self._plan_round()
        chosen = self.session.annotation.window
        self._parts.annotate.window_box.show_window(chosen.chosen, chosen.choices)
        keys = key_actions(self.press, self._with) | {"/": self._parts.queue.find}
        self._keys = Keymap(main_window(self), keys)
        self._closing = CloseWatch(main_window(self), self.shut_down)
        self.session.begin()
        if project.notes:
            self._say(" ".join(project.notes), error=True)

    def close_project(self) -> None:
        """Close the open project, if there is one, and remove its layers."""
        self._parts.foot.reading.cancel()
        if self._keys is not None:
            self._keys.close()
            self._keys = None
        if self._closing is not None:
            self._closing.deleteLater()
            self._closing = None
        self._on_demand.close()
        if self.session is not None:
            self.session.close()
            self.session = self._others = None
            self._show_project(None)

    def export_to(
        self, folder: str | Path, format: ExportFormat, *, overwrite: bool = False
    ) -> None:
        """Write the committed labels into `folder`; asks before it replaces files."""
        self._edits.export_to(folder, format, overwrite=overwrite)

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """Stop the jobs and close the project. A running round continues by itself."""
        self.shut_down()
        super().closeEvent(event)

    def changeEvent(self, event: QEvent | None) -> None:
        """Close the project when napari's X takes the dock out of its window."""
        super().changeEvent(event)
        taken_out = event is not None and event.type() == QEvent.Type.ParentChange
        if taken_out and self.parentWidget() is None:
            self.close_project()

    def shut_down(self) -> None:
        """Stop the jobs and close the project; may be called twice."""
        if self.session is not None:
            self.session.segmenter.close()  # so that no decode in progress is waited for
        self._parts.foot.reading.runner.close()
        self._runners.close()
        self.close_project()

    # ---------------------------------------------------------------- presses and keys

    def press(self, name: str) -> None:
        """Do what the button with this object name does."""
        if name == "keys":
            KeySheet(self).show()
            return
        actions: dict[str, Callable[[Any], Any]] = {
            "suggest": lambda a: a.suggest(),
            "accept_next": lambda a: a.accept_and_next(others_open=self._others_open(a.now.plane)),
            "accept_all": lambda a: a.editor.accept_all(),
            "reject": lambda a: a.editor.reject(),
            "commit": lambda a: a.commit(others_open=self._others_open(a.now.plane)),
            "skip": lambda a: a.navigation.skip(),
            "undo": lambda a: a.undo(),
            "redo": lambda a: a.redo(),
            "new_object": lambda a: a.editor.new_object(),
            "propagate": lambda a: a.propagate(),
            "commit_drafts": lambda a: a.commit_drafts(others_open=self._others_open(Plane())),
        }
        if self.session is not None and name in self.session.annotation.view_state.enabled:
            actions[name](self.session.annotation)

    def _others_open(self, plane: Plane | None) -> bool:
        return self._others is not None and self._others.open_on(plane)

    def _leave_others(self, is_open: bool) -> None:
        if self._others is not None:
            self._others.leave_open(is_open)

    def _plan_round(self) -> None:
        """Show the cost of a round with the settings in the form, if they are valid."""
        if self.session is not None:
            with suppress(ScsamError):
                self.session.rounds.plan(self._parts.training.form.settings())

    def _press_training(self, name: str) -> None:
        if self.session is None:
            return
        rounds, panel = self.session.rounds, self._parts.training
        if name == "train":
            try:
                rounds.start(panel.form.settings())
            except ScsamError as error:
                self._fail(error)
        elif name == "pause_train":
            rounds.pause_or_resume()
        elif name == "cancel_train":
            rounds.cancel()
        elif name == "rollback":
            rounds.rollback()
        elif name == "promote" and panel.selected_round is not None:
            rounds.promote(panel.selected_round)

    def _press_bar(self, name: str) -> None:
        if name == "open_project":
            ask_folder(self, "Open a project folder", self.open_project_folder)
        elif name == "new_project":
            self._show_form(True)
        elif name == "use_open_layers":
            self.use_open_layers()
        elif name == "add_images":
            self._edits.choose_images(self._parts.bar.add_button)
        else:
            ask_export(self._parts.bar.export_button, self, self.export_to)

    def _in_session(self, action: Callable[[Session], None]) -> None:
        if self.session is not None:
            action(self.session)

    def _with(self, action: Callable[[Any], None]) -> None:
        if self.session is not None:
            action(self.session.annotation)

    # ---------------------------------------------------------------- showing

    def show_state(self, state: ViewState) -> None:
        """Show what can be done now, and the latest message."""
        self._parts.annotate.show_state(state)
        self._parts.foot.status.follow(
            state.status, state.said, error=state.is_error, lasts=state.lasts
        )

    def show_rounds(self, state: RoundsState) -> None:
        """Show the state of the rounds."""
        self._parts.training.show_state(state)
        if state.message or state.error:
            self._say(state.error or state.message, error=bool(state.error))

    def show_tuning(self, state: TuningState) -> None:
        """Show whether SAM is tuned on the labels, and the result."""
        self._parts.tuning.show_state(state)
        if state.message:
            self._say(state.message)

    def show_machine(self, text: str) -> None:
        """Show which models run on which device, or what they do."""
        self._parts.foot.machine.setText(text)

    def _pick_window(self, name: str) -> None:
        if self.session is not None:
            self.session.annotation.set_window(name)
            self.session.look_again()

    def pick_class(self, position: int) -> None:
        """Pick the class at `position` of the list."""
        self._parts.annotate.pick_class(position)

    def _show_project(self, project: Project | None) -> None:
        self._parts.show_project(project)
        if project is None:
            self._parts.annotate.show_state(ViewState(frozenset(), "", "", "", False))
            self._parts.training.show_state(RoundsState())
            self._parts.tuning.show_state(TuningState())

    def _show_form(self, shown: bool, layers: Sequence[OpenScan] = ()) -> None:
        self._parts.form.set_layers(layers)
        self._parts.show_form(shown)

    def _say(self, text: str, error: bool = False) -> None:
        self._parts.foot.status.say(text, error=error)

    def _fail(self, error: Exception) -> None:
        cancelled = isinstance(error, Cancelled)
        self._say("Cancelled." if cancelled else str(error), error=not cancelled)
        if not isinstance(error, ScsamError):
            raise error
