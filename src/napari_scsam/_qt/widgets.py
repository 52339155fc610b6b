"""Small widgets shared by the panels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import QLabel, QListWidget, QPushButton, QSizePolicy, QToolButton, QWidget

if TYPE_CHECKING:
    from collections.abc import Callable

# Pixels; arbitrary.
SWATCH = 12
ROW_PADDING = 8  # arbitrary
# Milliseconds that a message stays. Arbitrary: long enough to read two lines twice.
EXPIRES_MS = 15_000
# Spaces at which Qt wraps and does not: a zero-width one, and the no-break space.
WRAP, NO_WRAP = "\u200b", "\u00a0"
# Pixels; wider than any text. Arbitrary.
_WIDE = 100_000
# Pixels above and below the text of a label, at least. Arbitrary.
_AROUND = 4
# Words that may wrap after a separator, or anywhere; and what stays in one line. The numbers are
# arbitrary: about half a line, and a line, of 320 px.
_LONG, _LONGER = re.compile(r"\S{12,}"), 24
_SEPARATED = re.compile(r"(?<=[_./\\-])(?=.)")
_TOGETHER = re.compile(r"slice \d+ \(0 to \d+\)")


def button(
    name: str,
    text: str,
    on_click: Callable[[], Any] | None = None,
    tip: str = "",
    *,
    primary: bool = False,
) -> QPushButton:
    """Push button that gets the focus by Tab only, so that Space does not press it again."""
    made = QPushButton(text)
    made.setObjectName(name)
    made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    made.setToolTip(tip)
    made.setProperty("primary", primary)
    # With two or three in a row of 320 px, none can demand the width of its text.
    made.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    if on_click is not None:
        made.clicked.connect(lambda _checked=False: on_click())
    return made


def small_button(name: str, text: str, tip: str = "") -> QToolButton:
    """Tool button for rarely used actions."""
    made = QToolButton()
    made.setObjectName(name)
    made.setText(text)
    made.setToolTip(tip)
    made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    return made


def text_label(name: str = "", text: str = "", *, selectable: bool = False) -> QLabel:
    """Label that wraps, so that a long line is not cut in a narrow dock."""
    made = QLabel(text)
    wrap_text(made, name, selectable=selectable)
    return made


def wrap_text(label: QLabel, name: str, *, selectable: bool = False) -> None:
    """Name a label and let it wrap."""
    label.setObjectName(name)
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    if selectable:
        label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)


class BreakingLabel(QLabel):
    """Label that is never cut: it wraps, also inside a long file name or path."""

    def __init__(self, name: str = "") -> None:
        super().__init__()
        self._text = ""
        self.setObjectName(name)
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)

    def text(self) -> str:
        """Return the text without the places where it may wrap."""
        return self._text

    def shown_text(self) -> str:
        """Return the text with the places where it may wrap, and where not."""
        return str(super().text())

    def setText(self, text: str | None) -> None:
        """Show a text."""
        self._text = text or ""
        text = _TOGETHER.sub(lambda found: found[0].replace(" ", NO_WRAP), self._text)
        super().setText(_LONG.sub(_may_wrap, text))


def title(name: str = "", text: str = "") -> BreakingLabel:
    """Bold text, in as many lines as it needs."""
    made = BreakingLabel(name)
    made.setText(text)
    set_role(made, "title")
    return made


def _may_wrap(word: re.Match[str]) -> str:
    """Let a word wrap after its separators, and anywhere in a part that is long itself."""
    parts = _SEPARATED.split(word[0])
    return WRAP.join(part if len(part) < _LONGER else WRAP.join(part) for part in parts)


def set_primary(widget: QWidget, primary: bool) -> None:
    """Draw a button as the likely next step, or plain."""
    if bool(widget.property("primary")) != primary:
        widget.setProperty("primary", primary)
        widget.style().unpolish(widget)
        widget.style().polish(widget)


def set_title(label: BreakingLabel, text: str) -> None:
    """Set the text and the tool tip of a title."""
    label.setText(text)
    label.setToolTip(text)


def set_role(widget: QWidget, role: str) -> None:
    """Set the role, such as ``problem``, by which the style sheet draws a widget."""
    if widget.property("role") != role:
        widget.setProperty("role", role)
        widget.style().unpolish(widget)
        widget.style().polish(widget)


class SteadyLabel(QLabel):
    """Label that is two lines high at least, so that a short text moves nothing."""

    def __init__(self, name: str, *, selectable: bool = False) -> None:
        super().__init__()
        wrap_text(self, name, selectable=selectable)

    def heightForWidth(self, width: int) -> int:
        """Return the height of the text, or of two lines."""
        return max(int(super().heightForWidth(width)), self._two_lines())

    def minimumSizeHint(self) -> QSize:
        """Return the same; Qt does not ask for `heightForWidth` where there is no text."""
        hint = super().minimumSizeHint()
        return QSize(hint.width(), max(hint.height(), self._two_lines()))

    def _two_lines(self) -> int:
        flags = int(Qt.TextFlag.TextWordWrap.value)
        text = self.fontMetrics().boundingRect(0, 0, _WIDE, _WIDE, flags, "x\nx").height()
        return int(text) + _AROUND


class StatusLine(SteadyLabel):
    """Shows the last message. It expires, unless it is an error, or about what still goes on."""

    def __init__(self) -> None:
        super().__init__("status", selectable=True)
        # The last message of the state, its number, and whether it is about what goes on.
        self._followed, self._number, self._lasts = "", 0, False
        self._expiry = QTimer(self)
        self._expiry.setSingleShot(True)
        self._expiry.setInterval(EXPIRES_MS)
        self._expiry.timeout.connect(self.clear)

    def say(self, text: str, *, error: bool = False, lasts: bool = False) -> None:
        """Show a message.

        Parameters
        ----------
        text : str
        error : bool
            Stays until the next message.
        lasts : bool
            Whether it is about what goes on, and stays; so does one that ends with an ellipsis.
        """
        self.setText(f"⚠ {text}" if error else text)
        set_role(self, "problem" if error else "")
        if error or lasts or text.endswith("…"):
            self._expiry.stop()
        else:
            self._expiry.start()

    def follow(self, text: str, number: int, *, error: bool = False, lasts: bool = False) -> None:
        """Show the message of a state that is reported at each change, if it is a new one.

        An empty one takes the state's last message away. The number tells a message that is said
        once more.
        """
        is_new = (text, number) != (self._followed, self._number)
        has_ended = self._lasts and not lasts and self.text() == self._followed
        if text and (error or is_new or has_ended):
            self.say(text, error=error, lasts=lasts)
        elif not text and self.text() == self._followed:
            self.clear()
        self._followed, self._number, self._lasts = text, number, lasts


def row_size(view: QListWidget) -> QSize:
    """Size hint of a one-line row; known before the list is first shown."""
    return QSize(0, view.fontMetrics().height() + ROW_PADDING)


def fit_rows(view: QListWidget, rows: int) -> None:
    """Set the height of `view` to that of `rows` rows."""
    view.setFixedHeight(max(rows, 1) * row_size(view).height() + 2 * view.frameWidth() + 2)


def colour_icon(colour: str) -> QIcon:
    """A white-rimmed square of one colour, which selecting its row does not tint."""
    pixmap = QPixmap(SWATCH, SWATCH)
    pixmap.fill(QColor("white"))
    painter = QPainter(pixmap)
    painter.fillRect(1, 1, SWATCH - 2, SWATCH - 2, QColor(colour))
    painter.end()
    icon = QIcon(pixmap)
    icon.addPixmap(pixmap, QIcon.Mode.Selected)
    return icon
