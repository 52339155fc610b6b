"""Gives a widget the font size that napari's setting gives to labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject

if TYPE_CHECKING:
    from qtpy.QtWidgets import QLabel, QWidget


class FontFollower(QObject):
    """Keeps the font of a widget at the size of a label's inside it.

    napari's style sheet sets the size of labels, buttons and boxes, but not of fields for a line
    of text and of tool buttons. These inherit it from the widget.

    Parameters
    ----------
    widget : QWidget
    label : QLabel
    """

    def __init__(self, widget: QWidget, label: QLabel) -> None:
        super().__init__(widget)
        self._widget, self._label = widget, label
        label.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Copy the size when the label's font has changed."""
        if event is not None and event.type() == QEvent.Type.FontChange:
            self._copy()
        return bool(super().eventFilter(watched, event))

    def _copy(self) -> None:
        font, wanted = self._widget.font(), self._label.font()
        if font.pointSizeF() == wanted.pointSizeF() and font.pixelSize() == wanted.pixelSize():
            return
        if wanted.pixelSize() > 0:
            font.setPixelSize(wanted.pixelSize())
        else:
            font.setPointSizeF(wanted.pointSizeF())
        self._widget.setFont(font)
