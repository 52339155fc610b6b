"""Paints a row of the list of images: thumbnail, name, score and reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QRect, QSize, Qt
from qtpy.QtGui import QPainter, QPalette, QPixmap
from qtpy.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem

from napari_scsam._qt.queue_model import ITEM_ROLE
from napari_scsam._qt.widgets import ROW_PADDING

if TYPE_CHECKING:
    from qtpy.QtCore import QModelIndex

    from napari_scsam._qt.queue_model import QueueItem

# Pixels beside texts, and the opacity of the second line. Both arbitrary.
BESIDE = 6
FAINT = 0.75  # arbitrary


class QueueDelegate(QStyledItemDelegate):
    """Rows of one height, with a second line where there are reasons.

    Attributes
    ----------
    two_lines : bool
        Whether rows have a second line.
    """

    two_lines = False

    def sizeHint(self, option: QStyleOptionViewItem, _index: QModelIndex) -> QSize:
        """Return the size of every row."""
        return QSize(0, self.height(option.fontMetrics.height()))

    def height(self, line: int) -> int:
        """Return the height of a row in pixels, with lines of this height."""
        return (2 if self.two_lines else 1) * line + ROW_PADDING

    def paint(
        self, painter: QPainter | None, option: QStyleOptionViewItem, index: QModelIndex
    ) -> None:
        """Paint one row."""
        if painter is None:
            return
        shown = QStyleOptionViewItem(option)
        self.initStyleOption(shown, index)
        shown.text = ""
        shown.icon = type(shown.icon)()
        shown.widget.style().drawControl(
            QStyle.ControlElement.CE_ItemViewItem, shown, painter, shown.widget
        )
        item: QueueItem = index.data(ITEM_ROLE)
        area = option.rect.adjusted(BESIDE, 0, -BESIDE, 0)
        area.setLeft(_paint_sign(painter, area, item.mark, index.data(_THUMBNAIL)))
        painter.save()
        painter.setPen(option.palette.color(QPalette.ColorRole.Text))
        self._paint_texts(painter, area, item)
        painter.restore()

    def _paint_texts(self, painter: QPainter, area: QRect, item: QueueItem) -> None:
        first = QRect(area)
        if self.two_lines:
            first.setHeight(area.height() // 2)
            second = area.adjusted(0, area.height() // 2, 0, 0)
            painter.setOpacity(FAINT)
            reason = item.reason or item.progress
            _paint_line(painter, second, reason, Qt.TextElideMode.ElideRight)
            painter.setOpacity(1.0)
        right = item.progress
        if self.two_lines:
            right = "" if item.score is None else f"{item.score:.2f}"
        width = painter.fontMetrics().horizontalAdvance(right)
        painter.drawText(first, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, right)
        name = item.name if item.plane is None else f"{item.name}, slice {item.plane}"
        # The ends of names tell images apart.
        beside = first.adjusted(0, 0, -width - BESIDE, 0)
        _paint_line(painter, beside, name, Qt.TextElideMode.ElideMiddle)


_THUMBNAIL = int(Qt.ItemDataRole.DecorationRole)


def _paint_sign(painter: QPainter, area: QRect, mark: str, thumbnail: QPixmap | None) -> int:
    """Paint the state's sign, and the thumbnail if there is one; returns where texts begin."""
    width = int(painter.fontMetrics().horizontalAdvance("◐"))
    painter.drawText(area, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, mark)
    left: int = area.left() + width + BESIDE
    if thumbnail is None:
        return left
    side: int = area.height() - 2
    scaled = thumbnail.scaled(side, side, Qt.AspectRatioMode.KeepAspectRatio)
    painter.drawPixmap(left, area.top() + 1, scaled)
    return left + side + BESIDE


def _paint_line(painter: QPainter, area: QRect, text: str, left_out: Qt.TextElideMode) -> None:
    """Paint a text in one line; a part is left out where it is too long."""
    shown = painter.fontMetrics().elidedText(text, left_out, area.width())
    painter.drawText(area, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, shown)
