"""A strip above the viewer's slider that marks committed, drafted and flagged slices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QRectF, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import QApplication, QWidget

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_scsam.annotation.scene import Mark, SliceMarks

# Pixels, and arbitrary.
HEIGHT = 9
# Colours of Okabe and Ito (2008), and the part of the strip's height that is filled, from its
# lower edge: the heights repeat the meaning of the colours.
STYLES: Mapping[Mark, tuple[str, float]] = {
    "committed": ("#0072B2", 1.0),
    "draft": ("#56B4E9", 0.4),
    "flagged": ("#D55E00", 0.7),
}


class SliceStrip(QWidget):
    """Draws one column for each slice.

    Signals
    -------
    picked : int
        Index of a clicked slice.
    """

    picked = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("slice_strip")
        self.setFixedHeight(HEIGHT)
        self.marks: SliceMarks | None = None
        self.hide()

    def show_marks(self, marks: SliceMarks | None) -> None:
        """Show the marks of another axis or state; None hides the strip."""
        if marks == self.marks:
            return
        self.marks = marks
        # Not at once: the canvas changes its height, and draws before anything else goes on.
        QTimer.singleShot(0, self._show_or_hide)
        if marks is not None:
            self.setToolTip(_summary(marks))
        self.update()

    def _show_or_hide(self) -> None:
        self.setVisible(self.marks is not None)

    def paintEvent(self, _event: Any) -> None:
        """Draw the columns, and a frame around the displayed slice."""
        if self.marks is None:
            return
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(128, 128, 128, 60))
        for index, mark in self.marks.marks.items():
            colour, part = STYLES[mark]
            column = self.column(index)
            column.setTop(HEIGHT * (1 - part))
            painter.fillRect(column, QColor(colour))
        here = self.column(self.marks.current)
        here.setWidth(max(here.width(), 3.0))
        painter.setPen(self.palette().color(self.foregroundRole()))
        painter.drawRect(here.adjusted(0, 0, -1, -1))
        painter.end()

    def mousePressEvent(self, event: Any) -> None:
        """Go to the clicked slice."""
        if self.marks is not None and event.button() == Qt.MouseButton.LeftButton:
            index = int(event.position().x() * self.marks.count / max(self.width(), 1))
            self.picked.emit(min(max(index, 0), self.marks.count - 1))

    def column(self, index: int) -> QRectF:
        """The column of a slice, in pixels."""
        width = self.width() / (1 if self.marks is None else self.marks.count)
        return QRectF(index * width, 0, max(width, 1.0), HEIGHT)

    def attach(self, dims: Any) -> None:
        """Put the strip above the sliders of the viewer with these dims, once."""
        if self.parent() is not None:
            return
        dims = getattr(dims, "__wrapped__", dims)
        for window in QApplication.topLevelWidgets():
            for widget in window.findChildren(QWidget):
                # napari does not export its sliders' widget.
                if type(widget).__name__ == "QtDims" and widget.dims is dims:
                    widget.layout().addWidget(self)
                    return


def _summary(marks: SliceMarks) -> str:
    numbers = dict.fromkeys(STYLES, 0)
    for mark in marks.marks.values():
        numbers[mark] += 1
    parts = [f"{number} {kind}" for kind, number in numbers.items()]
    return f"{', '.join(parts)}, {marks.count - len(marks.marks)} open slices. Click to go there."
