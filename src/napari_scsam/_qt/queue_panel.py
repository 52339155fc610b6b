"""The list of images, with how much of each is committed."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QListWidget, QListWidgetItem, QProgressBar, QVBoxLayout, QWidget

from napari_scsam.controllers.queue import QueueRow

ROWS_SHOWN = 7


class QueuePanel(QWidget):
    """Images in plain order.

    Signals
    -------
    picked : str
        Image id.
    """

    picked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._title = QLabel("Images")
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        self._bar.setFixedHeight(6)
        self.list = QListWidget()
        self.list.setObjectName("queue")
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.itemClicked.connect(
            lambda item: self.picked.emit(item.data(Qt.ItemDataRole.UserRole))
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(self._title)
        layout.addWidget(self._bar)
        layout.addWidget(self.list)

    def show_rows(self, rows: Sequence[QueueRow]) -> None:
        """Show the images; rows that are there already keep their selection."""
        if self.list.count() != len(rows):
            self.list.clear()
            for _ in rows:
                self.list.addItem(QListWidgetItem())
        for position, row in enumerate(rows):
            item = self.list.item(position)
            item.setData(Qt.ItemDataRole.UserRole, row.image_id)
            unit = "slices" if row.total > 1 else "image"
            state = "done" if row.done == row.total else f"{row.done} / {row.total} {unit}"
            mark = "●" if row.done == row.total else "◐" if row.done else "○"
            item.setText(f"{mark}  {row.name}   {state}")
            item.setToolTip(f"{row.name}: {row.done} of {row.total} {unit} committed")
        shown = min(max(len(rows), 1), ROWS_SHOWN)
        self.list.setFixedHeight(shown * max(self.list.sizeHintForRow(0), 18) + 6)
        done, total = sum(r.done for r in rows), sum(r.total for r in rows)
        self._title.setText(f"Images   {done} / {total} slices committed")
        self._bar.setRange(0, max(total, 1))
        self._bar.setValue(done)

    def show_current(self, image_id: str | None) -> None:
        """Mark the open image."""
        for position in range(self.list.count()):
            item = self.list.item(position)
            if item.data(Qt.ItemDataRole.UserRole) == image_id:
                self.list.setCurrentItem(item)
