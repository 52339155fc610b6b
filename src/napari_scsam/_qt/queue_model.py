"""The rows of the list of images: what each says, and which are shown in which order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal

from qtpy.QtCore import QAbstractListModel, QModelIndex, Qt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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
    doubtful : bool
        Whether the models are unsure of it.
    """

    score: float | None
    reason: str
    plane: int | None = None
    doubtful: bool = False


_UNRANKED = Ranked(None, "")


class RankingReader:
    """Gives the ranks of the images that are still to be labelled, and keeps those of before."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Waiting, Ranked]] = {}

    def read(self, waiting: Sequence[Waiting]) -> dict[str, Ranked]:
        """Return the ranks by image id, best first; equal objects as before where none changed."""
        known = self._known
        self._known = {
            one.entry.image: found
            if (found := known.get(one.entry.image)) is not None and found[0] is one
            else (one, _rank_of(one))
            for one in waiting
        }
        return {image: rank for image, (_, rank) in self._known.items()}


def _rank_of(waiting: Waiting) -> Ranked:
    entry = waiting.entry
    plane = None if entry.plane is None else waiting.plane
    return Ranked(entry.score, entry.reason, plane, entry.doubtful)


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
    tags : tuple of str
    """

    image_id: str
    name: str
    plane: int | None = None
    score: float | None = None
    reason: str = ""
    state: State = "open"
    done: int = 0
    total: int = 1
    tags: tuple[str, ...] = ()

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
        tags = f" Tags: {', '.join(self.tags)}." if self.tags else ""
        return f"{self.name}: {self.done} of {self.total} {unit} committed.{score}{reason}{tags}"


def _ordered(rows: Sequence[QueueRow], ranking: Mapping[str, Ranked]) -> list[QueueRow]:
    """Return the rows of ranked images in their order, then the others."""
    if not ranking:
        return list(rows)
    known = {row.image_id: row for row in rows}
    return [
        *(known[image_id] for image_id in ranking if image_id in known),
        *(row for row in rows if row.image_id not in ranking),
    ]


def _state_of(row: QueueRow, *, flagged: bool) -> State:
    if flagged:
        return "flagged"
    if row.done == row.total:
        return "done"
    return "skipped" if row.skipped else "open"


def _item(row: QueueRow, rank: Ranked | None, *, flagged: bool) -> QueueItem:
    known, state = rank or _UNRANKED, _state_of(row, flagged=flagged)
    ranked = (known.plane, known.score, known.reason)
    return QueueItem(row.image_id, row.name, *ranked, state, row.done, row.total, row.tags)


