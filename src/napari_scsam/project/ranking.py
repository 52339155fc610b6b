"""The ranked queue of a project: stored for the window, and which of it a person picked.

The queue can be computed again at any time, so it lies in the cache; a pick is an event of the
journal, with the order and the reason that the person saw.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import INVALID, ProjectError
from napari_scsam.core.project_layout import CACHE_FOLDER
from napari_scsam.io.atomic import storage_error, write_bytes
from napari_scsam.io.real_files import make_real_folder, read_json, real_folder
from napari_scsam.project import parsing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_scsam.project.store import Project

# Of the cache; what was measured lies in it, too.
RANKING_FOLDER = "ranking"
QUEUE_FILE = "queue.json"
# Kind of the event of a pick.
PICK = "pick"


@dataclass(frozen=True)
class QueueEntry:
    """One open image in the order worth labelling.

    Attributes
    ----------
    image : str
        Its id.
    plane : int or None
        The slice most worth labelling; None for a two-dimensional image.
    score : float or None
        Comparable within a strategy; None for random picks.
    reason : str
        For the person.
    strategy : str
        The strategy that placed it: 'random' for the random checks of 'hybrid'.
    planes : tuple of int
        Ranked slices of a volume, the one most worth labelling first.
    doubtful : bool
        Whether the models are unsure of its slice most worth labelling; False if that is not known.
    """

    image: str
    plane: int | None
    score: float | None
    reason: str
    strategy: str
    planes: tuple[int, ...] = ()
    doubtful: bool = False


@dataclass(frozen=True)
class RankedQueue:
    """All open images, the one most worth labelling first.

    Attributes
    ----------
    strategy : str
    round : int or None
        The round whose models were used; None before the first.
    entries : tuple of QueueEntry
    """

    strategy: str
    round: int | None
    entries: tuple[QueueEntry, ...]


@dataclass(frozen=True)
class Picked:
    """An image that a person took from the queue.

    Attributes
    ----------
    time : str
        UTC, ISO 8601.
    position : int
        Its position in the queue, from 0.
    entry : QueueEntry
    """

    time: str
    position: int
    entry: QueueEntry


def ranking_folder(project: Path) -> Path:
    """The folder of rankings in the cache, made where it does not exist."""
    return make_real_folder(project, CACHE_FOLDER, RANKING_FOLDER)


def write_queue(project: Path, queue: RankedQueue) -> None:
    """Store a queue, in place of an earlier one; ProjectError if the disk can't be written."""
    content = json.dumps(asdict(queue), allow_nan=False)
    write_bytes(ranking_folder(project) / QUEUE_FILE, content.encode())


def read_queue(project: Path) -> RankedQueue | None:
    """The stored queue; None where there is none, or it can't be read."""
    try:
        folder = real_folder(project, CACHE_FOLDER, RANKING_FOLDER)
        found = parsing.table(read_json(folder / QUEUE_FILE))
        number = found["round"]
        return RankedQueue(
            parsing.text(found["strategy"]),
            None if number is None else parsing.number(number),
            tuple(_entry(parsing.table(item)) for item in found["entries"]),
        )
    except (OSError, ProjectError, *INVALID):
        return None


def queue_stamp(project: Path) -> tuple[int, int] | None:
    """What changes whenever a queue is stored; None without a queue."""
    try:
        state = (project / CACHE_FOLDER / RANKING_FOLDER / QUEUE_FILE).stat()
    except OSError:
        return None
    return (state.st_mtime_ns, state.st_ino)


def forget_queue(project: Path) -> None:
    """Delete the stored queue; what was measured for it stays. ProjectError if it can't be."""
    path = real_folder(project, CACHE_FOLDER, RANKING_FOLDER) / QUEUE_FILE
    try:
        path.unlink(missing_ok=True)
    except OSError as exc:
        raise storage_error(exc, path) from exc


def note_pick(project: Project, entry: QueueEntry, position: int) -> None:
    """Note in the journal that a person took an image from the queue, and why it was there."""
    project.record(PICK, {**asdict(entry), "position": position})


def picks(project: Project) -> list[Picked]:
    """Every pick, the oldest first; those that can't be read are left out."""
    found = []
    for event in project.events(PICK):
        try:
            position = parsing.number(event.payload["position"])
            found.append(Picked(event.time, position, _entry(event.payload)))
        except INVALID:
            continue
    return found


def _entry(value: Mapping[str, Any]) -> QueueEntry:
    score = value["score"]
    if score is not None and not (isinstance(score, int | float) and math.isfinite(score)):
        raise ValueError("a score is a finite number")
    return QueueEntry(
        image=parsing.image_id(value["image"]),
        plane=parsing.plane(value["plane"]),
        score=None if score is None else float(score),
        reason=parsing.text(value["reason"]),
        strategy=parsing.text(value["strategy"]),
        planes=parsing.planes(list(value.get("planes", ()))),
        doubtful=value.get("doubtful") is True,
    )
