"""Painted pixels become label pixels, exactly as painted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.annotation.cleaning import SMALL, cleaned
from napari_scsam.annotation.scene import READ_ONLY
from napari_scsam.annotation.smooth_outlines import SmoothOutlines
from napari_scsam.annotation.state import Selection, StateStore
from napari_scsam.annotation.working_label import drawable
from napari_scsam.core.errors import InputError, ReadOnlyError
from napari_scsam.core.labels import NOT_ANNOTATED, LabelClass
from napari_scsam.core.patches import patch_of
from napari_scsam.core.prompts import bounding_box

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from napari_scsam.annotation.working_labels import WorkingLabels
    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.geometry import Plane

DRAWN = "Painted. Models leave these pixels as they are. J saves them."


class Painting:
    """Makes each stroke of brush, eraser, polygon or fill a step that can be undone.

    Parameters
    ----------
    store : StateStore
    working_labels : WorkingLabels
    classes : sequence of LabelClass
        The project's.
    finish_stroke : callable
        Makes the canvas report an unfinished stroke.
    read_only : bool
        Whether painting is refused.

    Attributes
    ----------
    smooth : SmoothOutlines
    """

    def __init__(
        self,
        store: StateStore,
        working_labels: WorkingLabels,
        classes: Sequence[LabelClass],
        finish_stroke: Callable[[], None],
        *,
        read_only: bool,
    ) -> None:
        self._store = store
        self._working_labels = working_labels
        self._names = {c.id: c.name for c in classes}
        self._finish_stroke = finish_stroke
        self._read_only = read_only
        self.smooth = SmoothOutlines(store, working_labels, self._names, self._paint_over)

    def finish(self) -> None:
        """End an unfinished stroke or outline here, as if the user had."""
        self._finish_stroke()
        self.smooth.complete()

    def paint(self, plane: Plane, before: LabelArray, after: LabelArray) -> None:
        """Paint on the displayed plane what changed `before` to `after`, both (rows, cols)."""
        self._paint(plane, before, after, self._store.now.active_class.id)

    def _paint_over(self, after: LabelArray, class_id: int) -> None:
        """Paint the displayed plane, so that it becomes `after`, for a class."""
        key = self._store.now.key
        if key is not None:
            self._paint(key[1], self._working_labels.for_patch(key)[1], after, class_id)

    def _paint(self, plane: Plane, before: LabelArray, after: LabelArray, class_id: int) -> None:
        now = self._store.now
        if now.key is None or plane != now.plane or self._read_only:
            error = ReadOnlyError(READ_ONLY)
            self._store.fail(
                error if self._read_only else InputError("Paint on the displayed slice only.")
            )
            return
        changed = before != after
        if not changed.any():
            return
        strange = set(np.unique(after[changed]).tolist()) - {0, *self._names}
        if strange:
            self._store.fail(InputError(self._no_class(strange)))
            return
        working, shown, made_of = self._working_labels.for_patch(now.key)
        r0, c0, r1, c1 = bounding_box(changed)
        part = (
            slice(r0, r1 + 1),
            slice(c0, c1 + 1),
        )  # for speed: a stroke is small, and a slice may be large
        wanted = np.where(changed[part], after[part], shown[part]).astype(np.uint8)
        patch, left = drawable(shown[part], wanted, now.over, class_id)
        said = f"{self._kept(left)} {DRAWN}".strip() if patch is not None else self._kept(left)
        if patch is None:
            self._store.say(said)
            return
        patch = replace(patch, row=patch.row + r0, col=patch.col + c0)
        drawn = working.with_patch(patch, made_of, shown)
        work = now.work.with_working(now.key, drawn)
        self._store.step(replace(now.saying(said), work=work, selection=Selection()))

    def clean_up(self) -> None:
        """Remove small islands of the displayed label and fill small holes, as one step."""
        self.finish()
        now = self._store.now
        if now.key is None:
            return
        if self._read_only:
            self._store.fail(ReadOnlyError(READ_ONLY))
            return
        working, shown, made_of = self._working_labels.for_patch(now.key)
        result = cleaned(shown)
        patch = patch_of(result != shown, result)
        if patch is None:
            self._store.say(f"No island and no hole of up to {SMALL} pixels on this slice.")
            return
        work = now.work.with_working(now.key, working.with_patch(patch, made_of, shown))
        said = f"Islands and holes of up to {SMALL} pixels were cleaned up."
        self._store.step(replace(now.saying(said), work=work, selection=Selection()))

    def _no_class(self, strange: Collection[int]) -> str:
        named = ", ".join(f"{i}={name}" for i, name in self._names.items())
        got = ", ".join(str(value) for value in sorted(strange))
        return (
            f"Nothing was painted: {got} is no class of this project ({named}). Pick one of them."
        )

    def _kept(self, left: Collection[int]) -> str:
        """Message that names the classes that the stroke left unchanged."""
        names = [self._names.get(i, f"class {i}") for i in sorted(left) if i != NOT_ANNOTATED]
        if not names:
            return ""
        verb = "was" if len(names) == 1 else "were"
        return f"{' and '.join(names)} {verb} protected: T lets you paint over other classes."
