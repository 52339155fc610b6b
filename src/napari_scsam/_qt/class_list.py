"""List of the classes, in as many lines as their names need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QSize, Qt, Signal
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QWidget

from napari_scsam._qt.widgets import SWATCH, colour_icon, fit_rows, row_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_scsam.core.labels import LabelClass

TIP = "Class of the next click. Key over the image: its number."
# Lines of class names before the list scrolls, and pixels beside a name. Both arbitrary.
MOST_LINES = 4
BESIDE_NAME = 26  # arbitrary
# Classes that have a key: the digits but 0.
DIGITS = 9


class ClassList(QListWidget):
    """Shows the classes with their colours and keys.

    Signals
    -------
    picked : int
        Class id.
    """

    picked = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("class_list")
        self.setFlow(QListWidget.Flow.LeftToRight)
        self.setWrapping(True)
        self.setResizeMode(QListWidget.ResizeMode.Adjust)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setIconSize(QSize(SWATCH, SWATCH))
        self.setToolTip(TIP)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.currentItemChanged.connect(self._on_class)
        fit_rows(self, 1)

    def show_classes(self, classes: Sequence[LabelClass]) -> None:
        """Fill the list, and select the first class."""
        self.blockSignals(True)
        self.clear()
        for position, item in enumerate(classes):
            number = f"{position + 1}  " if position < DIGITS else ""
            row = QListWidgetItem(colour_icon(item.colour), f"{number}{item.name}")
            row.setData(Qt.ItemDataRole.UserRole, item.id)
            row.setToolTip(f"{item.name}. {TIP}")
            self.addItem(row)
        self.blockSignals(False)
        if classes:
            self.setCurrentRow(0)
        self._fit()

    def pick(self, position: int) -> None:
        """Select the class at `position`, if there is one."""
        if position < self.count():
            self.setCurrentRow(position)

    def resizeEvent(self, event: object) -> None:
        """Wrap the class names again."""
        super().resizeEvent(event)
        self._fit()

    def changeEvent(self, event: QEvent | None) -> None:
        """Size the names by the new font."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.FontChange:
            self._fit()

    def _fit(self) -> None:
        """Size the rows by their names, and the list by the lines that they take."""
        for position in range(self.count()):
            row = self.item(position)
            width = self.fontMetrics().horizontalAdvance(row.text())
            row.setSizeHint(row_size(self) + QSize(width + SWATCH + BESIDE_NAME, 0))
        room = max(self.width() - 2 * self.frameWidth(), 1)
        lines, used = 1, 0
        for position in range(self.count()):
            width = self.item(position).sizeHint().width()
            if used and used + width > room:
                lines, used = lines + 1, 0
            used += width
        scrolls = lines > MOST_LINES
        # Off where all lines are seen: a scroll bar would take the width that they were fitted to.
        policy = Qt.ScrollBarPolicy
        self.setVerticalScrollBarPolicy(
            policy.ScrollBarAsNeeded if scrolls else policy.ScrollBarAlwaysOff
        )
        fit_rows(self, min(lines, MOST_LINES))

    def _on_class(self, item: QListWidgetItem | None, _previous: object = None) -> None:
        if item is not None:
            self.picked.emit(int(item.data(Qt.ItemDataRole.UserRole)))
