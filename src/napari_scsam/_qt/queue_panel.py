"""List of the images: search, filter, order, and what is committed of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import QModelIndex, QSize, Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QLineEdit,
    QListView,
    QProgressBar,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_scsam._qt.button_rows import ButtonRows
from napari_scsam._qt.fold import Fold
from napari_scsam._qt.queue_delegate import QueueDelegate
from napari_scsam._qt.queue_model import QueueModel
from napari_scsam._qt.ranking_panel import RankingPanel
from napari_scsam._qt.widgets import set_title, text_label, title

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_scsam._qt.queue_model import Ranked, Thumbnails
    from napari_scsam.project.image_queue import QueueRow

# Rows that the list shows if there is room, and if there is none. Both arbitrary.
ROWS_SHOWN = 7
ROWS_LEAST = 3  # arbitrary
BAR_HEIGHT = 6  # arbitrary
FOLD_TIP = "The images of the project"
FILTERS = (
    ("All", ""),
    ("Open", "open"),
    ("Done", "done"),
    ("Skipped", "skipped"),
    ("Flagged", "flagged"),
    ("Doubtful", "doubtful"),
)
ANY_TAG = "Any tag"
ORDERS = (("In order", "queue"), ("By name", "name"), ("Least done", "least"))


class QueueList(QListView):
    """A list of rows of one height."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("queue")
        self.setUniformItemSizes(True)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        self.delegate = QueueDelegate(self)
        self.setItemDelegate(self.delegate)

    def sizeHint(self) -> QSize:
        """Return a height of as many rows as there are, up to `ROWS_SHOWN`."""
        return QSize(0, self._height(ROWS_SHOWN))

    def minimumSizeHint(self) -> QSize:
        """Return a height of `ROWS_LEAST` rows, or fewer if there are fewer."""
        return QSize(0, self._height(ROWS_LEAST))

    def dataChanged(self, first: QModelIndex, last: QModelIndex, _roles: object = ()) -> None:
        """Paint the rows that changed.

        Qt would lay out all rows anew, too, which rows of one height don't need, and which asks the
        model 20,000 times for the number of its rows if it has 10,000.
        """
        self.viewport().update(self.visualRect(first) | self.visualRect(last))

    def _height(self, most: int) -> int:
        rows = max(1, min(self.model().rowCount(), most))
        row = self.delegate.height(int(self.fontMetrics().height()))
        return int(rows * row + 2 * self.frameWidth() + 2)


