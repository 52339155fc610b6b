"""Resolves the scene after each change and has it drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_scsam.annotation.scene import Facts, Scene, resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam.annotation.canvas import Canvas
    from napari_scsam.annotation.committed_label import CommittedLabel
    from napari_scsam.annotation.intensity_window import IntensityWindow
    from napari_scsam.annotation.outlines import Outlines
    from napari_scsam.annotation.state import StateStore
    from napari_scsam.annotation.view_state import ViewState
    from napari_scsam.project import Project


class Presenter:
    """Between what is known and what is drawn.

    Parameters
    ----------
    project : Project
    store : StateStore
    outlines : Outlines
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
        committed: CommittedLabel,
        window: IntensityWindow,
        canvas: Canvas,
        on_change: Callable[[ViewState], None],
    ) -> None:
        self._classes = project.classes
        self._read_only = project.read_only
        self._store = store
        self._outlines = outlines
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
            contrast=None if now.image is None else self._window.contrast(now.image.volume),
            can_undo=self._store.can_undo,
            can_redo=self._store.can_redo,
            read_only=self._read_only,
            is_waiting=self._outlines.waiting,
        )
