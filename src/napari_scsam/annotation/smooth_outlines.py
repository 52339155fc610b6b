"""The tool *Smooth outline*: sets vertices on a plane, and fills the outline through them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.annotation.unfinished_outline import (
    MOST_VERTICES,
    UnfinishedOutline,
    is_near,
)
from napari_scsam.core.errors import InputError
from napari_scsam.core.smooth_outline import LEAST_VERTICES, enclosed, smooth_outline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_scsam.annotation.state import StateStore
    from napari_scsam.annotation.view_state import Tool
    from napari_scsam.annotation.working_labels import WorkingLabels
    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.prompts import Point

TOO_FEW = "An outline needs three different vertices: click at three places or more."
TOO_MANY = f"An outline has at most {MOST_VERTICES} points. Enter closes it."
TOO_FAR = "That is too far from the image. Nothing was added."


class SmoothOutlines:
    """Keeps the unfinished outline of each plane, and completes or gives up the displayed one.

    Parameters
    ----------
    store : StateStore
    working_labels : WorkingLabels
    names : mapping of class id to str
        Of the project's classes.
    paint : callable
        (label, class id): paints the displayed plane, uint8 (rows, cols), as one step.
    """

    def __init__(
        self,
        store: StateStore,
        working_labels: WorkingLabels,
        names: Mapping[int, str],
        paint: Callable[[LabelArray, int], None],
    ) -> None:
        self._store = store
        self._working_labels = working_labels
        self._names = names
        self._paint = paint

    def set_vertices(self, vertices: Sequence[Point]) -> None:
        """Replace the vertices on the displayed plane; without any, the outline is given up."""
        now = self._store.now
        if now.key is None:
            return
        if len(vertices) > MOST_VERTICES:
            self._store.say(TOO_MANY)
        elif not is_near(vertices, now.plane_shape):
            self._store.say(TOO_FAR)
        else:
            class_id = now.active_class.id if now.outline is None else now.outline.class_id
            places = tuple((float(row), float(col)) for row, col in vertices)
            made = UnfinishedOutline(places, class_id) if places else None
            self._store.put(now.with_outline(made).saying(""))

    def remove_vertex(self) -> bool:
        """Remove the last vertex; False if the tool is another one, or there is none."""
        now = self._store.now
        if now.outline is None or now.tool != "smooth":
            return False
        self.set_vertices(now.outline.vertices[:-1])
        return True

    def give_up(self) -> None:
        """Remove the unfinished outline of the displayed plane."""
        now = self._store.now
        if now.outline is not None:
            self._store.put(now.with_outline(None))

    def leave_for(self, tool: Tool | None) -> None:
        """End the outline of the displayed plane if this tool, None for none, ends *Smooth*."""
        if self._store.now.tool == "smooth" and tool not in (None, "smooth"):
            self.complete()
            self.give_up()

    def complete(self) -> None:
        """Give the interior of the unfinished outline to its class, if it has enough vertices."""
        outline = self._store.now.outline
        if outline is None or len(outline.vertices) < LEAST_VERTICES:
            return
        # The label is saved first, so that a kill in between loses nothing.
        self._fill(outline)
        self._store.put(self._store.now.with_outline(None))

    def _fill(self, outline: UnfinishedOutline) -> None:
        now = self._store.now
        curve = smooth_outline(outline.vertices)
        if now.key is None or curve is None:
            self._store.fail(InputError(TOO_FEW))
            return
        # A class may have been removed since the outline was begun.
        known = outline.class_id in self._names
        class_id = outline.class_id if known else now.active_class.id
        shown = self._working_labels.for_patch(now.key)[1]
        inside = enclosed(curve, now.plane_shape)
        if not inside.any():
            self._store.say("That outline contains no pixel of this slice. Nothing was drawn.")
        elif (shown[inside] == class_id).all():
            name = self._names[class_id]
            self._store.say(f"{name} fills that outline already. Nothing was drawn.")
        else:
            self._paint(np.where(inside, class_id, shown).astype(np.uint8), class_id)
