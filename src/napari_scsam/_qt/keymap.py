"""Keys of the viewer's window while a project is open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QShortcut, QWidget

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Keymap(QObject):
    """Shortcuts of the whole window, since lists and combo boxes consume a layer's keys.

    Parameters
    ----------
    window : QWidget
        The viewer's main window.
    actions : mapping of key to callable
        Such as ``{"J": ..., "Shift+U": ...}``. Only letters that napari does not use.
    """

    def __init__(self, window: QWidget, actions: Mapping[str, Callable[[], Any]]) -> None:
        super().__init__(window)
        self._shortcuts = []
        for key, action in actions.items():
            shortcut = QShortcut(QKeySequence(key), window)
            shortcut.setContext(Qt.ShortcutContext.WindowShortcut)
            shortcut.setAutoRepeat(False)  # a key held down must not commit slice after slice
            shortcut.activated.connect(action)
            self._shortcuts.append(shortcut)

    def close(self) -> None:
        """Remove the shortcuts."""
        for shortcut in self._shortcuts:
            shortcut.setEnabled(False)
            shortcut.deleteLater()
        self._shortcuts.clear()
        self.deleteLater()


def main_window(widget: QWidget) -> QWidget:
    """Return the window that `widget` belongs to, also while its dock floats."""
    window = widget.window()
    while window.parentWidget() is not None:
        window = window.parentWidget().window()
    return window
