"""Live plot of the running round: two losses and the held-out Dice."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QFont, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_scsam.rounds.shown_rounds import Curve, RoundsState

if TYPE_CHECKING:
    from collections.abc import Sequence

# Colours of Okabe and Ito (2008). The pens differ, too, for people who can't tell them apart.
UNET = ("#56B4E9", Qt.PenStyle.SolidLine, "U-Net")
SAM = ("#E69F00", Qt.PenStyle.DashLine, "SAM")
DICE = ("#009E73", Qt.PenStyle.DotLine, "Dice")
# Pixels; arbitrary.
MARGIN = 4
LEGEND_HEIGHT = 18  # arbitrary
HEIGHT = 110  # arbitrary
PEN = 1.8  # arbitrary
DOT = 2.5  # arbitrary
SMALL_FONT = 11  # arbitrary
# Curves with at most this many points get dots, since one point makes no line. Arbitrary.
FEW = 40
# Colour, pen and name; points; upper end of the axis.
DrawnCurve: TypeAlias = tuple[tuple[str, Qt.PenStyle, str], Curve, float]


class CurvePlot(QWidget):
    """Draws the curves of a RoundsState. The losses share an axis from 0; Dice is 0 to 1."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("train_plot")
        self.setFixedHeight(HEIGHT)
        self.setToolTip(
            "Training loss of both models (left scale, no unit) and Dice of the pair on "
            "held-out slices (right scale), by step"
        )
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._state = RoundsState()

    def show_state(self, state: RoundsState) -> None:
        """Draw the curves of `state`."""
        old, self._state = self._state, state
        if (old.loss_unet, old.loss_sam, old.dice) != (state.loss_unet, state.loss_sam, state.dice):
            self.update()

    @property
    def point_count(self) -> int:
        """Number of points of all curves."""
        return len(self._state.loss_unet) + len(self._state.loss_sam) + len(self._state.dice)

    def paintEvent(self, _event: QPaintEvent | None) -> None:
        """Draw frame, curves and legend."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        area = QRectF(self.rect()).adjusted(MARGIN, LEGEND_HEIGHT + 2, -MARGIN, -MARGIN)
        faint = self.palette().text().color()
        faint.setAlpha(60)
        painter.setPen(faint)
        painter.drawRect(area)
        state = self._state
        losses = [v for curve in (state.loss_unet, state.loss_sam) for _, v in curve]
        last = max([1.0, *(s for s, _ in (*state.loss_unet, *state.loss_sam, *state.dice))])
        top = max([1e-6, *losses])
        curves = ((UNET, state.loss_unet, top), (SAM, state.loss_sam, top), (DICE, state.dice, 1.0))
        for (colour, style, _), curve, high in curves:
            self._draw(painter, area, curve, last, high, QPen(QColor(colour), PEN, style))
        if losses:
            self._draw_scales(painter, area, top)
        self._draw_legend(painter, curves)
        painter.end()

    def _draw(
        self, painter: QPainter, area: QRectF, curve: Curve, last: float, high: float, pen: QPen
    ) -> None:
        points = [
            QPointF(
                area.left() + area.width() * step / last,
                area.bottom() - area.height() * min(max(value / high, 0.0), 1.0),
            )
            for step, value in curve
        ]
        painter.setPen(pen)
        if points:
            painter.drawPolyline(QPolygonF(points))
        if len(points) <= FEW:
            painter.setBrush(pen.color())
            for point in points:
                painter.drawEllipse(point, DOT, DOT)
            painter.setBrush(Qt.BrushStyle.NoBrush)

    def _draw_scales(self, painter: QPainter, area: QRectF, top: float) -> None:
        """Write the upper ends of both scales; both start at 0."""
        inner = area.adjusted(3, 1, -3, -1)
        up = Qt.AlignmentFlag.AlignTop
        painter.setPen(self.palette().text().color())
        painter.setFont(self._small_font())
        painter.drawText(inner, Qt.AlignmentFlag.AlignLeft | up, f"loss {top:.1f}")
        painter.drawText(inner, Qt.AlignmentFlag.AlignRight | up, "Dice 1")

    def _draw_legend(self, painter: QPainter, curves: Sequence[DrawnCurve]) -> None:
        painter.setFont(self._small_font())
        text = self.palette().text().color()
        third = (self.width() - 2 * MARGIN) / len(curves)
        for place, ((colour, style, name), curve, _) in enumerate(curves):
            x = MARGIN + place * third
            value = f" {curve[-1][1]:.2f}" if curve else ""
            painter.setPen(QPen(QColor(colour), PEN, style))
            painter.drawLine(QPointF(x, LEGEND_HEIGHT / 2), QPointF(x + 16, LEGEND_HEIGHT / 2))
            painter.setPen(text)
            painter.drawText(QPointF(x + 20, LEGEND_HEIGHT - 5), name + value)

    def _small_font(self) -> QFont:
        font = self.font()
        font.setPixelSize(SMALL_FONT)
        return font
