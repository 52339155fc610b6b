"""Small pieces that every panel is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QLabel, QPushButton, QSizePolicy, QToolButton, QWidget


def button(
    name: str, text: str, on_click: Callable[[], Any] | None = None, tip: str = ""
) -> QPushButton:
    """Push button with an object name, that takes no focus: Space must not press it again."""
    made = QPushButton(text)
    made.setObjectName(name)
    made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    made.setToolTip(tip)
    # Two or three stand in a row at 320 px, so none may insist on its text's width.
    made.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    if on_click is not None:
        made.clicked.connect(lambda _checked=False: on_click())
    return made


def small_button(name: str, text: str, tip: str = "") -> QToolButton:
    """Tool button for what is pressed now and then."""
    made = QToolButton()
    made.setObjectName(name)
    made.setText(text)
    made.setToolTip(tip)
    made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return made


def text_label(name: str = "", text: str = "", *, selectable: bool = False) -> QLabel:
    """Label that wraps, so that a long line is shown whole in a narrow dock."""
    made = QLabel(text)
    made.setObjectName(name)
    made.setWordWrap(True)
    made.setTextFormat(Qt.TextFormat.PlainText)
    made.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    if selectable:
        made.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return made


def colour_icon(colour: str) -> QIcon:
    """A square of one colour."""
    pixmap = QPixmap(12, 12)
    pixmap.fill(QColor(colour))
    return QIcon(pixmap)


def dim(widget: QWidget) -> QWidget:
    """Draw `widget`'s text as less important, in any theme."""
    widget.setStyleSheet("QLabel { color: palette(mid); }")
    return widget
