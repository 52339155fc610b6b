"""Suggestions on random slices, stored before they are shown: a check of the models without bias.

Each is an event of the journal, whose hash comes before that of the commit. So nobody, and nothing
that the commit taught the models, can have changed the suggestion afterwards.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.core.errors import INVALID
from napari_scsam.core.patches import Patch
from napari_scsam.project import parsing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.project.ranking import QueueEntry
    from napari_scsam.project.store import Project

# Kind of the event.
CHECK = "check"
# Strategy of the entries of a queue that were drawn at random, whatever the models say of them.
RANDOM = "random"


@dataclass(frozen=True, eq=False)
class RandomCheck:
    """What the models suggested on a random slice.

    Attributes
    ----------
    id : int
        Of the event; commits with a higher one came later.
    image : str
    plane : int
        Along axis 0; 0 for a two-dimensional image.
    round : int or None
        The round that made it; None if committed outlines did.
    label : ndarray of shape (rows, cols), uint8
        Class ids; all 0 if nothing was suggested on it.
    """

    id: int
    image: str
    plane: int
    round: int | None
    label: LabelArray


def checked_slice(entry: QueueEntry) -> int | None:
    """The slice of a queue's entry that is a random check; None if it was chosen by a score."""
    return (entry.plane or 0) if entry.strategy == RANDOM and entry.score is None else None


def note_check(
    project: Project, image: str, plane: int, label: LabelArray, round: int | None
) -> None:
    """Record what the models suggest on a slice that is to be labelled; durable on return.

    Parameters
    ----------
    project : Project
    image : str
    plane : int
        Along axis 0.
    label : ndarray of shape (rows, cols), uint8
    round : int or None
        The active round; None if there is none.
    """
    payload = {"image": image, "plane": plane, "round": round}
    project.record(CHECK, {**payload, "label": Patch(0, 0, label).to_json()})


def random_checks(project: Project) -> list[RandomCheck]:
    """Every check of the project's images, the oldest first; damaged ones are left out."""
    shapes = {record.id: record.shape for record in project.images()}
    found = []
    for event in project.events(CHECK):
        try:
            image = parsing.image_id(event.payload["image"])
            number = event.payload["round"]
            found.append(
                RandomCheck(
                    event.id,
                    image,
                    parsing.number(event.payload["plane"]),
                    None if number is None else parsing.number(number, 1),
                    _label(parsing.table(event.payload["label"]), shapes[image][-2:]),
                )
            )
        except INVALID:
            continue
    return found


def _label(value: Mapping[str, Any], shape: tuple[int, ...]) -> LabelArray:
    """The pixels of a check; unpacks no more than the slice has."""
    count = shape[0] * shape[1]
    try:
        packed = base64.b64decode(parsing.text(value["zlib"]), validate=True)
        raw = zlib.decompressobj().decompress(packed, count + 1)
    except zlib.error as error:
        raise ValueError("The packed pixels are damaged.") from error
    if value["shape"] != list(shape) or len(raw) != count:
        raise ValueError("A check has the shape of its slice.")
    return np.frombuffer(raw, np.uint8).reshape(shape)