class QueueModel(QAbstractListModel):
    """The rows that match a search and a state, in an order.

    Items are made for the rows in sight only, so that 10,000 rows cost as much as those. After a
    change, only what changed is announced.
    """

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._rows: list[QueueRow] = []  # in the order of the queue
        self._ranking: Mapping[str, Ranked] = {}
        self._flagged: frozenset[str] = frozenset()
        self._shown: list[int] = []  # positions in `_rows`
        self._row_at: dict[str, int] = {}  # position in `_shown` of an image
        self._search, self._state, self._tag = "", "", ""
        self._sorting: Sorting = "queue"
        self._thumbnails: Thumbnails = lambda _image_id: None
        self.has_reasons = False

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of rows that are shown."""
        return 0 if parent is not None and parent.isValid() else len(self._shown)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what one row shows."""
        if not index.isValid() or index.row() >= len(self._shown):
            return None
        row = self._rows[self._shown[index.row()]]
        if role == Qt.ItemDataRole.UserRole:
            return row.image_id
        if role == Qt.ItemDataRole.DecorationRole:
            return self._thumbnails(row.image_id)
        if role == ITEM_ROLE:
            return self._item_of(row)
        if role == Qt.ItemDataRole.DisplayRole:
            return self._item_of(row).text
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._item_of(row).tip
        return None

    def _item_of(self, row: QueueRow) -> QueueItem:
        image_id = row.image_id
        return _item(row, self._ranking.get(image_id), flagged=image_id in self._flagged)

    def set_rows(
        self,
        rows: Sequence[QueueRow],
        ranking: Mapping[str, Ranked] | None = None,
        flagged: frozenset[str] = frozenset(),
    ) -> None:
        """Show other rows; the view keeps its place if they are the same images in their order.

        Parameters
        ----------
        rows : sequence of QueueRow
            One per image, in the order in which they were added.
        ranking : mapping of str to Ranked, optional
            By image id, best first. Ranked images come before the others.
        flagged : frozenset of str
            Ids of images with slices to check.
        """
        before = (self._rows, self._ranking, self._flagged)
        self._rows = _ordered(rows, ranking or {})
        self._ranking, self._flagged = ranking or {}, flagged
        self.has_reasons = any(rank.reason for rank in self._ranking.values())
        shown = self._matching()
        if shown == self._shown and list(map(_ID, before[0])) == list(map(_ID, self._rows)):
            self._announce_changes(*before)
        else:
            self._reset(shown)

    def _announce_changes(
        self, rows: Sequence[QueueRow], ranking: Mapping[str, Ranked], flagged: frozenset[str]
    ) -> None:
        """Announce what differs from before, where the same images are shown in the same order."""
        pairs = zip(rows, self._rows, strict=True)
        changed = {new.image_id for old, new in pairs if old is not new and old != new}
        changed |= _changed_ranks(ranking, self._ranking) | (flagged ^ self._flagged)
        at = sorted(self._row_at[image_id] for image_id in changed & self._row_at.keys())
        for first, last in _runs(at):
            self.dataChanged.emit(self.index(first), self.index(last))

    def set_search(self, text: str) -> None:
        """Show images with `text` in their name."""
        self._search = text.strip().casefold()
        self._reset(self._matching())

    def set_state(self, state: str) -> None:
        """Show images of one state, or doubtful ones; all if it is empty."""
        self._state = state
        self._reset(self._matching())

    def set_tag(self, tag: str) -> None:
        """Show images with a tag; all if it is empty."""
        self._tag = tag
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
        return None if image_id is None else self._row_at.get(image_id)

    def _matching(self) -> list[int]:
        found = list(range(len(self._rows)))
        if self._search:
            found = [i for i in found if self._search in self._rows[i].name.casefold()]
        if self._state:
            found = [i for i in found if self._is_of_state(i)]
        if self._tag:
            found = [i for i in found if self._tag in self._rows[i].tags]
        if self._sorting == "name":
            found.sort(key=lambda i: self._rows[i].name.casefold())
        elif self._sorting == "least":
            found.sort(key=lambda i: self._rows[i].done / max(self._rows[i].total, 1))
        return found

    def _is_of_state(self, position: int) -> bool:
        row = self._rows[position]
        state = _state_of(row, flagged=row.image_id in self._flagged)
        if self._state != "doubtful":
            return state == self._state
        rank = self._ranking.get(row.image_id, _UNRANKED)
        return state == "flagged" or (state != "done" and rank.doubtful)

    def _reset(self, shown: list[int]) -> None:
        self.beginResetModel()
        self._shown = shown
        self._row_at = {self._rows[i].image_id: at for at, i in enumerate(shown)}
        self.endResetModel()


_ID = attrgetter("image_id")


def _changed_ranks(before: Mapping[str, Ranked], now: Mapping[str, Ranked]) -> set[str]:
    """Return the images that are ranked otherwise, or are ranked no more."""
    known = before.get
    changed = {image for image, rank in now.items() if known(image) is not rank}
    return {i for i in changed if known(i) != now[i]} | (before.keys() - now.keys())


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of each run of successive numbers."""
    for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        found = [number for _, number in run]
        yield found[0], found[-1]
