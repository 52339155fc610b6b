"""Undo and redo across planes, images and commits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_scsam.annotation.state import Selection, StateStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam.annotation.committed_label import CommittedLabel
    from napari_scsam.annotation.opening import ImageOpener
    from napari_scsam.annotation.work import Work
    from napari_scsam.core.geometry import SliceKey


class UndoRedo:
    """Undoes and redoes steps, and shows the plane where each was made.

    Parameters
    ----------
    store : StateStore
    opener : ImageOpener
    committed : CommittedLabel
    """

    def __init__(self, store: StateStore, opener: ImageOpener, committed: CommittedLabel) -> None:
        self._store = store
        self._opener = opener
        self._committed = committed

    def undo(self) -> None:
        """Undo the last step."""
        left, to = self._store.now.work, self._store.before
        if to is not None and left.at is not None:
            self._travel(to, left.at, self._store.undo, "Undone.")

    def redo(self) -> None:
        """Redo the step that was undone last."""
        to = self._store.after
        if to is not None and to.at is not None:
            self._travel(to, to.at, self._store.redo, "Redone.")

    def _travel(self, to: Work, at: SliceKey, move: Callable[[], None], message: str) -> None:
        """Revert the committed label first, then the work, then show the plane."""
        left, (image_id, plane) = self._store.now.work, at

        def settled(_: int | None = None) -> None:
            now = self._store.now
            if now.work is left:
                move()
            else:  # another step was made meanwhile: only the label was reverted
                work = now.work.with_version(image_id, to.versions[image_id])
                self._store.amend(replace(now, work=work))
            self._opener.open(image_id, plane, then=arrived)

        def arrived() -> None:
            now = self._store.now
            now = replace(now, selection=Selection(), commits=now.commits + 1)
            self._store.put(now.doing("", message))

        # Steps before the image's first commit do not record its version.
        known = image_id in to.versions and image_id in left.versions
        if known and to.versions[image_id] != left.versions[image_id]:
            now = self._store.now
            self._store.put(now.doing("saving", now.status.message))
            self._committed.revert(image_id, to.versions[image_id], settled, self._store.fail)
        else:
            settled()
