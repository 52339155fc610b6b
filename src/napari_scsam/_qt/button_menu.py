"""A menu of buttons, for what is pressed less often."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QMenu, QPushButton, QWidgetAction

from napari_scsam._qt.widgets import button

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtWidgets import QWidget


class ButtonMenu(QMenu):
    """A menu whose entries are push buttons, so that they keep names, tips and states.

    Parameters
    ----------
    buttons : sequence of QPushButton
        The entries.
    parent : QWidget
        Where its style comes from.
    """

    def __init__(self, buttons: Sequence[QPushButton], parent: QWidget) -> None:
        super().__init__(parent)
        self.setToolTipsVisible(True)
        for made in buttons:
            entry = QWidgetAction(self)
            entry.setDefaultWidget(made)
            self.addAction(entry)
            made.clicked.connect(self.close)


def menu_button(name: str, text: str, tip: str, menu: QMenu) -> QPushButton:
    """Return a button that opens a menu below itself."""
    made = button(name, text, None, tip)
    made.setMenu(menu)
    return made
