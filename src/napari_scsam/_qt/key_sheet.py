"""Sheet with all keys and gestures."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QScrollArea, QVBoxLayout

from napari_scsam._qt.widgets import text_label

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

# Keys of the window, in the order of the sheet: key, what it does.
KEYS = (
    ("J", "accept, commit, go to the next slice"),
    ("Shift+J", "the same, and leave the other classes not annotated yet"),
    ("K", "skip this slice for now"),
    ("H", "back to the previous slice"),
    ("N", "where propagation stopped, next question, or next slice to check"),
    ("G", "suggest points on this slice"),
    ("Shift+G", "propagate to the other slices, or stop"),
    ("Q", "answer yes to a question"),
    ("W", "answer no, or flip the selected point"),
    ("U", "undo; the last vertex of an outline"),
    ("Shift+U", "redo"),
    ("A", "start another object of the class"),
    ("I", "return to clicking"),
    ("D", "brush"),
    ("R", "eraser"),
    ("Y", "smooth outline through your clicks"),
    ("T", "keep other classes, or replace them"),
    ("O", "clean up small islands and holes"),
    ("/", "find an image by its name; Enter opens the first one"),
    ("?", "show this sheet"),
)
# Keys and gestures on the image.
ON_IMAGE = (
    ("1 to 9", "class"),
    ("[ and ]", "smaller or larger brush"),
    ("click", "a point inside"),
    ("Shift+click", "a point outside"),
    ("click in a suggestion", "replace it by the mask of this click"),
    ("right-drag", "a box"),
    ("drag a point", "move it"),
    ("click a point, box or stroke", "select it"),
    ("Delete", "delete what is selected, or the last vertex of an outline"),
    ("Ctrl+drag", "move the image while a drawing tool is on"),
    ("B, held", "hide everything except the image"),
    ("Enter", "complete an outline"),
    ("Esc", "cancel a drag or an outline"),
)
# Pixels; arbitrary.
SIZE = (420, 560)
KEY_WIDTH = 120  # of the first column; arbitrary


class KeySheet(QDialog):
    """Lists the keys; it does not block the window."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("key_sheet")
        self.setWindowTitle("SC-SAM: keys")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        text = text_label("key_sheet_text", selectable=True)
        text.setTextFormat(Qt.TextFormat.RichText)
        text.setText(_table("In the window", KEYS) + _table("On the image", ON_IMAGE))
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setWidget(text)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(scroll)
        self.resize(*SIZE)


def _table(heading: str, rows: tuple[tuple[str, str], ...]) -> str:
    body = "".join(
        f"<tr><td width='{KEY_WIDTH}'><b>{escape(key)}</b></td><td>{escape(what)}</td></tr>"
        for key, what in rows
    )
    return f"<h3>{heading}</h3><table cellpadding='3'>{body}</table>"
