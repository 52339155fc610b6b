"""Uncommitted work on an image as JSON values, and back."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.annotation.unfinished_outline import UnfinishedOutline, read_outline
from napari_scsam.annotation.work import Draft, Work
from napari_scsam.annotation.working_label import WorkingLabel
from napari_scsam.core.geometry import Plane, SliceKey
from napari_scsam.core.patches import Patch, unpacked
from napari_scsam.core.prompts import PointPrompt, PromptSet, Stroke

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_scsam.core.arrays import LabelArray


@dataclass(frozen=True)
class PlaneWork:
    """The uncommitted work on one plane.

    Attributes
    ----------
    prompts : PromptSet
    working : WorkingLabel, optional
    draft : Draft, optional
    outline : UnfinishedOutline, optional
    """

    prompts: PromptSet
    working: WorkingLabel | None
    draft: Draft | None
    outline: UnfinishedOutline | None


# The uncommitted work on each plane that has any.
Pending = Mapping[Plane, PlaneWork]
Unfinished = Mapping[SliceKey, UnfinishedOutline]


def pending_of(work: Work, unfinished: Unfinished, image_id: str) -> Pending:
    """The uncommitted work on the planes of an image."""
    worked = (*work.prompts, *work.working_labels, *work.drafts, *unfinished)
    keys = {key for key in worked if key[0] == image_id}
    return {
        key[1]: PlaneWork(
            work.prompts_at(key),
            work.working_labels.get(key),
            work.drafts.get(key),
            unfinished.get(key),
        )
        for key in sorted(keys, key=lambda key: (key[1].axis, key[1].index))
    }


def with_pending(work: Work, image_id: str, pending: Pending) -> Work:
    """`work` with the uncommitted work on the planes of an image added."""
    drafts: dict[SliceKey, Draft | None] = {}
    for plane, found in pending.items():
        key = (image_id, plane)
        work = work.with_prompts(key, found.prompts).with_working(key, found.working)
        drafts[key] = found.draft
    return work.with_drafts(drafts)


def unfinished_in(pending: Pending, image_id: str) -> dict[SliceKey, UnfinishedOutline]:
    """The unfinished outlines on the planes of an image."""
    found = {(image_id, plane): work.outline for plane, work in pending.items()}
    return {key: outline for key, outline in found.items() if outline is not None}


def to_json(pending: Pending) -> list[dict[str, Any]]:
    """JSON values for `read_back`; the format is in docs/reference/project-folder.md."""
    return [
        {"axis": plane.axis, "plane": plane.index, **_plane_to_json(work)}
        for plane, work in pending.items()
    ]


def _plane_to_json(work: PlaneWork) -> dict[str, Any]:
    draft, outline = work.draft, work.outline
    return {
        "prompts": prompts_to_json(work.prompts),
        "ground": None if work.working is None else _working_to_json(work.working),
        "draft": None if draft is None else {"label": _packed(draft.label), "flag": draft.flag},
        "outline": None if outline is None else outline.to_json(),
    }


def read_back(planes: list[dict[str, Any]], shape: tuple[int, ...]) -> Pending:
    """Read what `to_json` wrote, for an image of this spatial shape.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the values are damaged, or do not fit the image.
    """
    found: dict[Plane, PlaneWork] = {}
    for entry in planes:
        plane = Plane(int(entry["axis"]), int(entry["plane"]))
        fits = plane == Plane() if len(shape) == 2 else 0 <= plane.index < shape[plane.axis]
        if not fits:
            raise ValueError(f"There is no plane {plane} in an image of shape {shape}.")
        kept = [n for axis, n in enumerate(shape) if len(shape) == 2 or axis != plane.axis]
        # Files of earlier versions have no outlines.
        working, draft, outline = entry["ground"], entry["draft"], entry.get("outline")
        found[plane] = PlaneWork(
            _prompts_of(entry["prompts"]),
            None if working is None else _working_of(working, (kept[0], kept[1])),
            None if draft is None else _draft_of(draft, (kept[0], kept[1])),
            None if outline is None else read_outline(outline, (kept[0], kept[1])),
        )
    return found


def prompts_to_json(prompts: PromptSet) -> dict[str, Any]:
    """Points, boxes and strokes as JSON values."""
    return {
        "points": [asdict(p) for p in prompts.points],
        "boxes": [
            {"class_id": c, "object_id": n, "box": list(box)}
            for (c, n), box in prompts.boxes.items()
        ],
        "strokes": [asdict(s) for s in prompts.strokes],
    }


def _prompts_of(value: dict[str, Any]) -> PromptSet:
    boxes = {}
    for entry in value["boxes"]:
        r0, c0, r1, c1 = (float(v) for v in entry["box"])
        boxes[int(entry["class_id"]), int(entry["object_id"])] = (r0, c0, r1, c1)
    strokes = [{**s, "path": tuple(tuple(place) for place in s["path"])} for s in value["strokes"]]
    return PromptSet(
        tuple(PointPrompt(**point) for point in value["points"]),
        boxes,
        tuple(Stroke(**stroke) for stroke in strokes),
    )


def _working_to_json(working: WorkingLabel) -> dict[str, Any]:
    return {
        "base": _packed(working.base),
        "included": prompts_to_json(working.included),
        "fixed": None if working.fixed is None else _packed(working.fixed.astype(np.uint8)),
        "patches": [patch.to_json() for patch in working.patches],
        "since": working.since,
        "drawn": sorted(working.drawn),
        "over": working.over,
    }


def _working_of(value: dict[str, Any], shape: tuple[int, int]) -> WorkingLabel:
    fixed = value["fixed"]
    return WorkingLabel(
        _unpacked(value["base"], shape),
        _prompts_of(value["included"]),
        None if fixed is None else _unpacked(fixed, shape) > 0,
        tuple(Patch.from_json(patch, shape) for patch in value["patches"]),
        int(value["since"]),
        frozenset(int(c) for c in value["drawn"]),
        value["over"],
    )


def _draft_of(value: dict[str, Any], shape: tuple[int, int]) -> Draft:
    return Draft(_unpacked(value["label"], shape), str(value["flag"]))


def _packed(plane: NDArray[np.uint8]) -> str:
    packed = zlib.compress(np.ascontiguousarray(plane).tobytes(), level=1)
    return base64.b64encode(packed).decode("ascii")


def _unpacked(text: str, shape: tuple[int, int]) -> LabelArray:
    return np.frombuffer(unpacked(text, shape[0] * shape[1]), np.uint8).reshape(shape).copy()
