"""Composes the annotation session of an open project, without Qt."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_scsam.annotation.autosave import Autosave
from napari_scsam.annotation.canvas import Canvas, CanvasListener
from napari_scsam.annotation.check_keeper import CheckKeeper
from napari_scsam.annotation.committed_label import CommittedLabel, LabelSaver
from napari_scsam.annotation.editor import PromptEditor
from napari_scsam.annotation.intensity_window import IntensityWindow
from napari_scsam.annotation.navigation import Navigation
from napari_scsam.annotation.opening import ImageOpener
from napari_scsam.annotation.outlines import Outlines
from napari_scsam.annotation.painting import Painting
from napari_scsam.annotation.propagation_job import PropagationJob
from napari_scsam.annotation.scene import Facts, Scene, resolve
from napari_scsam.annotation.state import AnnotationState, StateStore
from napari_scsam.annotation.suggestions import Suggestions
from napari_scsam.annotation.undo import UndoRedo
from napari_scsam.annotation.work_queue import WorkQueue
from napari_scsam.annotation.working_labels import WorkingLabels
from napari_scsam.core.errors import ScsamError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_scsam.annotation.view_state import Tool, ViewState
    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.geometry import SliceKey
    from napari_scsam.core.job_runner import JobRunner
    from napari_scsam.core.prompts import PromptSet
    from napari_scsam.inference.messages import SegmenterLike
    from napari_scsam.inference.previews import Previewer
    from napari_scsam.project import Project


class AnnotationController:
    """The annotation loop: suggest, correct, commit, next.

    On a click, the editor puts a state with one more prompt into the store. The store notifies
    the controller, which requests a mask, resolves the scene and renders it. The model's answer
    is another change of the store.

    Parameters
    ----------
    project : Project
    canvas : Canvas
    previewer : Previewer
    files : JobRunner
        Reads and writes the project; separate from the models, so that saving does not wait.
    on_change : callable
        Called with the new ViewState after every change.
    segmenter : SegmenterLike
        Propagates masks.
    carrier : JobRunner
        Runs the propagation; clicks are answered between its steps.

    Attributes
    ----------
    editor : PromptEditor
    painting : Painting
    navigation : Navigation
    outlines : Outlines
    window : IntensityWindow
    """

    def __init__(
        self,
        project: Project,
        canvas: Canvas,
        previewer: Previewer,
        files: JobRunner,
        on_change: Callable[[ViewState], None],
        *,
        segmenter: SegmenterLike,
        carrier: JobRunner,
    ) -> None:
        self._canvas = canvas
        state = AnnotationState(project.classes[0], round=project.active_round())
        self._store = store = StateStore(state, lambda: self._show(autosave))
        committed = CommittedLabel(project, files)
        autosave = Autosave(project, files, store)
        opener = ImageOpener(project, files, store, committed, autosave)
        self.window = IntensityWindow(project, files)
        working_labels = WorkingLabels(store, committed, previewer)
        self.outlines = Outlines(store, previewer, self.window, working_labels)
        self.editor = PromptEditor(
            store, working_labels, project.classes, read_only=project.read_only
        )
        self.painting = Painting(
            store,
            working_labels,
            project.classes,
            canvas.finish_stroke,
            read_only=project.read_only,
        )
        queue = WorkQueue(project, files, committed.second)
        checks = CheckKeeper(project, files, queue.order)
        self._suggestions = Suggestions(store, self.outlines, project.classes, checks)
        self.navigation = Navigation(
            project, files, store, opener, committed, self._suggestions.arrived, queue
        )
        self._saver = LabelSaver(
            store, committed, working_labels, self.outlines, self._suggestions, project.classes
        )
        self._undo_redo = UndoRedo(store, opener, committed)
        self._propagation = PropagationJob(
            project, store, committed, self.outlines, segmenter, carrier
        )
        self._presenter = _Presenter(
            project, store, self.outlines, working_labels, committed, self.window, canvas, on_change
        )
        canvas.listen(self._listener())

    def _listener(self) -> CanvasListener:
        editor = self.editor
        return CanvasListener(
            add_point=editor.add_point,
            move_point=editor.move_point,
            select_point=editor.select_point,
            select_line=editor.select_line,
            delete_selected=editor.delete_selected,
            set_box=editor.set_box,
            add_stroke=editor.add_stroke,
            set_vertices=self.painting.smooth.set_vertices,
            complete_outline=self.painting.smooth.complete,
            corners_changed=editor.corners_changed,
            plane_changed=self.navigation.plane_changed,
            paint=self.painting.paint,
            tool_changed=self._tool_changed,
            tell=self._store.say,
            undo=lambda: self._if_enabled("undo", self.undo),
            redo=lambda: self._if_enabled("redo", self.redo),
        )

    def _tool_changed(self, tool: Tool | None, blocked: str) -> None:
        self.painting.smooth.leave_for(tool)
        self.editor.tool_changed(tool, blocked)

    def _if_enabled(self, name: str, action: Callable[[], None]) -> None:
        """Do what the button of this name does, if it is enabled."""
        if name in self.view_state.enabled:
            action()

    def _show(self, autosave: Autosave) -> None:
        # Requested before drawing, so that the model works while the window draws.
        self.outlines.update()
        self._presenter.show()
        autosave.save()

    # ---------------------------------------------------------------- state

    @property
    def now(self) -> AnnotationState:
        """The present state."""
        return self._store.now

    @property
    def key(self) -> SliceKey | None:
        """(image id, Plane) displayed; None without an image or in the 3D view."""
        return self._store.now.key

    @property
    def prompts(self) -> PromptSet:
        """Prompts of the displayed plane."""
        return self._store.now.prompts

    @property
    def preview(self) -> LabelArray | None:
        """The displayed mask, uint8 (rows, cols), or None while there is none."""
        return self.outlines.preview

    @property
    def view_state(self) -> ViewState:
        """State of the dock."""
        return self._presenter.scene.dock

    def fail(self, error: Exception) -> None:
        """Show an error's message; an error other than `ScsamError` is a bug and is raised."""
        self._store.fail(error)

    # ---------------------------------------------------------------- the loop

    def suggest(self) -> None:
        """Request proposals from the active round."""
        self._suggestions.suggest()

    def pick_tool(self, tool: Tool) -> None:
        """Pick a tool, and make it the one that receives the mouse."""
        self._canvas.finish_stroke()
        self.painting.smooth.leave_for(tool)
        self.editor.set_tool(tool)
        self._canvas.activate_tool()

    def commit(self, *, others_open: bool = False) -> None:
        """Save the displayed mask as the plane's label; without a mask, save it as empty.

        With `others_open`, classes that are not on the plane are recorded as not annotated yet,
        rather than as absent.
        """
        self.painting.finish()
        self.painting.smooth.give_up()
        self._saver.commit(others_open=others_open)

    def accept_and_next(self, *, others_open: bool = False) -> None:
        """Accept and commit the displayed mask, then go to the next draft or open plane.

        After a flagged draft, the flagged ones come first. With `others_open`, classes that are not
        on the plane are recorded as not annotated yet, rather than as absent.
        """
        self.painting.finish()
        now = self._store.now
        if now.key is None:
            return
        if now.is_untouched and not self._suggestions.found_nothing(now.key):
            said = (
                "Nothing to accept yet. Click the structure, press G for suggestions, or K to skip."
            )
            self._store.say(said)
            return
        self.painting.smooth.give_up()
        flagged = now.draft is not None and bool(now.draft.flag)
        self._saver.commit(lambda: self._go_on(flagged_first=flagged), others_open=others_open)

    def _go_on(self, *, flagged_first: bool) -> None:
        """Go to the next draft or open plane, unless the saved one was edited meanwhile."""
        self.painting.finish()
        if self._store.now.is_untouched and self._store.now.outline is None:
            self.navigation.next_draft(flagged_first=flagged_first)

    def commit_drafts(self, *, others_open: bool = False) -> None:
        """Commit all drafts of the open image that are not flagged, as one version.

        With `others_open`, classes that are not on a slice are recorded as not annotated yet
        there, rather than as absent.
        """
        self.painting.finish()
        self._saver.commit_drafts(others_open=others_open)

    def next_to_check(self) -> None:
        """Go to where propagation stopped, to the next question here, or to a flagged draft."""
        if self.navigation.next_stop():
            return
        if self.editor.has_question or not self.navigation.next_flagged():
            self.editor.next_question()

    def set_axis(self, axis: int) -> None:
        """Show the image along another axis, at the same position."""
        self.navigation.set_axis(axis, self._canvas.index_along(axis))

    def propagate(self) -> None:
        """Propagate the masks of this plane and of the committed ones, or stop doing so."""
        self._propagation.start_or_stop()

    def undo(self) -> None:
        """Undo the last step, whichever image and plane it was made on.

        Of an unfinished outline, the last vertex is removed.
        """
        if not (self.painting.smooth.remove_vertex() or self._canvas.remove_corner()):
            self._undo_redo.undo()

    def redo(self) -> None:
        """Redo the step that was undone last."""
        self._undo_redo.redo()

    def close(self) -> None:
        """Stop running work, and save uncommitted work for the next session."""
        self._canvas.finish_stroke()
        self._propagation.close()
        self.navigation.close()

    # ---------------------------------------------------------------- models and windows

    def set_window(self, name: str) -> None:
        """Choose another intensity window; uncommitted masks are computed again with it."""
        try:
            message = self.window.choose(name, self._store.fail)
        except ScsamError as error:
            self._store.fail(error)
            return
        self.outlines.forget()
        self._store.say(message, elsewhere=True)

    def round_changed(self) -> None:
        """Switch to the project's active round."""
        active = self.window.use_active_round()
        self._suggestions.forget()
        # A mask from another round's models must not be committed as this round's.
        self.outlines.forget()
        # The last message here must not hide the message about the round.
        self._store.put(replace(self._store.now.saying(""), round=active))

    def use_tuned(self, folder: Path | None, redraw: bool = False) -> None:
        """Answer further clicks with a tuned SAM; None for the shipped one.

        The displayed mask is not computed again, unless `redraw` is set.
        """
        now = self._store.now
        if folder == now.tuned:
            return
        if redraw and self.outlines.waiting:
            # The message is about a request that is dropped here.
            now = replace(now, status=replace(now.status, message=""))
        if redraw:
            self.outlines.forget()
        self._suggestions.forget()
        self._store.put(replace(now, tuned=folder))


