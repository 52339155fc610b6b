"""Panel that shows how good the suggestions are, and what the last round changed."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_scsam._qt.fold import Fold
from napari_scsam._qt.style import GAP
from napari_scsam._qt.widgets import button, set_role, set_title, text_label, title
from napari_scsam.rounds.automatic import MOST

FOLD_TIP = "How good the suggestions are, and what the last round changed"
ESTIMATE_TIP = (
    "Suggestions on slices that were drawn at random, stored before they were shown, against what "
    "was committed there"
)
EFFECT_TIP = "Dice on slices that the round was not trained on, and the change since the one before"
EVERY_TIP = "Train a round by itself after so many commits, with the settings of Train round"
NAME_TIP = "Who labels: the journal keeps it with each commit of this session"
SECOND_TIP = (
    "Hide what other people labelled. J goes through their slices, and your label is kept beside "
    "theirs, which stays current. The report says how far you agree."
)
REPORT_TIP = (
    "Write what was labelled, what it cost and how good it is as one page, and open it. "
    "napari-scsam report writes one to keep."
)
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
    named : str
        Who labels.
    second_switched : bool
        Whether labels of other people are hidden.
    report_wanted :
        The report is to be made, or no longer.
    """

    every_picked = Signal(int)
    named = Signal(str)
    second_switched = Signal(bool)
    report_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._line = title("progress_line")
        self._estimate = text_label("random_checks", selectable=True)
        self._estimate.setToolTip(ESTIMATE_TIP)
        self._fall = text_label("acceptance_fall", selectable=True)
        set_role(self._fall, "problem")
        self._effect = text_label("round_effect", selectable=True)
        self._effect.setToolTip(EFFECT_TIP)
        self._every = self._make_every()
        self._name = self._make_name()
        self._second = self._make_second()
        self._report: QPushButton = button("report", "Report", self.report_wanted.emit, REPORT_TIP)
        choices = QWidget()
        form = QFormLayout(choices)
        form.setContentsMargins(0, 0, 0, 0)
        form.setSpacing(GAP)
        form.addRow("Round after", self._every)
        form.addRow("Annotator", self._name)
        form.addRow(self._second)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        parts = [self._fall, self._estimate, self._effect, choices, self._report]
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

    def _make_name(self) -> QLineEdit:
        made = QLineEdit()
        made.setObjectName("annotator")
        made.setToolTip(NAME_TIP)
        made.setPlaceholderText("Nobody named")
        made.editingFinished.connect(lambda: self.named.emit(made.text()))
        return made

    def _make_second(self) -> QCheckBox:
        made = QCheckBox("Second opinion")
        made.setObjectName("second_opinion")
        made.setToolTip(SECOND_TIP)
        made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        made.clicked.connect(self.second_switched)
        return made

    def show_annotator(self, name: str, *, second: bool, read_only: bool) -> None:
        """Show who labels, and whether the labels of other people are hidden."""
        self._name.setText(name)
        self._second.setChecked(second)
        for made in (self._name, self._second):
            made.setEnabled(not read_only)

    def show_report(self, *, running: bool) -> None:
        """Show whether the report is being made; then a press cancels it."""
        self._report.setText("Cancel the report" if running else "Report")

    def show_every(self, every: int) -> None:
        """Show after how many commits a round is trained."""
        blocked = self._every.blockSignals(True)
        self._every.setValue(every)
        self._every.blockSignals(blocked)

    def show_estimate(self, text: str, fall: str = "") -> None:
        """Show how good the suggestions are on random slices; empty without any.

        That they are accepted less often than before goes first, also while the panel is folded.
        """
        self._estimate.setText(text or NOTHING_YET)
        self._fall.setText(fall)
        self._fall.setVisible(bool(fall))
        first = (fall or text).split(". ")[0].removesuffix(".")
        set_title(self._line, first or "Suggestions are not checked yet")

    def show_effect(self, text: str) -> None:
        """Show what the newest round changed; empty before the first."""
        self._effect.setText(text)
        self._effect.setVisible(bool(text))
