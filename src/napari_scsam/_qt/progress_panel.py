"""Panel that shows how good the suggestions are, and what the last round changed."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFormLayout, QSpinBox, QVBoxLayout, QWidget

from napari_scsam._qt.fold import Fold
from napari_scsam._qt.style import GAP
from napari_scsam._qt.widgets import set_title, text_label, title
from napari_scsam.rounds.automatic import MOST

FOLD_TIP = "How good the suggestions are, and what the last round changed"
ESTIMATE_TIP = (
    "Suggestions on slices that were drawn at random, stored before they were shown, against what "
    "was committed there"
)
EFFECT_TIP = "Dice on slices that the round was not trained on, and the change since the one before"
EVERY_TIP = "Train a round by itself after so many commits, with the settings of Train round"
NOTHING_YET = (
    "Rank the images: 15 % of the list are random checks, on which the quality of the suggestions "
    "is measured."
)


class ProgressPanel(QWidget):
    """Shows the estimate from random slices and the effect of the last round.

    Signals
    -------
    every_picked : int
        Commits between two automatic rounds; 0 for none.
    """

    every_picked = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._line = title("progress_line")
        self._estimate = text_label("random_checks", selectable=True)
        self._estimate.setToolTip(ESTIMATE_TIP)
        self._effect = text_label("round_effect", selectable=True)
        self._effect.setToolTip(EFFECT_TIP)
        self._every = self._make_every()
        choices = QWidget()
        form = QFormLayout(choices)
        form.setContentsMargins(0, 0, 0, 0)
        form.setSpacing(GAP)
        form.addRow("Round after", self._every)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        parts = [self._estimate, self._effect, choices]
        layout.addWidget(Fold("progress_fold", FOLD_TIP, self._line, parts))
        self.show_estimate("")
        self.show_effect("")

    def _make_every(self) -> QSpinBox:
        made = QSpinBox()
        made.setObjectName("round_every")
        made.setToolTip(EVERY_TIP)
        made.setRange(0, MOST)
        made.setSpecialValueText("Only when I press Train")
        made.setSuffix(" commits")
        made.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        made.setKeyboardTracking(False)
        made.valueChanged.connect(self.every_picked)
        return made

    def show_every(self, every: int) -> None:
        """Show after how many commits a round is trained."""
        blocked = self._every.blockSignals(True)
        self._every.setValue(every)
        self._every.blockSignals(blocked)

    def show_estimate(self, text: str) -> None:
        """Show how good the suggestions are on random slices; empty without any."""
        self._estimate.setText(text or NOTHING_YET)
        first = text.split(". ")[0].removesuffix(".")
        set_title(self._line, first or "Suggestions are not checked yet")

    def show_effect(self, text: str) -> None:
        """Show what the newest round changed; empty before the first."""
        self._effect.setText(text)
        self._effect.setVisible(bool(text))
