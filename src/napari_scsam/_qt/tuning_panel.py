"""Panel that switches tuning on the labels, and shows its result."""

from __future__ import annotations

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import QCheckBox, QProgressBar, QVBoxLayout, QWidget

from napari_scsam._qt.fold import Fold
from napari_scsam._qt.widgets import set_title, text_label, title
from napari_scsam.rounds.tuning import TuningState

# Interval of polling. Arbitrary.
TICK_MS = 500
FOLD_TIP = "Whether clicks improve with your labels"
TIP = (
    "After every few commits, the model that answers clicks is tuned on them in the background. "
    "It is used if it is not worse on slices that it was not tuned on. Switched off, clicks use "
    "the model as shipped."
)


class TuningPanel(QWidget):
    """Shows a TuningState and emits the switch.

    Signals
    -------
    switched : bool
        Whether clicks use the tuned model.
    ticked :
        The running tuning should be polled.
    """

    switched = Signal(bool)
    ticked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._use = QCheckBox("Learns from your labels")
        self._use.setObjectName("use_tuned")
        self._use.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._use.setToolTip(TIP)
        self._use.clicked.connect(self.switched)
        self._text = text_label("tuned_text")
        self._line = title("tuning_line")
        self._progress = QProgressBar()
        self._progress.setObjectName("tune_progress")
        self._progress.setToolTip("Share of the tuning's time that has passed")
        self._progress.setRange(0, 100)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        parts = [self._use, self._text, self._progress]
        layout.addWidget(Fold("tuning_fold", FOLD_TIP, self._line, parts))
        self._timer = QTimer(self)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self.ticked)
        self.show_state(TuningState())

    def show_state(self, state: TuningState) -> None:
        """Show whether tuning is on, and the result of the last one."""
        self._use.setChecked(state.use)
        self._text.setText(state.text)
        self._progress.setVisible(state.running)
        self._progress.setValue(round(100 * state.fraction))
        set_title(self._line, _line(state))
        if state.running and not self._timer.isActive():
            self._timer.start()
        elif not state.running:
            self._timer.stop()


def _line(state: TuningState) -> str:
    """Describe in one line whether clicks learn from the labels."""
    if not state.use:
        return "Learning from your labels: off"
    how = f"{state.fraction:.0%}" if state.running else "on"
    return f"Learning from your labels: {how}"
