"""List of the images, with the number of committed slices of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QProgressBar, QVBoxLayout, QWidget

from napari_scsam._qt.fold import Fold
from napari_scsam._qt.widgets import fit_rows, row_size, set_title, title

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_scsam.project.image_queue import QueueRow

# Arbitrary.
ROWS_SHOWN = 7
FOLD_TIP = "The images of the project"


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
        self._title = title("queue_title", "Images")
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        self._bar.setFixedHeight(6)
        self.list = self._make_list()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        parts = [self._bar, self.list]
        layout.addWidget(Fold("images_fold", FOLD_TIP, self._title, parts, is_open=True))

    def _make_list(self) -> QListWidget:
        made = QListWidget()
        made.setObjectName("queue")
        made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        # A long name is elided in its middle, so that the count at its end stays visible.
        made.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        made.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        for signal in (made.itemClicked, made.itemActivated):
            signal.connect(lambda item: self.picked.emit(item.data(Qt.ItemDataRole.UserRole)))
        fit_rows(made, 1)
        return made

    def show_rows(self, rows: Sequence[QueueRow]) -> None:
        """Show the images; rows that are there already keep their selection."""
        if self.list.count() != len(rows):
            self.list.clear()
            for _ in rows:
                item = QListWidgetItem()
                item.setSizeHint(row_size(self.list))
                self.list.addItem(item)
        for position, row in enumerate(rows):
            _fill(self.list.item(position), row)
        fit_rows(self.list, min(len(rows), ROWS_SHOWN))
        done, total = sum(r.done for r in rows), sum(r.total for r in rows)
        unit = "slices" if any(r.total > 1 for r in rows) else "images"
        set_title(self._title, f"Images: {done} of {total} {unit} committed")
        self._bar.setRange(0, max(total, 1))
        self._bar.setValue(done)

    def show_current(self, image_id: str | None) -> None:
        """Mark the open image."""
        for position in range(self.list.count()):
            item = self.list.item(position)
            if item.data(Qt.ItemDataRole.UserRole) == image_id:
                self.list.setCurrentItem(item)


def _fill(item: QListWidgetItem, row: QueueRow) -> None:
    if row.done == row.total:
        mark, state = "●", "done"
    elif row.total == 1:
        mark, state = "○", "open"
    else:
        mark, state = "◐" if row.done else "○", f"{row.done} of {row.total} slices"
    item.setData(Qt.ItemDataRole.UserRole, row.image_id)
    item.setText(f"{mark}  {row.name}  ·  {state}")
    unit = "slices" if row.total > 1 else "image"
    item.setToolTip(f"{row.name}: {row.done} of {row.total} {unit} committed. Click to open.")
