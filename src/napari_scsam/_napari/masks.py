"""Draws the mask that nobody has committed: a light fill, a thin outline, and what changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QTimer
from skimage.segmentation import find_boundaries

from napari_scsam.core.patches import taken_back
from napari_scsam.core.volume import take_plane

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_scsam.annotation.scene import ShownMask
    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.geometry import Plane

# Arbitrary.
FLASH_MS = 120
# Pixels of a dash in the outline of a draft, and of the gap after it.
DASH = 3


class PreviewPainter:
    """Paints planes of two Labels layers; what the last paint changed is lit once, briefly.

    Parameters
    ----------
    fill, outline : napari.layers.Labels
        Of one shape; their data is painted in place.
    ndim : int
        Dimensions of the image, without colour.
    """

    def __init__(self, fill: Labels, outline: Labels, ndim: int) -> None:
        self._fill = fill
        self._outline = outline
        self._ndim = ndim
        self._masks: Mapping[Plane, ShownMask] = {}
        self._shown: tuple[Plane | None, ShownMask | None] = (None, None)
        self._held = False
        self._waiting: tuple[Mapping[Plane, ShownMask], Plane | None, ShownMask | None] | None
        self._waiting = None
        self._lit: tuple[Plane, NDArray[np.uint8]] | None = None
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(FLASH_MS)
        self._timer.timeout.connect(self._end_flash)

    def show(
        self,
        masks: Mapping[Plane, ShownMask],
        shown: Plane | None,
        crossing: ShownMask | None = None,
    ) -> None:
        """Paint the planes whose mask differs from the one that was painted there.

        Parameters
        ----------
        masks : mapping of Plane to ShownMask
            Nothing is to be seen on the other planes.
        shown : Plane, optional
            The plane on show. Planes along different axes cross, and a painted one paints over
            the others: the one on show comes last, and again where another one crossed it.
        crossing : ShownMask, optional
            What the others show on the plane on show, where that has no mask; it is theirs,
            and stays when the plane is left.
        """
        if self._held:
            self._waiting = (masks, shown, crossing)
            return
        last, self._masks = self._masks, masks
        again = (shown, crossing) != self._shown
        self._shown = (shown, crossing)
        changed = [p for p in {**last, **masks} if masks.get(p) != last.get(p)]
        others = {p: masks.get(p) for p in changed if p != shown}
        self._paint_all(others)
        if shown is None:
            return
        crossed = any(plane.axis != shown.axis for plane in others)
        if again or crossed or shown in changed:
            self._paint_all({shown: masks.get(shown, crossing)})

    def hold(self, held: bool) -> None:
        """Paint nothing while a hand draws on the layer; what came meanwhile is painted after."""
        self._held = held
        waiting, self._waiting = self._waiting, None
        if not held and waiting is not None:
            self.show(*waiting)

    def taken(self, plane: Plane) -> tuple[LabelArray, LabelArray] | None:
        """What was on `plane` and what a hand made of it; None for nothing. It is put back."""
        view = take_plane(self._fill.data, plane, self._ndim)
        mask = self._masks.get(plane, self._shown[1] if plane == self._shown[0] else None)
        before = np.zeros_like(view) if mask is None else mask.label
        return taken_back(view, before)

    def refresh(self) -> None:
        """Have the fill drawn again."""
        self._fill.refresh(extent=False, thumbnail=False, highlight=False)

    def _paint_all(self, masks: Mapping[Plane, ShownMask | None]) -> None:
        drafts = {p: m for p, m in masks.items() if m is None or m.is_draft}
        self._paint_drafts({p: None if m is None else m.label for p, m in drafts.items()})
        for plane, mask in masks.items():
            if mask is not None and not mask.is_draft:
                self._paint(plane, mask.label)

    def _paint(self, plane: Plane, label: LabelArray) -> None:
        """Show `label`, uint8 (rows, cols), on `plane`."""
        view = take_plane(self._fill.data, plane, self._ndim)
        self._end_flash()
        before = view.copy()
        view[...] = label
        edge = _edge(view)
        changed = before != view
        if not changed.any():
            self._draw_outline(plane, edge)
        else:
            # What was lost is lit in the colour that it had.
            lit = np.where(changed, np.where(view > 0, view, before), edge).astype(np.uint8)
            self._draw_outline(plane, lit)
            self._lit = (plane, edge)
            self._timer.start()
        self._fill.refresh(extent=False, thumbnail=False, highlight=False)

    def _paint_drafts(self, labels: Mapping[Plane, LabelArray | None]) -> None:
        """Show masks that a person has not touched, their outlines dashed; None clears a plane.

        All in one repaint, without a flash; none at all where there was and is nothing.
        """
        if not labels:
            return
        self._end_flash()
        painted = False
        for plane, label in labels.items():
            view = take_plane(self._fill.data, plane, self._ndim)
            if label is None and not view.any():
                continue
            view[...] = 0 if label is None else label
            edge = _edge(view)
            rows, cols = edge.shape
            diagonal = np.add.outer(np.arange(rows), np.arange(cols))
            edge[diagonal // DASH % 2 == 1] = 0
            take_plane(self._outline.data, plane, self._ndim)[...] = edge
            painted = True
        if not painted:
            return
        for layer in (self._fill, self._outline):
            layer.refresh(extent=False, thumbnail=False, highlight=False)

    def close(self) -> None:
        """Paint nothing more."""
        self._timer.stop()
        self._lit = None

    def _end_flash(self) -> None:
        self._timer.stop()
        if self._lit is not None:
            plane, edge = self._lit
            self._lit = None
            self._draw_outline(plane, edge)

    def _draw_outline(self, plane: Plane, edge: NDArray[np.uint8]) -> None:
        take_plane(self._outline.data, plane, self._ndim)[...] = edge
        self._outline.refresh(extent=False, thumbnail=False, highlight=False)


def _edge(view: LabelArray) -> LabelArray:
    """The inner outline of a label plane; not napari's own, which has no 3D view."""
    edge = np.zeros_like(view)
    if view.any():
        rows, cols = (np.flatnonzero(view.any(axis=axis)) for axis in (1, 0))
        # Only around what is there: most of a plane is empty.
        there = (slice(max(rows[0] - 1, 0), rows[-1] + 2), slice(max(cols[0] - 1, 0), cols[-1] + 2))
        part = view[there]
        edge[there] = np.where(find_boundaries(part, mode="inner"), part, 0)
    return edge
