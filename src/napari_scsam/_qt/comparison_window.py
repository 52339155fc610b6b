"""A window with two pictures of one slice, each with outlines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPixmap
from qtpy.QtWidgets import QDialog, QHBoxLayout, QVBoxLayout, QWidget

from napari_scsam._qt.widgets import text_label, title

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from qtpy.QtGui import QPaintEvent

# Pixels; arbitrary.
SIZE = (900, 560)
LEAST = 160  # of a picture; arbitrary


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two pictures.

    Attributes
    ----------
    title : str
    picture : ndarray of shape (rows, cols, 3), uint8
    label : ndarray of shape (rows, cols), uint8
        What is outlined.
    colours : mapping of int to str
        Colour of each class.
    """

    title: str
    picture: NDArray[np.uint8]
    label: NDArray[np.uint8]
    colours: Mapping[int, str]


class ComparisonWindow(QDialog):
    """Shows two pictures beside each other; it does not block the window.

    Parameters
    ----------
    parent : QWidget
    name : str
        Of the slice.
    """

    def __init__(self, parent: QWidget, name: str) -> None:
        super().__init__(parent)
        self.setObjectName("comparison")
        self.setWindowTitle(f"SC-SAM: two rounds on {name}")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._text = text_label("comparison_text", "Loading the models …", selectable=True)
        self._sides = QHBoxLayout()
        layout = QVBoxLayout(self)
        layout.addLayout(self._sides, 1)
        layout.addWidget(self._text)
        self.resize(*SIZE)

    def show_sides(self, sides: Sequence[Side]) -> None:
        """Show the pictures."""
        for side in sides:
            column = QVBoxLayout()
            column.addWidget(title("comparison_title", side.title))
            column.addWidget(Picture(with_outlines(side)), 1)
            self._sides.addLayout(column, 1)

    def show_text(self, text: str) -> None:
        """Show what is being done, or what was found."""
        self._text.setText(text)


class Picture(QWidget):
    """A picture that fills its place and keeps its proportions.

    Parameters
    ----------
    pixels : ndarray of shape (rows, cols, 3), uint8
    """

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        super().__init__()
        self.setObjectName("comparison_picture")
        rows, cols = pixels.shape[:2]
        held = np.ascontiguousarray(pixels)
        image = QImage(held.data, cols, rows, 3 * cols, QImage.Format.Format_RGB888)
        self._pixmap = QPixmap.fromImage(image.copy())
        self.setMinimumSize(QSize(LEAST, LEAST))

    def paintEvent(self, _event: QPaintEvent | None) -> None:
        """Draw it as large as it fits."""
        shown = self._pixmap.scaled(
            self.size(),
            Qt.AspectRatioMode.KeepAspectRatio,
            Qt.TransformationMode.FastTransformation,
        )
        painter = QPainter(self)
        left, top = (self.width() - shown.width()) // 2, (self.height() - shown.height()) // 2
        painter.drawPixmap(left, top, shown)
        painter.end()


def with_outlines(side: Side) -> NDArray[np.uint8]:
    """Return a picture with the inner outline of each class drawn on it."""
    drawn = side.picture.copy()
    padded = np.pad(side.label, 1)
    middle = padded[1:-1, 1:-1]
    beside = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    edge = np.any([middle != other for other in beside], axis=0)
    for class_id, colour in side.colours.items():
        drawn[edge & (side.label == class_id)] = QColor(colour).getRgb()[:3]
    return drawn
