"""Train a round, watch it, and choose among rounds."""

from __future__ import annotations

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_scsam._qt.curves import CurvePlot
from napari_scsam._qt.settings_form import SettingsForm
from napari_scsam._qt.widgets import button, small_button, text_label
from napari_scsam.controllers.rounds import RoundsState, metrics_table
from napari_scsam.project.schema import RoundRecord

TICK_MS = 250
ROUNDS_SHOWN = 4


class TrainingPanel(QWidget):
    """Shows a RoundsState and says what was pressed.

    Signals
    -------
    pressed : str
        ``train``, ``pause_train``, ``cancel_train``, ``promote`` or ``rollback``.
    ticked :
        It is time to look at the running round.
    """

    pressed = Signal(str)
    ticked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.form = SettingsForm()
        self.form.hide()
        self._text = text_label("train_text")
        self._progress = QProgressBar()
        self._progress.setObjectName("train_progress")
        self._progress.setRange(0, 1000)
        self._plot = CurvePlot()
        self._list = QListWidget()
        self._list.setObjectName("rounds")
        self._list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._metrics = text_label("metrics", selectable=True)
        self._records: tuple[RoundRecord, ...] = ()
        self._buttons = self._make_buttons()
        self._list.currentRowChanged.connect(self._show_metrics)
        self._lay_out()
        self._timer = QTimer(self)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self.ticked)
        self.show_state(RoundsState())

    def _make_buttons(self) -> dict[str, QPushButton]:
        texts = {
            "train": ("Train round", "Learn from what is committed, in the background"),
            "pause_train": ("Pause", "Hold the round before its next step"),
            "cancel_train": ("Cancel", "Stop the round; the active one stays"),
            "promote": ("Make active", "Let the selected round make the suggestions"),
            "rollback": ("Roll back", "Go back to the round that was active before"),
        }
        return {
            name: button(name, text, lambda name=name: self.pressed.emit(name), tip)
            for name, (text, tip) in texts.items()
        }

    def _lay_out(self) -> None:
        options = small_button("train_settings", "⚙", "Settings of the next round")
        options.setCheckable(True)
        options.toggled.connect(self.form.setVisible)
        first, second, third = QHBoxLayout(), QHBoxLayout(), QHBoxLayout()
        first.addWidget(self._buttons["train"], 1)
        first.addWidget(options)
        second.addWidget(self._progress, 2)
        second.addWidget(self._buttons["pause_train"], 1)
        second.addWidget(self._buttons["cancel_train"], 1)
        third.addWidget(self._buttons["promote"])
        third.addWidget(self._buttons["rollback"])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for item in (first, self.form, second, self._text, self._plot, self._list, third):
            if isinstance(item, QHBoxLayout):
                item.setSpacing(4)
                layout.addLayout(item)
            else:
                layout.addWidget(item)
        layout.addWidget(self._metrics)

    @property
    def selected_round(self) -> int | None:
        """Number of the round that is selected in the list."""
        row = self._list.currentRow()
        return self._records[row].number if 0 <= row < len(self._records) else None

    def show_state(self, state: RoundsState) -> None:
        """Show how the running round is doing, and the finished ones."""
        for name, made in self._buttons.items():
            made.setEnabled(name in state.enabled)
        self._buttons["pause_train"].setText("Resume" if state.paused else "Pause")
        for widget in (
            self._progress,
            self._text,
            self._buttons["pause_train"],
            self._buttons["cancel_train"],
        ):
            widget.setVisible(state.running)
        self._plot.setVisible(state.running or bool(state.loss_unet or state.dice))
        self._progress.setValue(round(1000 * state.fraction))
        self._text.setText(state.text)
        self._plot.show_state(state)
        if state.rounds != self._records:
            self._show_rounds(state.rounds)
        has_rounds = bool(state.rounds)
        for widget in (self._list, self._buttons["promote"], self._buttons["rollback"]):
            widget.setVisible(has_rounds)
        self._metrics.setVisible(has_rounds)
        if state.running and not self._timer.isActive():
            self._timer.start()
        elif not state.running:
            self._timer.stop()

    def _show_rounds(self, records: tuple[RoundRecord, ...]) -> None:
        self._records = records
        self._list.clear()
        for record in records:
            mean = dict(metrics_table(record)).get("mean", {}).get("pair")
            figure = "not checked" if mean is None else f"Dice {mean:.2f}"
            mark = "●  " if record.active else "○  "
            active = "  · active" if record.active else ""
            item = QListWidgetItem(f"{mark}Round {record.number}   {figure}{active}")
            item.setToolTip(record.reason)
            self._list.addItem(item)
        height = max(self._list.sizeHintForRow(0), 18) if records else 18
        self._list.setFixedHeight(min(max(len(records), 1), ROUNDS_SHOWN) * height + 6)
        active_rows = [i for i, r in enumerate(records) if r.active]
        self._list.setCurrentRow(active_rows[0] if active_rows else len(records) - 1)

    def _show_metrics(self, row: int) -> None:
        if not 0 <= row < len(self._records):
            self._metrics.setText("")
            return
        record = self._records[row]
        lines = [record.reason] if record.reason else []
        for name, values in metrics_table(record):
            shown = [f"{label} {values[m]:.2f}" for m, label in _MODELS if values[m] is not None]
            if shown:
                lines.append(f"{name}: Dice {', '.join(shown)}")
        if len(lines) > 1:
            lines.append("On held-out slices; the base SAM may have seen such images before.")
        self._metrics.setText("\n".join(lines))


_MODELS = (("pair", "both"), ("unet", "U-Net"), ("sam", "SAM"))
