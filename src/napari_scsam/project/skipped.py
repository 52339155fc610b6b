"""Slices that a person passed over, to be shown again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_scsam.project import claims

if TYPE_CHECKING:
    from napari_scsam.project.journal import Journal


def skipped_planes(journal: Journal) -> list[tuple[str, int]]:
    """(image id, slice) passed over and not committed since, the oldest first."""
    waiting: dict[tuple[str, int], None] = {}
    for event in journal.events(["skip", "commit"]):
        with journal.reading(event) as payload:
            image, plane = claims.image_id(event.image), claims.plane(payload["plane"])
            if event.kind == "skip":
                waiting[image, claims.number(plane)] = None
                continue
            done = claims.planes(payload["planes"]) if plane is None else (plane,)
            for index in done:
                waiting.pop((image, index), None)
    return list(waiting)
