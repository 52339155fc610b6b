"""Draws uncommitted masks: a light fill, a thin outline, and a flash of changed pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QTimer

from napari_scsam._napari.painted_planes import PaintedPlanes
from napari_scsam.core.prompts import bounding_box

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari.layers import Labels

    from napari_scsam._napari.outlines import OutlinePainter
    from napari_scsam.annotation.scene import ShownMask
    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.geometry import Plane

# Milliseconds. Arbitrary; UX asks for at most 150.
FLASH_MS = 120
# Milliseconds after a stroke until its outline is drawn, so that both together do not block the
# window for longer. Arbitrary.
OUTLINE_MS = 20


class PreviewPainter:
    """Paints planes of a Labels layer and outlines the displayed one; changed pixels flash once.

    Parameters
    ----------
    fill : napari.layers.Labels
        Its data is painted in place.
    outline : OutlinePainter
    ndim : int
        Dimensions of the image, without colour.
    """

    def __init__(self, fill: Labels, outline: OutlinePainter, ndim: int) -> None:
        self._planes = PaintedPlanes(fill, ndim)
        self._outline = outline
        self._masks: Mapping[Plane, ShownMask] = {}
        self._shown: tuple[Plane | None, ShownMask | None] = (None, None)
        self._held = False
        self._waiting: tuple[Mapping[Plane, ShownMask], Plane | None, ShownMask | None] | None
        self._waiting = None
        self._flash = _single_shot(FLASH_MS, outline.dim)
        self._stroke = _single_shot(OUTLINE_MS, self._outline_stroke)

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
        # Corrected planes after drafts along other axes, which they cross.
        in_order = sorted(
            others.items(), key=lambda one: one[1] is not None and not one[1].is_draft
        )
        painted = [self._fill_plane(p, mask) for p, mask in in_order]
        if shown is not None:
            crossed = any(plane.axis != shown.axis for plane in others)
            if again or crossed or shown in changed:
                painted.append(self._show_displayed(shown, masks.get(shown, crossing)))
        if any(painted):
            self._planes.refresh()

    def hold(self, held: bool) -> None:
        """Postpone painting while the user paints on the layer."""
        self._held = held
        waiting, self._waiting = self._waiting, None
        if not held and waiting is not None:
            self.show(*waiting)

    def taken(self, plane: Plane) -> tuple[LabelArray, LabelArray] | None:
        """`plane` before and after the user painted on it, or None; the layer is restored."""
        mask = self._masks.get(plane, self._shown[1] if plane == self._shown[0] else None)
        before = np.zeros_like(self._planes[plane]) if mask is None else mask.label
        return self._planes.taken(plane, before)

    def refresh_restored(self) -> None:
        """Draw the fill if a plane was restored and has not been drawn since."""
        self._planes.refresh_restored()

    def _show_displayed(self, plane: Plane, mask: ShownMask | None) -> bool:
        """Fill and outline the displayed plane; returns whether a pixel has changed."""
        self._flash.stop()
        self._stroke.stop()
        if mask is not None and not mask.is_draft:
            return self._paint(plane, mask)
        label = None if mask is None else mask.label
        self._outline.show(plane, label, dashed=label is not None)
        return self._fill_plane(plane, mask)

    def _paint(self, plane: Plane, mask: ShownMask) -> bool:
        """Show a mask that the user is working on: what has changed on the screen flashes."""
        stroke = self._planes.painted(plane)
        before = self._planes[plane].copy() if stroke is None else stroke
        changed = self._fill_plane(plane, mask)
        if changed:
            self._outline.show(plane, mask.label, lit=_changed(before, mask.label))
            self._flash.start()
        elif stroke is not None:
            self._stroke.start()
        else:
            self._outline.show(plane, mask.label)
        return changed

    def _outline_stroke(self) -> None:
        """Outline the displayed mask after a stroke, which is filled as it was painted."""
        plane, mask = self._shown[0], None
        if plane is not None:
            mask = self._masks.get(plane, self._shown[1])
        if plane is not None and mask is not None:
            self._outline.show(plane, mask.label)

    def _fill_plane(self, plane: Plane, mask: ShownMask | None) -> bool:
        """Fill a plane without drawing the layer; returns whether a pixel has changed."""
        return self._planes.paint(plane, 0 if mask is None else mask.label)

    def redraw(self) -> None:
        """Draw the outline at the present zoom."""
        self._outline.redraw()

    def close(self) -> None:
        """Stop the flash, and the outline of a stroke."""
        self._flash.stop()
        self._stroke.stop()


def _single_shot(milliseconds: int, action: Callable[[], None]) -> QTimer:
    """Return a timer that calls `action` once, so long after each start."""
    timer = QTimer()
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(action)
    return timer


def _changed(before: LabelArray, after: LabelArray) -> LabelArray:
    """Changed pixels, in the class that they have now; removed ones in that which they had."""
    label, changed = np.zeros_like(after), before != after
    r0, c0, r1, c1 = bounding_box(changed)
    # For speed: little has changed, and a plane may be large.
    part = (slice(r0, r1 + 1), slice(c0, c1 + 1))
    either = np.where(after[part] > 0, after[part], before[part])
    label[part] = np.where(changed[part], either, 0)
    return label
