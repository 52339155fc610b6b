"""Buttons that choose the colours of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QColorDialog, QGridLayout, QToolButton, QWidget

from napari_scsam._qt.style import GAP
from napari_scsam._qt.widgets import SWATCH, colour_icon
from napari_scsam.core.labels import PALETTE

if TYPE_CHECKING:
    from collections.abc import Sequence

# Buttons in a row; so many fit a dock of 320 px. Arbitrary otherwise.
IN_A_ROW = 7


class ColourButton(QToolButton):
    """Shows a colour, and lets the user choose another one."""

    def __init__(self, name: str, tip: str, colour: str) -> None:
        super().__init__()
        self.setObjectName(name)
        self.setToolTip(tip)
        self.setIconSize(QSize(SWATCH, SWATCH))
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.clicked.connect(self._ask)
        self.set_colour(QColor(colour))

    @property
    def colour(self) -> str:
        """The colour as ``#RRGGBB``."""
        return self._colour

    def set_colour(self, colour: QColor) -> None:
        """Choose a colour."""
        if colour.isValid():
            self._colour = str(colour.name()).upper()
            self.setIcon(colour_icon(self._colour))

    def _ask(self) -> None:
        dialog = QColorDialog(QColor(self._colour), self)
        dialog.colorSelected.connect(self.set_colour)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()


class ClassColours(QWidget):
    """One button for each class of a project that is not created yet."""

    def __init__(self) -> None:
        super().__init__()
        self._buttons: list[ColourButton] = []
        self._shown = 0
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(GAP)
        self._grid.setColumnStretch(IN_A_ROW, 1)

    @property
    def colours(self) -> tuple[str, ...]:
        """The colours of the classes, as ``#RRGGBB``."""
        return tuple(made.colour for made in self._buttons[: self._shown])

    def show_classes(self, names: Sequence[str]) -> None:
        """Show a button for each class; what was chosen for its position stays."""
        for position in range(len(self._buttons), len(names)):
            made = ColourButton(f"new_colour_{position + 1}", "", PALETTE[position % len(PALETTE)])
            self._grid.addWidget(made, position // IN_A_ROW, position % IN_A_ROW)
            self._buttons.append(made)
        self._shown = len(names)
        for position, made in enumerate(self._buttons):
            made.setVisible(position < self._shown)
            if position < self._shown:
                made.setToolTip(f"Choose the colour of {names[position]}")
