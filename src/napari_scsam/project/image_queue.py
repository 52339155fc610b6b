"""The images of a project in their order, the progress of each, and the next slice to annotate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_scsam.core.geometry import Plane, SliceKey

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    """

    image_id: str
    name: str
    done: int
    total: int
    case: str = ""
    skipped: bool = False


def rows(project: Project) -> list[QueueRow]:
    """One row for each image, in the order in which they were added."""
    done = project.all_committed_planes()
    skipped = {image_id for image_id, _ in project.skipped()}
    return [
        QueueRow(
            r.id, r.name, len(done.get(r.id, ())), plane_total(r), r.case, skipped=r.id in skipped
        )
        for r in project.images()
    ]


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
