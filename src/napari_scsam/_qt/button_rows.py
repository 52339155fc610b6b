"""Buttons in as many rows as their texts need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QGridLayout, QWidget

from napari_scsam._qt.style import GAP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QResizeEvent


class ButtonRows(QWidget):
    """Buttons of equal width in a row, or in several where a text would be cut.

    Parameters
    ----------
    buttons : sequence of QWidget
        In reading order.
    """

    def __init__(self, buttons: Sequence[QWidget]) -> None:
        super().__init__()
        self._buttons = list(buttons)
        self._columns = 0
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(GAP)
        self._arrange(len(self._buttons))

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Arrange the buttons by the new width."""
        super().resizeEvent(event)
        self._arrange(self._fitting())

    def changeEvent(self, event: QEvent | None) -> None:
        """Arrange the buttons by the new font."""
        super().changeEvent(event)
        kinds = (QEvent.Type.FontChange, QEvent.Type.StyleChange)
        if event is not None and event.type() in kinds:
            self._arrange(self._fitting())

    def _fitting(self) -> int:
        """Return how many columns the widest text allows; rows are filled evenly."""
        widest = max(made.sizeHint().width() for made in self._buttons)
        most = max(1, int((self.width() + GAP) // (widest + GAP)))
        rows = -(-len(self._buttons) // min(most, len(self._buttons)))
        return -(-len(self._buttons) // rows)

    def _arrange(self, columns: int) -> None:
        if columns == self._columns:
            return
        for place in range(max(columns, self._columns)):
            self._grid.setColumnStretch(place, 1 if place < columns else 0)
        self._columns = columns
        for place, made in enumerate(self._buttons):
            self._grid.addWidget(made, place // columns, place % columns)
