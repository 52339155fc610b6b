"""Whether clicks learn from the labels, and what that has brought."""

from __future__ import annotations

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from napari_scsam._qt.widgets import text_label
from napari_scsam.rounds.tuning import TuningState

# Arbitrary.
TICK_MS = 500
TIP = (
    "After every few commits the model that answers clicks is tuned on them in the background, "
    "and used if it does no worse on slices that it has not seen. Off: the model as shipped, "
    "exactly."
)


class TuningPanel(QWidget):
    """Shows a TuningState and says what was switched.

    Signals
    -------
    switched : bool
        Whether clicks shall be answered by what was tuned.
    ticked :
        It is time to look at the running tuning.
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
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self._use)
        layout.addWidget(self._text)
        self._timer = QTimer(self)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self.ticked)
        self.show_state(TuningState())

    def show_state(self, state: TuningState) -> None:
        """Show whether it is on, and what the last tuning brought."""
        self._use.setChecked(state.use)
        self._text.setText(state.text)
        if state.running and not self._timer.isActive():
            self._timer.start()
        elif not state.running:
            self._timer.stop()
