"""What was displayed last in a project; stored in its cache, because it may be lost."""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import INVALID, ProjectError
from napari_scsam.core.geometry import Plane, SliceKey
from napari_scsam.io.real_files import open_new, read_json
from napari_scsam.project.image_queue import plane_total

if TYPE_CHECKING:
    from napari_scsam.project import Project
    from napari_scsam.project.slice_order import SliceOrder

FILE = "last_view.json"
# Numbers that describe a camera: zoom, and a centre in three dimensions.
CAMERA = 4


@dataclass(frozen=True)
class LastView:
    """What was displayed.

    Attributes
    ----------
    key : (image id, Plane)
    class_id : int or None
        The class that was picked.
    camera : tuple of float
        Zoom, then the centre; empty if it is not known.
    """

    key: SliceKey
    class_id: int | None = None
    camera: tuple[float, ...] = ()


def remember(project: Project, view: LastView) -> None:
    """Store what is displayed for the next session; does nothing in a read-only project."""
    if project.read_only:
        return
    image_id, plane = view.key
    place = {"image": image_id, "axis": plane.axis, "index": plane.index}
    text = json.dumps(place | {"class": view.class_id, "camera": view.camera})
    folder = project.folder / "cache"
    # A full disk must not interrupt someone who only views images.
    with contextlib.suppress(OSError, ProjectError):
        project.check_writable()
        folder.mkdir(exist_ok=True)
        with open_new(folder / FILE) as stream:
            stream.write(text.encode())


def first_view(project: Project, order: SliceOrder | None = None) -> LastView | None:
    """What to show first: the plane of the last session, or else an unannotated one.

    Parameters
    ----------
    project : Project
    order : SliceOrder, optional
        Of a ranked queue, whose best slice comes first.

    Returns
    -------
    LastView or None
        None in a project without images.
    """
    best = None if order is None else order.first()
    key = best or _open_plane(project)
    return _recall(project) or (None if key is None else LastView(key))


def _recall(project: Project) -> LastView | None:
    try:
        noted = read_json(project.folder / "cache" / FILE)
        image_id, axis, index = str(noted["image"]), int(noted["axis"]), int(noted["index"])
    except (OSError, *INVALID):
        return None
    record = next((r for r in project.images() if r.id == image_id), None)
    if record is None or not (axis == 0 or (axis in (1, 2) and len(record.shape) == 3)):
        return None
    total = plane_total(record) if axis == 0 else int(record.shape[axis])
    if not 0 <= index < total:
        return None
    return LastView((image_id, Plane(axis, index)), _class_of(noted), _camera_of(noted))


def _class_of(noted: dict[str, Any]) -> int | None:
    """The class in a file, which may be of an earlier version or damaged."""
    found = noted.get("class")
    return found if isinstance(found, int) else None


def _camera_of(noted: dict[str, Any]) -> tuple[float, ...]:
    """The camera in a file, which may be of an earlier version or damaged."""
    found = noted.get("camera")
    if not isinstance(found, list) or len(found) != CAMERA:
        return ()
    usable = all(isinstance(x, float | int) and math.isfinite(x) for x in found) and found[0] > 0
    return tuple(map(float, found)) if usable else ()


def _open_plane(project: Project) -> SliceKey | None:
    """The unannotated plane nearest to the middle of the first unfinished image."""
    records, committed = project.images(), project.all_committed_planes()
    for record in records:
        total, done = plane_total(record), set(committed.get(record.id, ()))
        waiting = [i for i in range(total) if i not in done]
        if waiting:
            return (record.id, Plane(0, min(waiting, key=lambda i: abs(i - total // 2))))
    return (records[0].id, Plane(0, plane_total(records[0]) // 2)) if records else None
