"""The images of a project in their order, the progress of each, and the next slice to annotate."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_scsam.core.geometry import Plane, SliceKey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_scsam.project import ImageRecord, Project


@dataclass(frozen=True)
class QueueRow:
    """One image in the list.

    Attributes
    ----------
    image_id, name : str
    done, total : int
        Number of committed slices, and of all slices along axis 0.
    case : str
        The unit of splitting.
    skipped : bool
        Whether a plane was skipped and not committed since.
    tags : tuple of str
    """

    image_id: str
    name: str
    done: int
    total: int
    case: str = ""
    skipped: bool = False
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Finished:
    """What was committed or skipped, at one moment.

    Attributes
    ----------
    committed : mapping of str to sequence of int
        Slices by image. A sequence is replaced by each commit of its image, and never modified.
    skipped : frozenset of (str, int)
        Images and slices.
    """

    committed: Mapping[str, Sequence[int]]
    skipped: frozenset[tuple[str, int]]

    @classmethod
    def of(cls, project: Project) -> Finished:
        """What is committed or skipped now."""
        return cls(project.all_committed_planes(), frozenset(project.skipped()))

    def changed_since(self, before: Finished) -> set[str]:
        """Images of which more or less is committed or skipped than before."""
        old, new = before.committed, self.committed
        changed = {image for image, planes in new.items() if old.get(image) is not planes}
        return changed | (old.keys() - new.keys()) | {i for i, _ in self.skipped ^ before.skipped}


class ImageRows:
    """The rows of a project, kept in memory: `read` makes only those that changed anew.

    May be used from several threads.

    Parameters
    ----------
    project : Project
    committed : callable, optional
        Returns the committed slices by image; those of the project by default.
    """

    def __init__(
        self,
        project: Project,
        committed: Callable[[], Mapping[str, Sequence[int]]] | None = None,
    ) -> None:
        self._project = project
        self._committed = committed or project.all_committed_planes
        self._lock = threading.Lock()
        self._records: list[ImageRecord] = []
        self._finished = Finished({}, frozenset())
        self._rows: dict[str, QueueRow] = {}

    def read(self) -> list[QueueRow]:
        """One row for each image, in the order in which they were added.

        A row whose image did not change is the object that was returned before.
        """
        with self._lock:
            records = self._project.images()
            finished = Finished(self._committed(), frozenset(self._project.skipped()))
            changed = finished.changed_since(self._finished)
            changed |= _replaced(self._records, records)
            skipped = {image for image, _ in finished.skipped}
            for record in records if changed else ():
                if record.id in changed:
                    self._rows[record.id] = _row(record, finished.committed, record.id in skipped)
            self._records, self._finished = records, finished
            return list(self._rows.values())


def _replaced(before: Sequence[ImageRecord], now: Sequence[ImageRecord]) -> set[str]:
    """Images that are new, or whose record is another object."""
    pairs = zip(before, now, strict=False)  # images are added at the end, and none is removed
    return {new.id for old, new in pairs if old is not new} | {r.id for r in now[len(before) :]}


def _row(record: ImageRecord, committed: Mapping[str, Sequence[int]], skipped: bool) -> QueueRow:
    done, total = len(committed.get(record.id, ())), plane_total(record)
    is_skipped, tags = skipped, record.tags
    return QueueRow(record.id, record.name, done, total, record.case, is_skipped, tags)


def rows(project: Project) -> list[QueueRow]:
    """One row for each image, in the order in which they were added."""
    return ImageRows(project).read()


def plane_total(record: ImageRecord) -> int:
    """Number of slices of an image along axis 0."""
    return 1 if len(record.shape) == 2 else int(record.shape[0])


def neighbour(
    project: Project, key: SliceKey, step: int = 1, *, only_open: bool = True
) -> SliceKey | None:
    """The slice after (`step` 1) or before (-1) `key`, along axis 0.

    After the last slice of an image comes the first of the next image. Forward, the first open
    slice of all follows at the end of the list.

    Parameters
    ----------
    project : Project
    key : (image id, Plane)
    step : {1, -1}
    only_open : bool
        Leave out slices that are committed.

    Returns
    -------
    (image id, Plane) or None
        None if there is no other slice.
    """
    images = project.images()
    committed = project.all_committed_planes() if only_open else {}
    at = next(i for i, record in enumerate(images) if record.id == key[0])
    before: int | None = key[1].index if key[1].axis == 0 else -1
    for record in images[at:] if step > 0 else images[at::-1]:
        total, done = plane_total(record), committed.get(record.id, ())
        if len(done) < total:
            start = (-1 if step > 0 else total) if before is None else before
            index = _first_open(range(start + step, total if step > 0 else -1, step), done)
            if index is not None:
                return (record.id, Plane(0, index))
        before = None
    if step < 0 or not only_open:
        return None
    for record in images[: at + 1]:
        end = key[1].index if record.id == key[0] and not key[1].axis else plane_total(record)
        index = _first_open(range(end), committed.get(record.id, ()))
        if index is not None:
            return (record.id, Plane(0, index))
    return None


def _first_open(indices: range, done: Sequence[int]) -> int | None:
    committed = set(done)
    return next((index for index in indices if index not in committed), None)
