"""Form to rename and recolour the classes, and to add one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from napari_scsam._qt.button_rows import ButtonRows
from napari_scsam._qt.class_colours import ColourButton
from napari_scsam._qt.style import GAP
from napari_scsam._qt.widgets import button, text_label
from napari_scsam.core.labels import MAX_CLASSES, PALETTE, LabelClass

if TYPE_CHECKING:
    from collections.abc import Sequence

NOTE = (
    "A new class is not annotated yet on the slices that are committed. The project is opened "
    "again with the changes."
)


class ClassRow(QWidget):
    """Name and colour of one class."""

    def __init__(self, item: LabelClass) -> None:
        super().__init__()
        self._item = item
        self.name = QLineEdit(item.name)
        self.name.setObjectName(f"class_name_{item.id}")
        self.name.setToolTip("Name of the class")
        self.name.setPlaceholderText("name of the class")
        self.colour = ColourButton(f"class_colour_{item.id}", "Choose the colour", item.colour)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(GAP)
        row.addWidget(self.colour)
        row.addWidget(self.name, 1)

    @property
    def item(self) -> LabelClass:
        """The class as it is in the form."""
        name, colour = self.name.text().strip(), self.colour.colour
        return replace(self._item, name=name, colour=colour)


class ClassEditor(QWidget):
    """Edits a class table; classes can't be removed, since labels may hold them.

    Signals
    -------
    saved : tuple of LabelClass
    closed :
        Without a change.
    """

    saved = Signal(object)
    closed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows: list[ClassRow] = []
        self._column = QVBoxLayout()
        self._column.setSpacing(GAP)
        more = button("add_class", "Add a class", self.add_class, "Add a class to the project")
        save = button("save_classes", "Save", self._save, "Save names and colours", primary=True)
        cancel = button("cancel_classes", "Cancel", self.closed.emit, "Close without a change")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GAP)
        layout.addLayout(self._column)
        layout.addWidget(more)
        layout.addWidget(text_label("classes_note", NOTE))
        layout.addWidget(ButtonRows([save, cancel]))

    def show_classes(self, classes: Sequence[LabelClass]) -> None:
        """Show a class table to edit."""
        for row in self._rows:
            self._column.removeWidget(row)
            row.deleteLater()
        self._rows = []
        for item in classes:
            self._add_row(item)

    def add_class(self) -> None:
        """Add a row for another class, with the next id and colour."""
        number = max((row.item.id for row in self._rows), default=0) + 1
        if number <= MAX_CLASSES:
            colour = PALETTE[(number - 1) % len(PALETTE)]
            self._add_row(LabelClass(number, "", colour)).name.setFocus()

    def _add_row(self, item: LabelClass) -> ClassRow:
        made = ClassRow(item)
        made.name.returnPressed.connect(self._save)
        self._rows.append(made)
        self._column.addWidget(made)
        return made

    def _save(self) -> None:
        self.saved.emit(tuple(row.item for row in self._rows))
