"""Choice of the intensity window of the scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QSizePolicy, QWidget

from napari_scsam._qt.style import GAP
from napari_scsam._qt.widgets import text_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_scsam.core.windows import Window

TIP = (
    "Range of the scan's values that is displayed and given to the models. Outlines that are not "
    "committed are computed again. A round keeps the window that it was trained with."
)


class WindowBox(QWidget):
    """Shows the project's window and emits another choice; hidden if there is only one.

    Signals
    -------
    picked : str
        Name of a window.
    """

    picked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._box = QComboBox()
        self._box.setObjectName("window")
        self._box.setToolTip(TIP)
        self._box.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        # So that the longest title does not widen the dock.
        self._box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._box.activated.connect(lambda index: self.picked.emit(self._box.itemData(index)))
        label = text_label("window_label", "Window")
        label.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Preferred)
        label.setWordWrap(False)
        label.setToolTip(TIP)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2 * GAP)
        layout.addWidget(label)
        layout.addWidget(self._box, 1)

    def show_window(self, chosen: Window, choices: Sequence[Window]) -> None:
        """Offer `choices`, with `chosen` picked."""
        self._box.clear()
        for window in choices:
            self._box.addItem(window.title, window.name)
        self._box.setCurrentIndex(list(choices).index(chosen))
        self.setVisible(len(choices) > 1)
