"""Slices that a person skipped, to be shown again later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_scsam.project import parsing

if TYPE_CHECKING:
    from napari_scsam.project.journal import Journal


def skipped_planes(journal: Journal) -> list[tuple[str, int]]:
    """(image ID, slice) of slices skipped and not committed since, the oldest first."""
    waiting: dict[tuple[str, int], None] = {}
    first = next(iter(journal.events(["skip"])), None)
    if first is None:
        return []
    for event in journal.events(["skip", "commit"], after=first.id - 1):
        with journal.reading(event) as payload:
            image, plane = parsing.image_id(event.image), parsing.plane(payload["plane"])
            if event.kind == "skip":
                waiting[image, parsing.number(plane)] = None
                continue
            done = parsing.planes(payload["planes"]) if plane is None else (plane,)
            for index in done:
                waiting.pop((image, index), None)
    return list(waiting)