class _Presenter:
    """Resolves scenes and has them drawn.

    Parameters
    ----------
    project : Project
    store : StateStore
    outlines : Outlines
    working_labels : WorkingLabels
    committed : CommittedLabel
    window : IntensityWindow
    canvas : Canvas
        Draws the scene.
    on_change : callable
        Called with the state of the dock.
    """

    def __init__(
        self,
        project: Project,
        store: StateStore,
        outlines: Outlines,
        working_labels: WorkingLabels,
        committed: CommittedLabel,
        window: IntensityWindow,
        canvas: Canvas,
        on_change: Callable[[ViewState], None],
    ) -> None:
        self._classes = project.classes
        self._read_only = project.read_only
        self._store = store
        self._outlines = outlines
        self._working_labels = working_labels
        self._committed = committed
        self._window = window
        self._canvas = canvas
        self._on_change = on_change
        self.scene = Scene()

    def show(self) -> None:
        """Resolve the scene and render it."""
        self.scene = scene = resolve(self._facts(), self.scene)
        self._canvas.render(scene)
        self._on_change(scene.dock)

    def _facts(self) -> Facts:
        now = self._store.now
        return Facts(
            now,
            self._classes,
            self._outlines.answers,
            committed=self._committed.array,
            is_committed=now.plane is not None and self._committed.has(now.plane),
            base=None if now.plane is None else self._working_labels.committed(now.plane),
            annotated=self._committed.annotated,
            contrast=None if now.image is None else self._window.contrast(now.image.volume),
            can_undo=self._store.can_undo,
            can_redo=self._store.can_redo,
            read_only=self._read_only,
            is_waiting=self._outlines.waiting,
        )
