"""The Dice of a round by class and model: a table, or a list where that is too wide."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QResizeEvent, QTextDocument
from qtpy.QtWidgets import QLabel, QSizePolicy

from napari_scsam.rounds.shown_rounds import metrics_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_scsam.project.schema import RoundRecord

    Row = tuple[str, Mapping[str, float | None]]
    Models = Sequence[tuple[str, str]]

_MODELS = (("pair", "both"), ("unet", "U-Net"), ("sam", "SAM"), ("prompted", "prompted"))
_HELD_OUT = "On held-out slices; the base SAM may have seen such images before."
_PROMPTED = " Prompted: SAM with the U-Net's outline as its prompt."


class MetricsLabel(QLabel):
    """Shows the figures of one round, never cut: in a narrow dock, one below the other."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("metrics")
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.RichText)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._forms = ("", "", "")

    def show_round(self, record: RoundRecord | None) -> None:
        """Show why a round was promoted or not, and its figures."""
        self._forms = ("", "", "") if record is None else metrics_html(record)
        self._fit()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Choose the form that fits the width."""
        super().resizeEvent(event)
        self._fit()

    def changeEvent(self, event: QEvent | None) -> None:
        """Choose the form that fits the font."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.FontChange:
            self._fit()

    def _fit(self) -> None:
        wide, narrow, least = self._forms
        text = wide if self._width_of(least) <= self.width() else narrow
        if text != self.text():
            self.setText(text)

    def _width_of(self, html: str) -> float:
        """Width in pixels of a rich text that does not wrap; Qt would wrap inside of words."""
        document = QTextDocument()
        document.setDefaultFont(self.font())
        document.setDocumentMargin(0)
        document.setHtml(html)
        return float(document.idealWidth())


def metrics_html(record: RoundRecord) -> tuple[str, str, str]:
    """Return why a round was promoted or not, and its Dice by class and model.

    Returns
    -------
    wide, narrow, least : str
        With a table, with a list, and the table alone with the longest word of each name: the
        wide form fits where this does.
    """
    reason = f"<p>{escape(record.reason)}</p>" if record.reason else ""
    table = metrics_table(record)
    if not table:
        return reason, reason, ""
    # Rounds of earlier versions, and of one model alone, have no figure of prompted SAM.
    prompted = any(values["prompted"] is not None for _, values in table)
    models = _MODELS if prompted else _MODELS[:-1]
    note = f"<p>{_HELD_OUT}{_PROMPTED if prompted else ''}</p>"
    words = [(max(name.split() or [name], key=len), values) for name, values in table]
    wide, narrow = _as_table(table, models), _as_list(table, models)
    return f"{reason}{wide}{note}", f"{reason}{narrow}{note}", _as_table(words, models)


def _as_table(table: Sequence[Row], models: Models) -> str:
    heads = "".join(f"<th align='right'>{label}</th>" for _, label in models)
    body = "".join(
        f"<tr><td>{escape(name)}</td>{''.join(_cell(values[key]) for key, _ in models)}</tr>"
        for name, values in table
    )
    return (
        "<table cellspacing='0' cellpadding='2' width='100%'>"
        f"<tr><th align='left'>Dice</th>{heads}</tr>{body}</table>"
    )


def _as_list(table: Sequence[Row], models: Models) -> str:
    parts = []
    for name, values in table:
        parts.append(f"<tr><th align='left' colspan='2'>{escape(name)}, Dice</th></tr>")
        parts += [f"<tr><td>{label}</td>{_cell(values[key])}</tr>" for key, label in models]
    return f"<table cellspacing='0' cellpadding='2' width='100%'>{''.join(parts)}</table>"


def _cell(value: float | None) -> str:
    return f"<td align='right'>{'-' if value is None else f'{value:.2f}'}</td>"
