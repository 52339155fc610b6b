"""Classes, tool, and the buttons of the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

from napari_scsam._qt.style import GAP, PRIMARY_HEIGHT
from napari_scsam._qt.widgets import (
    SWATCH,
    button,
    colour_icon,
    fit_rows,
    row_size,
    set_title,
    text_label,
    title,
)
from napari_scsam._qt.window_box import WindowBox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_scsam.annotation.view_state import ViewState
    from napari_scsam.core.labels import LabelClass

TOOLS = (
    ("inside", "Click inside"),
    ("outside", "Click outside"),
    ("box", "Drag a box"),
    ("scribble", "Scribble"),
    ("lasso", "Lasso"),
    ("brush", "Brush   D"),
    ("eraser", "Eraser   R"),
    ("outline", "Exact outline"),
    ("fill", "Fill"),
)
GESTURES = "Shift: outside  ·  right-drag: box"
TOOL_TIP = (
    "What a click or a drag does. With every tool: Shift+click is outside, a right-drag draws a "
    "box, a drag moves a point, W flips the selected point. A click selects a box or a stroke, "
    "Delete removes it, Esc cancels a drag. With a drawing tool, Ctrl+drag moves the picture. "
    "Brush (D, size by [ and ]), eraser (R), exact outline and fill change the label itself, "
    "exactly as drawn. I returns to clicking."
)
OVER_TIP = (
    "Whether a click or a stroke may take pixels of other classes (T switches): of none, of all, "
    "or of one class."
)
NEW_OBJECT_TIP = (
    "Start another object of this class on this slice (A). A box away from the others starts one "
    "by itself. A click on a point or a box returns to its object."
)
AXIS_TIP = "Orientation of the slices that are shown and annotated."
PROPAGATE_TIP = (
    "Outline the other slices from this one and from the committed ones, as drafts. "
    "Press again to stop: the drafts made so far stay, and one undo removes them all."
)
COMMIT_DRAFTS_TIP = (
    "Save every draft that is not flagged, and what you outlined by hand, as one step. "
    "Flagged slices stay drafts: N goes to the next one, J accepts it."
)
CLASS_TIP = "Class of the next click. Key over the image: its number."
# Lines of class names before the list scrolls, and pixels beside a name. Both arbitrary.
CLASS_LINES = 4
CLASS_GAP = 26

ACCEPT_TIP = (
    "Accept and commit this slice, then go to the next open one (J). Classes without an outline "
    "are saved as absent; with Shift+J they stay not annotated yet."
)
# object name, text, tool tip, column, columns of six
PRIMARY = (
    ("suggest", "Suggest   G", "Show the suggestions of the active round on this slice (G)", 0, 3),
    ("accept_next", "Accept + next   J", ACCEPT_TIP, 3, 3),
)
# object name, text, tool tip, row, column, columns of six
BUTTONS = (
    ("accept_all", "Accept all", "Accept every suggested point without committing", 1, 0, 2),
    ("reject", "Reject", "Reject every suggested point that is not decided yet", 1, 2, 2),
    ("commit", "Commit", "Save the displayed outline as this slice's label, and stay", 1, 4, 2),
    ("skip", "Skip   K", "Leave this slice for later (K); H goes back", 2, 0, 2),
    ("undo", "Undo   U", "Undo the last step, on any slice (U)", 2, 2, 2),
    ("redo", "Redo   ⇧U", "Redo the last undone step (Shift+U)", 2, 4, 2),
    ("propagate", "Propagate", PROPAGATE_TIP, 3, 0, 6),
    ("commit_drafts", "", COMMIT_DRAFTS_TIP, 4, 0, 6),
)


class AnnotatePanel(QWidget):
    """Shows a ViewState and emits what was pressed.

    Signals
    -------
    pressed : str
        Object name of a button.
    class_picked : int
        Class id.
    tool_picked : str
        ``inside``, ``outside``, ``box``, ``scribble``, ``lasso``, ``brush``, ``eraser``,
        ``outline`` or ``fill``.
    over_picked : str or int
        ``free``, ``all``, or the class that may be painted over.
    axis_picked : int
        Axis perpendicular to the slices to show.
    """

    pressed = Signal(str)
    class_picked = Signal(int)
    tool_picked = Signal(str)
    over_picked = Signal(object)
    axis_picked = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._heading = title("heading")
        self._counts = text_label("counts")
        self.classes = self._make_class_list()
        self.tool = self._make_tool_box()
        self._over = self._make_over_box()
        self._axis = self._make_axis_box()
        self.window_box = WindowBox()
        self._buttons: dict[str, QPushButton] = {}
        grid = self._make_grid()
        head = QHBoxLayout()
        head.addWidget(self._heading, 1)
        head.addWidget(self._axis)
        tools = QHBoxLayout()
        tools.setSpacing(GAP)
        tools.addWidget(self.tool, 1)
        tools.addWidget(self._make_button("new_object", "New object   A", NEW_OBJECT_TIP), 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GAP)
        layout.addLayout(head)
        layout.addWidget(self.window_box)
        layout.addWidget(self.classes)
        layout.addLayout(tools)
        layout.addWidget(self._over)
        layout.addWidget(text_label("gestures", GESTURES))
        layout.addLayout(grid)
        layout.addWidget(self._counts)

    def _make_grid(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setSpacing(GAP)
        for name, text, tip, column, span in PRIMARY:
            made = self._make_button(name, text, tip, primary=True)
            made.setMinimumHeight(PRIMARY_HEIGHT)
            grid.addWidget(made, 0, column, 1, span)
        for name, text, tip, row, column, span in BUTTONS:
            grid.addWidget(self._make_button(name, text, tip), row, column, 1, span)
        return grid

    def _make_button(self, name: str, text: str, tip: str, *, primary: bool = False) -> QPushButton:
        made = button(name, text, lambda: self.pressed.emit(name), tip, primary=primary)
        self._buttons[name] = made
        return made

    def _make_class_list(self) -> QListWidget:
        made = QListWidget()
        made.setObjectName("class_list")
        made.setFlow(QListWidget.Flow.LeftToRight)
        made.setWrapping(True)
        made.setResizeMode(QListWidget.ResizeMode.Adjust)
        made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        made.setIconSize(QSize(SWATCH, SWATCH))
        made.setToolTip(CLASS_TIP)
        made.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        made.currentItemChanged.connect(self._on_class)
        fit_rows(made, 1)
        return made

    def _make_tool_box(self) -> QComboBox:
        made = QComboBox()
        made.setObjectName("prompt_kind")
        made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        for value, text in TOOLS:
            made.addItem(text, value)
        made.setToolTip(TOOL_TIP)
        made.currentIndexChanged.connect(lambda i: self.tool_picked.emit(made.itemData(i)))
        return made

    def _make_over_box(self) -> QComboBox:
        made = QComboBox()
        made.setObjectName("paint_over")
        made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        made.setToolTip(OVER_TIP)
        made.currentIndexChanged.connect(lambda i: self.over_picked.emit(made.itemData(i)))
        made.hide()
        return made

    def _fill_over_box(self, classes: Sequence[LabelClass]) -> None:
        self._over.blockSignals(True)
        self._over.clear()
        self._over.addItem("Keep other classes   T", "free")
        self._over.addItem("Replace other classes   T", "all")
        for item in classes:
            self._over.addItem(f"Replace {item.name} only", item.id)
        self._over.blockSignals(False)
        self._over.setVisible(len(classes) > 1)

    def _make_axis_box(self) -> QComboBox:
        made = QComboBox()
        made.setObjectName("plane_axis")
        made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        made.setToolTip(AXIS_TIP)
        made.currentIndexChanged.connect(self.axis_picked.emit)
        made.hide()
        return made

    def _show_axes(self, state: ViewState) -> None:
        box, names = self._axis, [name.capitalize() for name in state.axes]
        box.blockSignals(True)
        if names != [box.itemText(i) for i in range(box.count())]:
            box.clear()
            box.addItems(names)
        box.setCurrentIndex(state.axis)
        box.blockSignals(False)
        box.setVisible(bool(names))

    def _on_class(self, item: QListWidgetItem | None, _previous: object = None) -> None:
        if item is not None:
            self.class_picked.emit(int(item.data(Qt.ItemDataRole.UserRole)))

    def set_classes(self, classes: Sequence[LabelClass]) -> None:
        """Fill the class list, and select the first class and the first tool."""
        self.tool.setCurrentIndex(0)
        self.classes.blockSignals(True)
        self.classes.clear()
        for position, item in enumerate(classes):
            number = f"{position + 1}  " if position < 9 else ""
            row = QListWidgetItem(colour_icon(item.colour), f"{number}{item.name}")
            row.setData(Qt.ItemDataRole.UserRole, item.id)
            row.setToolTip(f"{item.name}. {CLASS_TIP}")
            width = self.classes.fontMetrics().horizontalAdvance(row.text())
            row.setSizeHint(row_size(self.classes) + QSize(width + SWATCH + CLASS_GAP, 0))
            self.classes.addItem(row)
        self.classes.blockSignals(False)
        if classes:
            self.classes.setCurrentRow(0)
        self._fit_classes()
        self._fill_over_box(classes)

    def _fit_classes(self) -> None:
        """Set the height of the list to that of its names at its current width."""
        room = max(self.classes.width() - 2 * self.classes.frameWidth(), 1)
        lines, used = 1, 0
        for position in range(self.classes.count()):
            width = self.classes.item(position).sizeHint().width()
            if used and used + width > room:
                lines, used = lines + 1, 0
            used += width
        fit_rows(self.classes, min(lines, CLASS_LINES))

    def resizeEvent(self, event: object) -> None:
        """Wrap the class names again."""
        super().resizeEvent(event)
        self._fit_classes()

    def pick_class(self, position: int) -> None:
        """Pick the class at `position` of the list, if there is one."""
        if position < self.classes.count():
            self.classes.setCurrentRow(position)

    def show_state(self, state: ViewState) -> None:
        """Show what can be done now."""
        set_title(self._heading, state.heading)
        self._counts.setText(state.counts)
        self._show_axes(state)
        _show_choice(self.tool, state.tool)
        _show_choice(self._over, state.over)
        for name, text in (("propagate", state.propagate), ("commit_drafts", state.commit_drafts)):
            self._buttons[name].setText(text)
            self._buttons[name].setVisible(bool(text))
        for name, made in self._buttons.items():
            made.setEnabled(name in state.enabled)


def _show_choice(box: QComboBox, value: object) -> None:
    """Show a choice that was made elsewhere, without emitting it."""
    index = box.findData(value)
    if index >= 0 and index != box.currentIndex():
        box.blockSignals(True)
        box.setCurrentIndex(index)
        box.blockSignals(False)
