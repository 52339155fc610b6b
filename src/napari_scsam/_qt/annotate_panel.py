"""Classes, tool, and the buttons of the loop."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_scsam._qt.widgets import button, colour_icon, text_label
from napari_scsam.controllers.view_state import ViewState
from napari_scsam.core.labels import LabelClass

TOOLS = (
    ("inside", "Click inside"),
    ("outside", "Click outside"),
    ("box", "Drag a box"),
)

# object name, text, tool tip, row, column, columns of six
BUTTONS = (
    ("suggest", "Suggest  G", "Let the active round propose points on this slice", 0, 0, 3),
    ("accept_next", "Accept + next  J", "Accept, commit and go to the next open slice", 0, 3, 3),
    ("accept_all", "Accept all", "Accept every proposal, without committing", 1, 0, 2),
    ("reject", "Reject", "Reject every proposal that waits for a decision", 1, 2, 2),
    ("commit", "Commit", "Save the outline on show as this slice's label", 1, 4, 2),
    ("skip", "Skip  K", "Leave this slice for now", 2, 0, 2),
    ("undo", "Undo  U", "Take back the last step", 2, 2, 2),
    ("redo", "Redo  ⇧U", "Take the undone step again", 2, 4, 2),
)


class AnnotatePanel(QWidget):
    """Shows a ViewState and says what was pressed.

    Signals
    -------
    pressed : str
        Object name of a button.
    class_picked : int
        Class id.
    tool_picked : str
        ``inside``, ``outside`` or ``box``.
    """

    pressed = Signal(str)
    class_picked = Signal(int)
    tool_picked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._heading = text_label("heading")
        self._counts = text_label("counts")
        self.classes = self._make_class_list()
        self.tool = self._make_tool_box()
        self._buttons: dict[str, QPushButton] = {}
        grid = QGridLayout()
        grid.setSpacing(4)
        for name, text, tip, row, column, span in BUTTONS:
            made = button(name, text, lambda name=name: self.pressed.emit(name), tip)
            self._buttons[name] = made
            grid.addWidget(made, row, column, 1, span)
        self._buttons["propagate"] = button("propagate", "Propagate", None, "Comes later")
        self._buttons["propagate"].hide()
        top = QHBoxLayout()
        top.addWidget(self._heading, 1)
        top.addWidget(self.tool)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.classes)
        layout.addLayout(top)
        layout.addLayout(grid)
        layout.addWidget(self._buttons["propagate"])
        layout.addWidget(self._counts)

    def _make_class_list(self) -> QListWidget:
        made = QListWidget()
        made.setObjectName("class_list")
        made.setFlow(QListWidget.Flow.LeftToRight)
        made.setWrapping(True)
        made.setResizeMode(QListWidget.ResizeMode.Adjust)
        made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        made.setIconSize(QSize(12, 12))
        made.setFixedHeight(26)
        made.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        made.currentItemChanged.connect(self._on_class)
        return made

    def _make_tool_box(self) -> QComboBox:
        made = QComboBox()
        made.setObjectName("prompt_kind")
        made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        for value, text in TOOLS:
            made.addItem(text, value)
        made.setToolTip("What a click does. Shift+click is outside, a right-drag is a box, always.")
        made.currentIndexChanged.connect(lambda i: self.tool_picked.emit(made.itemData(i)))
        return made

    def _on_class(self, item: QListWidgetItem | None, _previous: object = None) -> None:
        if item is not None:
            self.class_picked.emit(int(item.data(Qt.ItemDataRole.UserRole)))

    def set_classes(self, classes: Sequence[LabelClass]) -> None:
        """Fill the class list, and pick the first."""
        self.classes.blockSignals(True)
        self.classes.clear()
        for position, item in enumerate(classes):
            number = f"{position + 1}  " if position < 9 else ""
            row = QListWidgetItem(colour_icon(item.colour), f"{number}{item.name}")
            row.setData(Qt.ItemDataRole.UserRole, item.id)
            self.classes.addItem(row)
        self.classes.blockSignals(False)
        if classes:
            self.classes.setCurrentRow(0)
        # About three names fit a row at 320 px; four rows, then it scrolls.
        rows = min(4, (len(classes) + 2) // 3)
        self.classes.setFixedHeight(rows * max(self.classes.sizeHintForRow(0), 18) + 8)

    def pick_class(self, position: int) -> None:
        """Pick the class at `position` of the list, if there is one."""
        if position < self.classes.count():
            self.classes.setCurrentRow(position)

    def show_state(self, state: ViewState) -> None:
        """Show what can be done now."""
        self._heading.setText(state.heading)
        self._counts.setText(state.counts)
        for name, made in self._buttons.items():
            made.setEnabled(name in state.enabled)
