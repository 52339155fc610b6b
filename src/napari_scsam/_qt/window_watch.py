"""The window around a dock: when it is closed, and other docks in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QTimer

from napari_scsam._qt.keymap import main_window

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget


class CloseWatch(QObject):
    """Calls back when a window has been closed, but not when the user decided against it.

    A window tells none of the widgets in it that it is being closed, and it can be closed while
    the program goes on, as in a notebook.

    Parameters
    ----------
    window : QWidget
    closed : callable
        Called while all widgets of the window are still there.
    """

    def __init__(self, window: QWidget, closed: Callable[[], None]) -> None:
        super().__init__(window)
        self._closed = closed
        self._closing = False
        window.installEventFilter(self)

    def eventFilter(self, _watched: QObject | None, event: QEvent | None) -> bool:
        """Notice that the window is asked to close, and that it is hidden because of that."""
        if event is not None and event.type() == QEvent.Type.Close:
            self._closing = True
            QTimer.singleShot(0, self._stays)
        elif event is not None and event.type() == QEvent.Type.Hide and self._closing:
            self._closed()
        return False

    def _stays(self) -> None:
        self._closing = False


def is_open_in_another(dock: QWidget) -> bool:
    """Whether another dock of the same kind in the same window has a project open."""
    others = main_window(dock).findChildren(type(dock))
    open_others = [other for other in others if other is not dock and other.session is not None]
    return bool(open_others)
