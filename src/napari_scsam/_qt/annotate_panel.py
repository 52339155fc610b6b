"""Classes, tool, and the buttons of the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_scsam._qt.button_menu import ButtonMenu, menu_button
from napari_scsam._qt.button_rows import ButtonRows
from napari_scsam._qt.class_editor import ClassEditor
from napari_scsam._qt.class_list import ClassList
from napari_scsam._qt.style import GAP, PRIMARY_HEIGHT
from napari_scsam._qt.widgets import button, set_primary, small_button, text_label, title
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
    ("smooth", "Smooth outline   Y"),
    ("outline", "Exact outline"),
    ("fill", "Fill"),
)
TOOL_TIP = (
    "What a click or a drag does. With every tool: Shift+click is outside, a right-drag draws a "
    "box, a drag moves a point, W flips the selected point. A click selects a box or a stroke, "
    "Delete removes it, Esc cancels a drag. With a drawing tool, Ctrl+drag moves the picture. "
    "Smooth outline (Y) draws a curve through your clicks: five or six are enough for anything "
    "roundish. Brush (D, size by [ and ]), eraser (R), exact outline and fill change the label "
    "itself, exactly as drawn. I returns to clicking."
)
OVER_TIP = (
    "Whether a click or a stroke may take pixels of other classes (T switches): of none, of all, "
    "or of one class."
)
OTHERS_TIP = (
    "What a commit says of the classes without an outline on the slice, in this project. Not here: "
    "a round learns that they are absent. Not annotated yet: it learns nothing of them there. "
    "Shift+J leaves them open on one slice."
)
NEW_OBJECT_TIP = (
    "Start another object of this class on this slice (A). A box away from the others starts one "
    "by itself. A click on a point or a box returns to its object."
)
AXIS_TIP = "Orientation of the slices that are shown and annotated."
PROPAGATE_TIP = (
    "Outline the other slices from this one and from the committed ones, as drafts (Shift+G). "
    "Press again to stop: the drafts made so far stay, and one undo removes them all."
)
COMMIT_DRAFTS_TIP = (
    "Save every draft that is not flagged, and what you outlined by hand, as one step; classes "
    "without an outline as chosen under Other classes. "
    "Flagged slices stay drafts: N goes to the next one, J accepts it and goes to the one after it."
)
ACCEPT_TIP = (
    "Accept and commit this slice, then go to the next open one (J). Classes without an outline "
    "are saved as absent; with Shift+J they stay not annotated yet."
)
# object name, text, tool tip
PRIMARY = (
    ("suggest", "Suggest   G", "Show the suggestions of the active round on this slice (G)"),
    ("accept_next", "Accept + next   J", ACCEPT_TIP),
)
STEPS = (
    ("skip", "Skip  K", "Leave this slice for later (K); H goes back"),
    ("undo", "Undo  U", "Undo the last step, on any slice (U)"),
    ("redo", "Redo ⇧U", "Redo the last undone step (Shift+U)"),
)
VOLUME = (("propagate", "Propagate", PROPAGATE_TIP), ("commit_drafts", "", COMMIT_DRAFTS_TIP))
MORE_TIP = "Accept all suggested points, reject them, or commit without going on"
# object name, text, tool tip
MORE = (
    ("accept_all", "Accept all points", "Accept every suggested point without committing"),
    ("reject", "Reject all points", "Reject every suggested point that is not decided yet"),
    ("commit", "Commit and stay", "Save the displayed outline as this slice's label, and stay"),
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
        ``smooth``, ``outline`` or ``fill``.
    over_picked : str or int
        ``free``, ``all``, or the class that may be painted over.
    others_picked : bool
        Whether a commit leaves classes without an outline open.
    axis_picked : int
        Axis perpendicular to the slices to show.
    """

    pressed = Signal(str)
    class_picked = Signal(int)
    tool_picked = Signal(str)
    over_picked = Signal(object)
    others_picked = Signal(bool)
    axis_picked = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._heading = title("heading")
        self._counts = text_label("counts")
        self.classes = ClassList()
        self.classes.picked.connect(self.class_picked)
        self.editor = ClassEditor()
        self.editor.hide()
        self.editor.closed.connect(self.close_editor)
        self.tool = self._make_tool_box()
        self._over = self._make_over_box()
        self._others = self._make_others_box()
        self._axis = self._make_axis_box()
        self.window_box = WindowBox()
        self._buttons: dict[str, QPushButton] = {}
        self._table: tuple[LabelClass, ...] = ()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GAP)
        keys = small_button("keys", "?", "All keys and gestures (?)")
        keys.clicked.connect(lambda _checked=False: self.pressed.emit("keys"))
        self._edit = small_button("edit_classes", "✎", "Change names and colours, or add a class")
        self._edit.setCheckable(True)
        self._edit.toggled.connect(self._show_editor)
        layout.addLayout(_row((self._heading, 1), (self._axis, 0), (keys, 0)))
        layout.addWidget(self.window_box)
        layout.addLayout(_row((self.classes, 1), (self._edit, 0)))
        layout.addWidget(self.editor)
        new_object = self._make_button("new_object", "New object   A", NEW_OBJECT_TIP)
        layout.addWidget(ButtonRows([self.tool, new_object]))
        layout.addWidget(self._over)
        layout.addWidget(self._others)
        self._add_buttons(layout)
        layout.addWidget(self._counts)

    def _add_buttons(self, layout: QVBoxLayout) -> None:
        primary = [self._make_button(*entry) for entry in PRIMARY]
        for made in primary:
            made.setMinimumHeight(PRIMARY_HEIGHT)
        steps = [self._make_button(*entry) for entry in STEPS]
        menu = ButtonMenu([self._make_button(*entry) for entry in MORE], self)
        more = menu_button("more", "More", MORE_TIP, menu)
        for row in (primary, [*steps, more]):
            layout.addWidget(ButtonRows(row))
        for entry in VOLUME:
            layout.addWidget(self._make_button(*entry))

    def _make_button(self, name: str, text: str, tip: str) -> QPushButton:
        made = button(name, text, lambda: self.pressed.emit(name), tip)
        self._buttons[name] = made
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
        # A class may have a long name; the list shows it whole.
        made.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
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
        for box in (self._over, self._others):
            box.setVisible(len(classes) > 1)

    def _make_others_box(self) -> QComboBox:
        made = QComboBox()
        made.setObjectName("other_classes")
        made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        made.setToolTip(OTHERS_TIP)
        made.addItem("Other classes: not here", False)
        made.addItem("Other classes: not annotated yet", True)
        made.activated.connect(lambda i: self.others_picked.emit(made.itemData(i)))
        made.hide()
        return made

    def show_others(self, is_open: bool) -> None:
        """Show what a commit says of the classes without an outline."""
        _show_choice(self._others, is_open)

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

    def set_classes(self, classes: Sequence[LabelClass]) -> None:
        """Show the classes, and select the first class and the first tool."""
        self.tool.setCurrentIndex(0)
        self.classes.show_classes(classes)
        self._table = tuple(classes)
        self.close_editor()
        self._fill_over_box(classes)

    def close_editor(self) -> None:
        """Hide the form for the classes."""
        self._edit.setChecked(False)

    def _show_editor(self, shown: bool) -> None:
        if shown:
            self.editor.show_classes(self._table)
        self.editor.setVisible(shown)

    def pick_class(self, position: int) -> None:
        """Pick the class at `position` of the list, if there is one."""
        self.classes.pick(position)

    def show_state(self, state: ViewState) -> None:
        """Show what can be done now."""
        self._heading.setText(state.heading)
        self._counts.setText(state.counts)
        self._show_axes(state)
        _show_choice(self.tool, state.tool)
        _show_choice(self._over, state.over)
        for name, text in (("propagate", state.propagate), ("commit_drafts", state.commit_drafts)):
            self._buttons[name].setText(text)
            self._buttons[name].setVisible(bool(text))
        self._edit.setEnabled("edit_classes" in state.enabled)
        for name, made in self._buttons.items():
            made.setEnabled(name in state.enabled)
            set_primary(made, name in state.bright)


def _row(*parts: tuple[QWidget, int]) -> QHBoxLayout:
    """Return a row of widgets, each with its stretch."""
    row = QHBoxLayout()
    row.setSpacing(GAP)
    for part, stretch in parts:
        row.addWidget(part, stretch)
    return row


def _show_choice(box: QComboBox, value: object) -> None:
    """Show a choice that was made elsewhere, without emitting it."""
    index = box.findData(value)
    if index >= 0 and index != box.currentIndex():
        box.blockSignals(True)
        box.setCurrentIndex(index)
        box.blockSignals(False)
