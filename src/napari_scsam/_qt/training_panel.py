"""Panel to train a round, follow it, and choose the active round."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

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
from napari_scsam._qt.fold import Fold
from napari_scsam._qt.metrics_label import MetricsLabel
from napari_scsam._qt.settings_form import SettingsForm
from napari_scsam._qt.style import GAP
from napari_scsam._qt.widgets import (
    button,
    fit_rows,
    row_size,
    set_title,
    small_button,
    text_label,
    title,
)
from napari_scsam.rounds.shown_rounds import (
    RoundsState,
    hint,
    mean_dice,
    round_note,
    summary,
)

if TYPE_CHECKING:
    from napari_scsam.project.schema import InterruptedRound, RoundRecord

# Interval of polling, and rows of the list before it scrolls. Both arbitrary.
TICK_MS = 250
ROUNDS_SHOWN = 4  # arbitrary
FOLD_TIP = "Train a round, and choose among the finished ones"
COMPARE_TIP = (
    "Show what the selected round and the active one predict on the displayed slice, side by side"
)
CANCEL_TIP = "Stop this round. The active round does not change."
GIVE_UP_TIP = "Discard the interrupted round. The active round does not change."


class TrainingPanel(QWidget):
    """Shows a RoundsState and emits what was pressed.

    Signals
    -------
    pressed : str
        ``train``, ``pause_train``, ``cancel_train``, ``promote``, ``rollback`` or
        ``compare_rounds``.
    ticked :
        The running round should be polled.
    """

    pressed = Signal(str)
    ticked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.form = SettingsForm()
        self.form.hide()
        self._summary = title("train_summary")
        self._text = text_label("train_text")
        self._progress = QProgressBar()
        self._progress.setObjectName("train_progress")
        self._progress.setRange(0, 1000)
        self._plot = CurvePlot()
        self._list = QListWidget()
        self._list.setObjectName("rounds")
        self._list.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._metrics = MetricsLabel()
        self._records: tuple[RoundRecord, ...] = ()
        self._interrupted: InterruptedRound | None = None
        self._buttons = self._make_buttons()
        self._list.currentRowChanged.connect(self._show_metrics)
        self._lay_out()
        self._timer = QTimer(self)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self.ticked)
        self.show_state(RoundsState())

    def _make_buttons(self) -> dict[str, QPushButton]:
        texts = {
            "train": ("Train round", "Train on the committed slices, in the background"),
            "pause_train": ("Pause", "Pause the round before its next step"),
            "cancel_train": ("Cancel", CANCEL_TIP),
            "promote": ("Make active", "Use the selected round for suggestions"),
            "rollback": ("Roll back", "Return to the round that was active before"),
            "compare_rounds": ("Compare", COMPARE_TIP),
        }
        return {
            name: button(name, text, partial(self.pressed.emit, name), tip)
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
        third.addWidget(self._buttons["compare_rounds"])
        body = QWidget()
        inside = QVBoxLayout(body)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.setSpacing(GAP)
        for item in (first, self.form, second, self._text, self._plot, self._list, third):
            if isinstance(item, QHBoxLayout):
                item.setSpacing(GAP)
                inside.addLayout(item)
            else:
                inside.addWidget(item)
        inside.addWidget(self._metrics)
        self.fold = Fold("rounds_fold", FOLD_TIP, self._summary, [body])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.fold)

    @property
    def selected_round(self) -> int | None:
        """Number of the round that is selected in the list."""
        row = self._list.currentRow()
        return self._records[row].number if 0 <= row < len(self._records) else None

    def show_state(self, state: RoundsState) -> None:
        """Show the running round and the finished ones."""
        for name, made in self._buttons.items():
            made.setEnabled(name in state.enabled)
        self._buttons["pause_train"].setText("Resume" if state.paused else "Pause")
        for widget in (self._progress, self._buttons["pause_train"]):
            widget.setVisible(state.running and not state.waiting)
        self._plot.setVisible(state.running or bool(state.loss_unet or state.dice))
        self._progress.setValue(round(1000 * state.fraction))
        set_title(self._summary, summary(state))
        self._text.setText(state.text if state.running else hint(state))
        idle_tip = "" if state.estimate is None else state.estimate.detail
        self._text.setToolTip("" if state.running else idle_tip)
        self._plot.show_state(state)
        if state.rounds != self._records:
            self._show_rounds(state)
        has_rounds = bool(state.rounds)
        for widget in (self._list, self._buttons["promote"], self._buttons["rollback"]):
            widget.setVisible(has_rounds)
        self._metrics.setVisible(has_rounds)
        self._buttons["compare_rounds"].setVisible(len(state.rounds) > 1)
        if state.running and not self._timer.isActive():
            self._timer.start()
        elif not state.running:
            self._timer.stop()
        # Last, since showing settings in the form changes the state again.
        self._show_interrupted(state)

    def _show_interrupted(self, state: RoundsState) -> None:
        killed, cancel = state.interrupted, self._buttons["cancel_train"]
        cancel.setVisible(state.running or killed is not None)
        gives_up = killed is not None and not state.waiting
        cancel.setText("Give up" if gives_up else "Cancel")
        cancel.setToolTip(GIVE_UP_TIP if gives_up else CANCEL_TIP)
        self._buttons["train"].setText("Train round" if killed is None else "Go on training")
        if killed == self._interrupted:
            return
        self._interrupted = killed
        if killed is not None:  # so that Train resumes it
            self.fold.open()
            self.form.show_settings(killed.settings)
        else:
            self.form.forget_untitled()

    def _show_rounds(self, state: RoundsState) -> None:
        records = self._records = state.rounds
        self._list.clear()
        for record in records:
            dice = mean_dice(record)
            figure = "not checked" if dice is None else f"Dice {dice:.2f}"
            mark, note = ("●", "  ·  active") if record.active else ("○", "")
            note += "  ·  pruned" if record.pruned else ""
            item = QListWidgetItem(f"{mark}  Round {record.number}  ·  {figure}{note}")
            item.setToolTip(round_note(state, record))
            item.setSizeHint(row_size(self._list))
            self._list.addItem(item)
        fit_rows(self._list, min(len(records), ROUNDS_SHOWN))
        active_rows = [i for i, r in enumerate(records) if r.active]
        self._list.setCurrentRow(active_rows[0] if active_rows else len(records) - 1)

    def _show_metrics(self, row: int) -> None:
        known = 0 <= row < len(self._records)
        self._metrics.show_round(self._records[row] if known else None)
