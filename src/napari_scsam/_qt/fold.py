"""A section of the dock that folds into one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QHBoxLayout, QToolButton, QVBoxLayout, QWidget

from napari_scsam._qt.style import GAP

if TYPE_CHECKING:
    from collections.abc import Sequence


class Fold(QWidget):
    """A line that opens and closes what is below it.

    Parameters
    ----------
    name : str
        Object name of the button that opens it.
    tip : str
        Tool tip of the button.
    line : QWidget
        What stays visible.
    parts : sequence of QWidget
        What it contains.
    is_open : bool
        Whether it starts open.
    """

    def __init__(
        self,
        name: str,
        tip: str,
        line: QWidget,
        parts: Sequence[QWidget],
        *,
        is_open: bool = False,
    ) -> None:
        super().__init__()
        self._line = line
        line.installEventFilter(self)
        self._button = self._make_button(name, tip)
        self._body = QWidget()
        inside = QVBoxLayout(self._body)
        inside.setContentsMargins(0, 0, 0, GAP)
        inside.setSpacing(GAP)
        for part in parts:
            inside.addWidget(part)
        head = QHBoxLayout()
        head.setSpacing(GAP)
        head.addWidget(self._button)
        head.addWidget(line, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GAP)
        layout.addLayout(head)
        layout.addWidget(self._body)
        self._button.setChecked(is_open)
        self._show_body(is_open)

    def _make_button(self, name: str, tip: str) -> QToolButton:
        made = QToolButton()
        made.setObjectName(name)
        made.setCheckable(True)
        made.setToolTip(tip)
        made.setAccessibleName(tip)
        made.setProperty("fold", True)
        made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        made.toggled.connect(self._show_body)
        return made

    @property
    def is_open(self) -> bool:
        """Whether its content is shown."""
        return bool(self._button.isChecked())

    def open(self) -> None:
        """Show its content."""
        self._button.setChecked(True)

    def show_line(self, shown: bool) -> None:
        """Show the line with its content folded, or the content alone."""
        self._button.setVisible(shown)
        self._line.setVisible(shown)
        self._button.setChecked(not shown)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Open or close by a click on the text, too."""
        released = event is not None and event.type() == QEvent.Type.MouseButtonRelease
        if watched is self._line and released:
            self._button.toggle()
        return bool(super().eventFilter(watched, event))

    def _show_body(self, shown: bool) -> None:
        self._button.setArrowType(Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow)
        self._body.setVisible(shown)