class QueuePanel(QWidget):
    """Shows the images, and emits which one was picked.

    Signals
    -------
    picked : str
        Image id.
    sought :
        The search field was asked for.
    """

    picked = Signal(str)
    sought = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows: Sequence[QueueRow] = ()
        self._flagged: frozenset[str] = frozenset()
        self._ranking: Mapping[str, Ranked] = {}
        self._current: str | None = None
        self.model = QueueModel(self)
        self._title = title("queue_title")
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        self._bar.setFixedHeight(BAR_HEIGHT)
        # Shown for many images only, the search also while it is used.
        self._filters = (self._make_search(), ButtonRows(self._make_boxes()))
        self._tags = _box("queue_tag", "Images with which tag are listed", ())
        self._tags.currentTextChanged.connect(self._pick_tag)
        self.ranking = RankingPanel()
        self._none = text_label("queue_none", "No image matches.")
        self.list = self._make_list()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        parts = [self._bar, self.ranking, *self._filters, self._tags, self.list, self._none]
        fold = Fold("images_fold", FOLD_TIP, self._title, parts, is_open=True)
        layout.addWidget(fold)
        self.sought.connect(fold.open)
        self.model.modelReset.connect(self._after_reset)
        self.show_rows([])
        self._after_reset()

    def _make_search(self) -> QLineEdit:
        made = QLineEdit()
        made.setObjectName("queue_search")
        made.setPlaceholderText("Search images")
        made.setToolTip("Show images with this in their name (/). Enter opens the first one.")
        made.setClearButtonEnabled(True)
        made.textChanged.connect(self.model.set_search)
        made.returnPressed.connect(self._pick_first)
        return made

    def _make_boxes(self) -> list[QWidget]:
        state = _box("queue_filter", "Which images are listed", FILTERS)
        state.currentIndexChanged.connect(lambda i: self.model.set_state(state.itemData(i)))
        order = _box("queue_sort", "Order of the images", ORDERS)
        order.currentIndexChanged.connect(lambda i: self.model.set_sorting(order.itemData(i)))
        return [state, order]

    def _make_list(self) -> QueueList:
        made = QueueList()
        made.setModel(self.model)
        for signal in (made.clicked, made.activated):
            signal.connect(self._pick)
        return made

    def find(self) -> None:
        """Show the search field, also for few images, and put the keyboard's focus there."""
        self.sought.emit()
        search, _ = self._filters
        search.setVisible(True)
        search.setFocus()
        search.selectAll()

    def _pick_first(self) -> None:
        """Open the first image that is listed, and give the keys back to the window."""
        first = self.model.index(0)
        if first.isValid():
            self._filters[0].clearFocus()
            self._pick(first)

    def _pick(self, index: QModelIndex) -> None:
        self.picked.emit(index.data(Qt.ItemDataRole.UserRole))

    def show_rows(
        self,
        rows: Sequence[QueueRow],
        flagged: frozenset[str] = frozenset(),
        ranking: Mapping[str, Ranked] | None = None,
    ) -> None:
        """Show the images.

        Parameters
        ----------
        rows : sequence of QueueRow
        flagged : frozenset of str
            Ids of images with slices to check.
        ranking : mapping of str to Ranked, optional
            As for `show_ranking`; None: as before.
        """
        self._rows, self._flagged = rows, flagged
        self._ranking = self._ranking if ranking is None else ranking
        self._show_rows()
        amount = Amount.of(rows)
        set_title(self._title, amount.text)
        self._bar.setRange(0, max(amount.total, 1))
        self._bar.setValue(amount.done)
        # With a screen's worth of images there is nothing to search.
        many = len(rows) > ROWS_SHOWN
        search, boxes = self._filters
        search.setVisible(many or search.hasFocus() or bool(search.text()))
        boxes.setVisible(many)
        self._show_tags(sorted({tag for row in rows for tag in row.tags}))
        self.ranking.setVisible(amount.total > 1)

    def _show_tags(self, tags: Sequence[str]) -> None:
        """Offer tags; the chosen one stays."""
        self._tags.setVisible(bool(tags))
        if tags == [self._tags.itemText(i) for i in range(1, self._tags.count())]:
            return
        chosen = self._tags.currentText()
        self._tags.clear()
        self._tags.addItems([ANY_TAG, *tags] if tags else [])
        self._tags.setCurrentText(chosen)

    def _pick_tag(self, _text: str) -> None:
        first = self._tags.currentIndex() <= 0
        self.model.set_tag("" if first else self._tags.currentText())

    def show_ranking(self, ranking: Mapping[str, Ranked]) -> None:
        """Show the images in another order, with scores and reasons.

        Parameters
        ----------
        ranking : mapping of str to Ranked
            By image id, best first; empty for the order in which the images were added.
        """
        self._ranking = ranking
        self._show_rows()

    def show_thumbnails(self, thumbnails: Thumbnails) -> None:
        """Show thumbnails; see `QueueModel.set_thumbnails`."""
        self.model.set_thumbnails(thumbnails)

    def plane_of(self, image_id: str) -> int | None:
        """Return the best slice of a ranked image; None for the middle one."""
        rank = self._ranking.get(image_id)
        return None if rank is None else rank.plane

    def show_current(self, image_id: str | None) -> None:
        """Select the open image."""
        self._current = image_id
        row = self.model.row_of(image_id)
        if row is not None:
            self.list.setCurrentIndex(self.model.index(row))

    def _show_rows(self) -> None:
        self.model.set_rows(self._rows, self._ranking, self._flagged)
        if self.list.delegate.two_lines != self.model.has_reasons:
            self.list.delegate.two_lines = self.model.has_reasons
            self.list.doItemsLayout()
            self.list.updateGeometry()

    def _after_reset(self) -> None:
        self._none.setVisible(bool(self._rows) and not self.model.rowCount())
        self.list.updateGeometry()
        self.show_current(self._current)


@dataclass(frozen=True)
class Amount:
    """How much is committed.

    Attributes
    ----------
    done, total : int
        Slices.
    begun, cases : int
        Cases with a committed slice, and all cases.
    unit : {'slices', 'images'}
        What `done` and `total` are called.
    """

    done: int
    total: int
    begun: int
    cases: int
    unit: str

    @classmethod
    def of(cls, rows: Sequence[QueueRow]) -> Amount:
        """Count what the rows say."""
        done, total = sum([r.done for r in rows]), sum([r.total for r in rows])
        cases = {r.case or r.image_id for r in rows}
        begun = {r.case or r.image_id for r in rows if r.done}
        return cls(done, total, len(begun), len(cases), "slices" if total > len(rows) else "images")

    @property
    def text(self) -> str:
        """In words, such as ``"12 of 60 cases, 130 of 610 slices"``."""
        if self.cases == self.total:
            return f"{self.done} of {self.total} images"
        cases = f"{self.begun} of {self.cases} cases"
        return f"{cases}, {self.done} of {self.total} {self.unit}"


def progress_text(rows: Sequence[QueueRow]) -> str:
    """Say how much is committed, such as ``"12 of 60 cases, 130 of 610 slices"``."""
    return Amount.of(rows).text


def _box(name: str, tip: str, choices: Sequence[tuple[str, str]]) -> QComboBox:
    made = QComboBox()
    made.setObjectName(name)
    made.setToolTip(tip)
    made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    made.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    for text, value in choices:
        made.addItem(text, value)
    return made
