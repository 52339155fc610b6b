"""One open project with one image on show: puts together what works on it, without Qt."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_scsam.annotation.canvas import Canvas, CanvasListener
from napari_scsam.annotation.committed_label import CommittedLabel, LabelSaver
from napari_scsam.annotation.editor import PromptEditor
from napari_scsam.annotation.grounds import Grounds
from napari_scsam.annotation.intensity_window import IntensityWindow
from napari_scsam.annotation.keeping import Keeper
from napari_scsam.annotation.navigation import Navigation
from napari_scsam.annotation.opening import ImageOpener
from napari_scsam.annotation.outlines import Outlines
from napari_scsam.annotation.painting import Painting
from napari_scsam.annotation.propagation_job import PropagationJob
from napari_scsam.annotation.scene import Facts, Scene, resolve
from napari_scsam.annotation.state import AnnotationState, StateStore
from napari_scsam.annotation.suggestions import Suggestions
from napari_scsam.annotation.undoing import Undoing
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
    """The annotation loop: suggest, correct, commit, go on.

    A click's life: the editor puts a state with one more prompt into the store. The store
    tells the controller, which has the outline asked for, resolves the scene and has it drawn.
    The answer is another change of the store.

    Parameters
    ----------
    project : Project
    canvas : Canvas
    previewer : Previewer
    files : JobRunner
        Reads and writes the project, so that saving never waits behind the model.
    on_change : callable
        Called with the new ViewState after every change.
    segmenter : SegmenterLike
        What masks are propagated with.
    carrier : JobRunner
        Where they are propagated, so that clicks are answered in between.

    Attributes
    ----------
    editor : PromptEditor
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
        self._project = project
        self._canvas = canvas
        state = AnnotationState(project.classes[0], round=project.active_round())
        self._store = store = StateStore(state, lambda: self._show(keeper))
        committed = CommittedLabel(project, files)
        keeper = Keeper(project, files, store)
        opener = ImageOpener(project, files, store, committed, keeper)
        self.window = IntensityWindow(project, files)
        grounds = Grounds(store, committed, previewer)
        self.outlines = Outlines(store, previewer, self.window, grounds)
        self.editor = PromptEditor(store, grounds, project.classes, read_only=project.read_only)
        painting = Painting(store, grounds, project.classes, read_only=project.read_only)
        self._suggestions = Suggestions(store, self.outlines, project.classes)
        self.navigation = Navigation(
            project, files, store, opener, committed, self._suggestions.arrived
        )
        self._saver = LabelSaver(
            store, committed, grounds, self.outlines, self._suggestions, project.classes
        )
        self._undoing = Undoing(store, opener, committed)
        self._propagation = PropagationJob(
            project, store, committed, self.outlines, segmenter, carrier
        )
        self._presenter = _Presenter(
            project, store, self.outlines, grounds, committed, self.window, canvas, on_change
        )
        canvas.listen(self._listener(painting))

    def _listener(self, painting: Painting) -> CanvasListener:
        editor = self.editor
        return CanvasListener(
            add_point=editor.add_point,
            move_point=editor.move_point,
            select_point=editor.select_point,
            select_line=editor.select_line,
            delete_selected=editor.delete_selected,
            set_box=editor.set_box,
            add_stroke=editor.add_stroke,
            plane_changed=self.navigation.plane_changed,
            paint=painting.paint,
            hand_changed=editor.hand_changed,
            undo=lambda: self._if_enabled("undo", self.undo),
            redo=lambda: self._if_enabled("redo", self.redo),
        )

    def _if_enabled(self, name: str, action: Callable[[], None]) -> None:
        """Act as the button of this name would."""
        if name in self.view_state.enabled:
            action()

    def _show(self, keeper: Keeper) -> None:
        # Asked before anything is drawn: the model works while the window draws.
        self.outlines.update()
        self._presenter.show()
        keeper.keep()

    # ---------------------------------------------------------------- what there is

    @property
    def now(self) -> AnnotationState:
        """What is open and what was done."""
        return self._store.now

    @property
    def key(self) -> SliceKey | None:
        """(image id, Plane) on show; None with no image or in a three-dimensional view."""
        return self._store.now.key

    @property
    def prompts(self) -> PromptSet:
        """Prompts of the plane on show."""
        return self._store.now.prompts

    @property
    def preview(self) -> LabelArray | None:
        """The mask on show, uint8 (rows, cols), or None while there is none."""
        return self.outlines.preview

    @property
    def view_state(self) -> ViewState:
        """What the dock shows."""
        return self._presenter.scene.dock

    def fail(self, error: Exception) -> None:
        """Show an error's one line; one that is not ours is a bug and is raised again."""
        self._store.fail(error)

    # ---------------------------------------------------------------- the loop

    def suggest(self) -> None:
        """Ask the active round for proposals."""
        self._suggestions.suggest()

    def pick_tool(self, tool: Tool) -> None:
        """Take a tool, and have the mouse go to it whatever had it before."""
        self.editor.set_tool(tool)
        self._canvas.attend()

    def commit(self, *, others_open: bool = False) -> None:
        """Save the mask on show as the plane's label; no mask at all saves "nothing here".

        With `others_open`, classes that are not on the plane are not annotated yet, not absent.
        """
        self._canvas.finish_stroke()
        self._saver.commit(others_open=others_open)

    def accept_and_next(self, *, others_open: bool = False) -> None:
        """Accept and commit what is on show, then go to the next draft or open plane.

        With `others_open`, classes that are not on the plane are not annotated yet, not absent.
        """
        self._canvas.finish_stroke()
        now = self._store.now
        if now.key is None:
            return
        if now.is_untouched and not self._suggestions.found_nothing(now.key):
            said = "Nothing to accept yet: click the structure, press G, or K to skip."
            self._store.say(said)
            return
        self._saver.commit(self.navigation.next_draft, others_open=others_open)

    def commit_drafts(self) -> None:
        """Commit every draft of the open image that nothing speaks against, as one version."""
        self._saver.commit_drafts()

    def next_look(self) -> None:
        """Select the next question of this plane, or go to the next draft that wants a look."""
        if self.editor.asks or not self.navigation.next_flagged():
            self.editor.next_question()

    def set_axis(self, axis: int) -> None:
        """Show the image along another of its axes, at the same place."""
        self.navigation.set_axis(axis, self._canvas.index_along(axis))

    def propagate(self) -> None:
        """Carry the outlines of this plane, and of the committed ones, to the others; or stop."""
        self._propagation.start_or_stop()

    def undo(self) -> None:
        """Take back the last step, wherever it was taken."""
        self._undoing.undo()

    def redo(self) -> None:
        """Take the step again that was undone."""
        self._undoing.redo()

    def close(self) -> None:
        """Stop what is under way, and keep what is not committed for the next time."""
        self._propagation.close()
        self.navigation.close()

    # ---------------------------------------------------------------- models and windows

    def set_window(self, name: str) -> None:
        """Look at the scan through another window; masks on show are drawn again through it."""
        try:
            message = self.window.choose(name, self._store.fail)
        except ScsamError as error:
            self._store.fail(error)
            return
        self.outlines.forget()
        self._store.say(message)

    def round_changed(self) -> None:
        """Use the project's active round from now on."""
        active = self._project.active_round()
        self.window.use_round(active)
        self._suggestions.forget()
        # A mask that another round's models drew must not be committed as this one's.
        self.outlines.forget()
        # What was last said here must not hide what is being said of the round.
        self._store.put(replace(self._store.now.saying(""), round=active))

    def use_tuned(self, folder: Path | None, redraw: bool = False) -> None:
        """Have clicks answered by a tuning's SAM from the next one on; None for the shipped one.

        An outline on show stays as the person sees it, unless `redraw` says otherwise.
        """
        now = self._store.now
        if folder == now.tuned:
            return
        if redraw and self.outlines.waiting:
            # What the message says is under way no longer is.
            now = replace(now, status=replace(now.status, message=""))
        if redraw:
            self.outlines.forget()
        self._store.put(replace(now, tuned=folder))


class _Presenter:
    """Between what is known and what is drawn.

    Parameters
    ----------
    project : Project
    store : StateStore
    outlines : Outlines
    grounds : Grounds
    committed : CommittedLabel
    window : IntensityWindow
    canvas : Canvas
        Draws the scene.
    on_change : callable
        Called with what the dock shows.
    """

    def __init__(
        self,
        project: Project,
        store: StateStore,
        outlines: Outlines,
        grounds: Grounds,
        committed: CommittedLabel,
        window: IntensityWindow,
        canvas: Canvas,
        on_change: Callable[[ViewState], None],
    ) -> None:
        self._classes = project.classes
        self._read_only = project.read_only
        self._store = store
        self._outlines = outlines
        self._grounds = grounds
        self._committed = committed
        self._window = window
        self._canvas = canvas
        self._on_change = on_change
        self.scene = Scene()

    def show(self) -> None:
        """Have all that changed drawn."""
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
            base=None if now.plane is None else self._grounds.committed(now.plane),
            contrast=None if now.image is None else self._window.contrast(now.image.volume),
            can_undo=self._store.can_undo,
            can_redo=self._store.can_redo,
            read_only=self._read_only,
            is_waiting=self._outlines.waiting,
        )
