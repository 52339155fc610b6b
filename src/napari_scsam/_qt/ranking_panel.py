"""Panel that chooses how images are ranked, starts it, and shows its cost and progress."""

from __future__ import annotations

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QProgressBar,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_scsam._qt.fold import Fold
from napari_scsam._qt.style import GAP
from napari_scsam._qt.widgets import button, set_title, text_label, title
from napari_scsam.core.settings import STRATEGY_TITLES
from napari_scsam.workflows.background_ranking import RankingState

# Interval at which it is asked what a queued ranking waits for. Arbitrary.
TICK_MS = 500
FOLD_TIP = "Order the images by how much they are worth labelling"
STRATEGY_TIP = (
    "How images are ordered. Variety and doubt: those first that represent the others, every third "
    "one on which the models are unsure, and 15 % at random as a check."
)
RANK_TIP = "Order the open images, in the background. J then follows the list."
AGAIN_TIP = "Order the images again whenever a round has ended or another one was made active"
CANCEL_TIP = "Stop ranking. The list stays as it is, and what was measured is kept."
FORGET_TIP = "Show the images in the order in which they were added; J follows that"


class RankingPanel(QWidget):
    """Shows a RankingState and emits what was chosen.

    Signals
    -------
    started, cancelled, forgotten, ticked :
        Rank, stop, return to the order of adding, and poll.
    strategy_picked : str
    again_switched : bool
        Whether images are ranked after each round.
    """

    started = Signal()
    cancelled = Signal()
    forgotten = Signal()
    ticked = Signal()
    strategy_picked = Signal(str)
    again_switched = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._line = title("ranking_line")
        self._running = self._order = ""
        self._strategy = self._make_strategy()
        self._rank = button("rank_now", "Rank now", self.started.emit, RANK_TIP)
        self._cancel = button("cancel_rank", "Cancel", self.cancelled.emit, CANCEL_TIP)
        self._forget = button("forget_ranking", "As added", self.forgotten.emit, FORGET_TIP)
        self._progress = QProgressBar()
        self._progress.setObjectName("rank_progress")
        self._progress.setRange(0, 1000)
        self._text = text_label("rank_text")
        self._again = QCheckBox("Again after each round")
        self._again.setObjectName("rank_after_rounds")
        self._again.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._again.setToolTip(AGAIN_TIP)
        self._again.clicked.connect(self.again_switched)
        self._timer = QTimer(self)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self.ticked)
        self._lay_out()
        self.show_state(RankingState())
        self.show_order(None, 0)

    def _make_strategy(self) -> QComboBox:
        made = QComboBox()
        made.setObjectName("rank_strategy")
        made.setToolTip(STRATEGY_TIP)
        made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        made.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        for name, text in STRATEGY_TITLES.items():
            made.addItem(text, name)
        made.activated.connect(lambda i: self.strategy_picked.emit(made.itemData(i)))
        return made

    def _lay_out(self) -> None:
        first, second = QHBoxLayout(), QHBoxLayout()
        for row in (first, second):
            row.setSpacing(GAP)
        first.addWidget(self._strategy, 3)
        first.addWidget(self._rank, 2)
        second.addWidget(self._progress, 2)
        second.addWidget(self._cancel, 1)
        second.addWidget(self._forget, 1)
        body = QWidget()
        inside = QVBoxLayout(body)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.setSpacing(GAP)
        inside.addLayout(first)
        inside.addWidget(self._text)
        inside.addLayout(second)
        inside.addWidget(self._again)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(Fold("ranking_fold", FOLD_TIP, self._line, [body]))

    def show_state(self, state: RankingState) -> None:
        """Show the choices, and how far a ranking is or what it would cost."""
        self._strategy.setCurrentIndex(self._strategy.findData(state.strategy))
        self._strategy.setEnabled(not state.running)
        self._again.setChecked(state.after_rounds)
        self._rank.setEnabled(not state.running)
        self._progress.setVisible(state.running and not state.waiting)
        self._progress.setValue(round(1000 * state.fraction))
        self._cancel.setVisible(state.running)
        self._text.setText(state.text)
        self._running = f"Ranking: {state.fraction:.0%}" if state.running else ""
        self._show_line()
        if state.waiting and not self._timer.isActive():
            self._timer.start()
        elif not state.waiting:
            self._timer.stop()

    def show_order(self, strategy: str | None, left: int) -> None:
        """Show by which strategy the list is ordered, and how many ranked images are left.

        Parameters
        ----------
        strategy : str or None
            None: the images are in the order in which they were added.
        left : int
        """
        name = STRATEGY_TITLES.get(strategy, strategy) if strategy else ""  # type: ignore[call-overload]
        self._order = f"Ranked: {name}  ·  {left:,} left" if strategy else "Not ranked"
        self._forget.setVisible(strategy is not None)
        self._show_line()

    def _show_line(self) -> None:
        set_title(self._line, self._running or self._order)
