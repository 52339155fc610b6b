"""Where a label that came by a merge was made, and what it cost there."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import INVALID
from napari_scsam.project import parsing

if TYPE_CHECKING:
    from collections.abc import Mapping

# Key of the table in the payload of a label's origin.
MERGED = "merged"


@dataclass(frozen=True)
class MergeOrigin:
    """The commit that a merged label was taken from.

    Attributes
    ----------
    project : str
        The folder of the other project.
    version : int
        There.
    plane : int
        Along axis 0.
    time : str
        UTC, ISO 8601.
    sha256 : str
        Of the label file; with the time, it identifies the commit in all copies.
    round : int or None
        Number here of the round that was active then.
    seconds : float or None
        See `effort.Step`.
    is_part : bool
        Whether another merged slice of the same commit counts for its effort.
    """

    project: str
    version: int
    plane: int
    time: str
    sha256: str
    round: int | None = None
    seconds: float | None = None
    is_part: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the journal."""
        return asdict(self)


def merge_origin(payload: Mapping[str, Any]) -> MergeOrigin | None:
    """The commit that a label was merged from, by its origin; None if it was made here."""
    try:
        value = parsing.table(payload[MERGED])
        number, seconds = value["round"], value["seconds"]
        if seconds is not None and not (
            isinstance(seconds, int | float) and math.isfinite(seconds)
        ):
            raise ValueError("a time is a finite number")
        return MergeOrigin(
            project=parsing.text(value["project"]),
            version=parsing.number(value["version"], 1),
            plane=parsing.number(value["plane"]),
            time=parsing.text(value["time"]),
            sha256=parsing.sha256(value["sha256"]),
            round=None if number is None else parsing.number(number),
            seconds=seconds,
            is_part=parsing.flag(value["is_part"]),
        )
    except INVALID:
        return None
