"""Tags of images, such as the site or the scanner, by which images are listed and compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_scsam.core.errors import INVALID
from napari_scsam.project import parsing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_scsam.project.journal import Event
    from napari_scsam.project.store import Project

# Kind of the journal's event.
KIND = "tags"


def note_tags(project: Project, tags: Mapping[str, Sequence[str]]) -> None:
    """Record the tags of images, in place of those that these images had.

    Parameters
    ----------
    project : Project
    tags : mapping of str to sequence of str
        By image id; an empty sequence takes an image's tags away.
    """
    project.record(KIND, {"tags": {image: list(names) for image, names in tags.items()}})


def tags_in(events: Iterable[Event]) -> dict[str, tuple[str, ...]]:
    """Return the tags by image that events give; those that can't be read are left out."""
    found: dict[str, tuple[str, ...]] = {}
    for event in events:
        try:
            given = parsing.table(event.payload["tags"])
            found |= {parsing.image_id(i): _names(names) for i, names in given.items()}
        except INVALID:
            continue
    return found


def read_tags(project: Project) -> dict[str, tuple[str, ...]]:
    """Return the tags of each image that has any."""
    return {record.id: record.tags for record in project.images() if record.tags}


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError("tags are a list")
    return tuple(parsing.text(name) for name in value)
