"""Draws uncommitted masks: a light fill, an outline, and a flash of changed pixels."""

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

# Milliseconds. Arbitrary; UX asks for at most 150.
FLASH_MS = 120
# Pixels of a dash in the outline of a draft, and of the gap after it. Arbitrary.
DASH = 3


class PreviewPainter:
    """Paints planes of two Labels layers; changed pixels flash once.

    Parameters
    ----------
    fill, outline : napari.layers.Labels
        Of the same shape; their data is painted in place.
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
        """Paint the planes whose mask has changed.

        Parameters
        ----------
        masks : mapping of Plane to ShownMask
            The other planes are blank.
        shown : Plane, optional
            The displayed plane. Planes along different axes cross, and painting one changes the
            others. The displayed one is therefore painted last.
        crossing : ShownMask, optional
            Cross-section of the other planes' masks, if the displayed plane has none. It
            belongs to those planes, and stays when the displayed plane is left.
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
        """Postpone painting while the user paints on the layer."""
        self._held = held
        waiting, self._waiting = self._waiting, None
        if not held and waiting is not None:
            self.show(*waiting)

    def taken(self, plane: Plane) -> tuple[LabelArray, LabelArray] | None:
        """`plane` before and after the user painted on it, or None; the layer is restored."""
        view = take_plane(self._fill.data, plane, self._ndim)
        mask = self._masks.get(plane, self._shown[1] if plane == self._shown[0] else None)
        before = np.zeros_like(view) if mask is None else mask.label
        return taken_back(view, before)

    def refresh(self) -> None:
        """Redraw the fill."""
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
            # Removed pixels flash in the colour that they had.
            lit = np.where(changed, np.where(view > 0, view, before), edge).astype(np.uint8)
            self._draw_outline(plane, lit)
            self._lit = (plane, edge)
            self._timer.start()
        self._fill.refresh(extent=False, thumbnail=False, highlight=False)

    def _paint_drafts(self, labels: Mapping[Plane, LabelArray | None]) -> None:
        """Show drafts with dashed outlines; None clears a plane.

        All planes in one repaint, without a flash. Blank planes that stay blank cost none.
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
        """Stop the flash."""
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
    """The inner outline of a label plane; unlike napari's contour, also visible in 3D."""
    edge = np.zeros_like(view)
    if view.any():
        rows, cols = (np.flatnonzero(view.any(axis=axis)) for axis in (1, 0))
        # Only within the bounding box: most of a plane is empty.
        there = (slice(max(rows[0] - 1, 0), rows[-1] + 2), slice(max(cols[0] - 1, 0), cols[-1] + 2))
        part = view[there]
        edge[there] = np.where(find_boundaries(part, mode="inner"), part, 0)
    return edge
