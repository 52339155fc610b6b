"""The rows of the list of images: what each says, and which are shown in which order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from qtpy.QtCore import QAbstractListModel, QModelIndex, Qt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qtpy.QtGui import QPixmap

    from napari_scsam.project.image_queue import QueueRow
    from napari_scsam.project.slice_order import Waiting

State = Literal["open", "done", "skipped", "flagged"]
Sorting = Literal["queue", "name", "least"]
Thumbnails = Callable[[str], "QPixmap | None"]

# Role of a row's QueueItem.
ITEM_ROLE = int(Qt.ItemDataRole.UserRole) + 1


@dataclass(frozen=True)
class Ranked:
    """Rank of an image in the queue.

    Attributes
    ----------
    score : float or None
        How much it is worth labelling, higher first; None if it was drawn at random.
    reason : str
        Why, in words.
    plane : int or None
        Its best slice along axis 0; None for a two-dimensional image.
    """

    score: float | None
    reason: str
    plane: int | None = None


def as_ranking(waiting: Sequence[Waiting]) -> dict[str, Ranked]:
    """Return the ranks of the images that are still to be labelled, best first."""
    return {
        w.entry.image: Ranked(
            w.entry.score, w.entry.reason, None if w.entry.plane is None else w.plane
        )
        for w in waiting
    }


@dataclass(frozen=True)
class QueueItem:
    """One row of the list.

    Attributes
    ----------
    image_id, name : str
    plane : int or None
        Slice to open; None for the middle one.
    score : float or None
    reason : str
        Empty without a ranking.
    state : {'open', 'done', 'skipped', 'flagged'}
    done, total : int
        Committed slices, and all slices along axis 0.
    """

    image_id: str
    name: str
    plane: int | None = None
    score: float | None = None
    reason: str = ""
    state: State = "open"
    done: int = 0
    total: int = 1

    @property
    def mark(self) -> str:
        """A sign for its state, which needs no colour."""
        if self.state == "open":
            return "◐" if self.done else "○"
        return {"done": "●", "skipped": "»", "flagged": "⚑"}[self.state]

    @property
    def progress(self) -> str:
        """Its state in words, such as ``"3 of 9 slices"``."""
        if self.state == "done":
            return "done"
        words = f"{self.done} of {self.total} slices" if self.total > 1 else ""
        state = "" if self.state == "open" and words else self.state
        return ", ".join(filter(None, (words, state)))

    @property
    def text(self) -> str:
        """The row in one line."""
        return f"{self.mark}  {self.name}  ·  {self.progress}"

    @property
    def tip(self) -> str:
        """The row in full."""
        unit = "slices" if self.total > 1 else "image"
        score = "" if self.score is None else f" Score {self.score:.2f}."
        reason = f" {self.reason}." if self.reason else ""
        return f"{self.name}: {self.done} of {self.total} {unit} committed.{score}{reason}"


def make_items(
    rows: Sequence[QueueRow],
    ranking: Mapping[str, Ranked] | None = None,
    flagged: frozenset[str] = frozenset(),
) -> list[QueueItem]:
    """Return one item per image: ranked ones first, in their order, then the others.

    Parameters
    ----------
    rows : sequence of QueueRow
    ranking : mapping of str to Ranked, optional
        By image id, best first.
    flagged : frozenset of str
        Ids of images with slices to check.
    """
    ranking = ranking or {}
    known = {row.image_id: row for row in rows}
    order = [image_id for image_id in ranking if image_id in known]
    order += [row.image_id for row in rows if row.image_id not in ranking]
    return [_item(known[i], ranking.get(i), flagged=i in flagged) for i in order]


def _item(row: QueueRow, rank: Ranked | None, *, flagged: bool) -> QueueItem:
    state: State = "open"
    if flagged:
        state = "flagged"
    elif row.done == row.total:
        state = "done"
    elif row.skipped:
        state = "skipped"
    score, reason, plane = (None, "", None) if rank is None else (rank.score, rank.reason, None)
    plane = plane if rank is None else rank.plane
    return QueueItem(row.image_id, row.name, plane, score, reason, state, row.done, row.total)


class QueueModel(QAbstractListModel):
    """The items that match a search and a state, in an order.

    Only what the view asks for is computed, so that 10,000 rows cost as much as those in sight.
    """

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._items: list[QueueItem] = []
        self._folded: list[str] = []
        self._shown: list[int] = []
        self._search, self._state = "", ""
        self._sorting: Sorting = "queue"
        self._thumbnails: Thumbnails = lambda _image_id: None

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of rows that are shown."""
        return 0 if parent is not None and parent.isValid() else len(self._shown)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what one row shows."""
        if not index.isValid() or index.row() >= len(self._shown):
            return None
        item = self._items[self._shown[index.row()]]
        if role == ITEM_ROLE:
            return item
        if role == Qt.ItemDataRole.DisplayRole:
            return item.text
        if role == Qt.ItemDataRole.ToolTipRole:
            return item.tip
        if role == Qt.ItemDataRole.UserRole:
            return item.image_id
        if role == Qt.ItemDataRole.DecorationRole:
            return self._thumbnails(item.image_id)
        return None

    @property
    def has_reasons(self) -> bool:
        """Whether rows have a second line."""
        return any(item.reason for item in self._items)

    def set_items(self, items: Sequence[QueueItem]) -> None:
        """Show other items; the view keeps its place if they are the same images."""
        same = [i.image_id for i in items] == [i.image_id for i in self._items]
        self._items = list(items)
        self._folded = [item.name.casefold() for item in items]
        shown = self._matching()
        if same and shown == self._shown:
            if shown:
                self.dataChanged.emit(self.index(0), self.index(len(shown) - 1))
            return
        self._reset(shown)

    def set_search(self, text: str) -> None:
        """Show items with `text` in their name."""
        self._search = text.strip().casefold()
        self._reset(self._matching())

    def set_state(self, state: str) -> None:
        """Show items of one state; all if it is empty."""
        self._state = state
        self._reset(self._matching())

    def set_sorting(self, sorting: Sorting) -> None:
        """Sort by the queue's order, by name, or by the share that is done."""
        self._sorting = sorting
        self._reset(self._matching())

    def set_thumbnails(self, thumbnails: Thumbnails) -> None:
        """Set a function from image id to thumbnail, called for the rows in sight only.

        It returns None for a thumbnail that is not ready, and `thumbnail_ready` is called later.
        """
        self._thumbnails = thumbnails
        self._reset(self._shown)

    def thumbnail_ready(self, image_id: str) -> None:
        """Paint one image's row again."""
        row = self.row_of(image_id)
        if row is not None:
            self.dataChanged.emit(self.index(row), self.index(row))

    def row_of(self, image_id: str | None) -> int | None:
        """Return the row of an image; None if it is not shown."""
        rows = (r for r, i in enumerate(self._shown) if self._items[i].image_id == image_id)
        return next(rows, None)

    def _matching(self) -> list[int]:
        found = [
            i
            for i, item in enumerate(self._items)
            if self._search in self._folded[i] and self._state in ("", item.state)
        ]
        if self._sorting == "name":
            found.sort(key=self._folded.__getitem__)
        elif self._sorting == "least":
            found.sort(key=lambda i: self._items[i].done / max(self._items[i].total, 1))
        return found

    def _reset(self, shown: list[int]) -> None:
        self.beginResetModel()
        self._shown = shown
        self.endResetModel()
