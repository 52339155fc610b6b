"""A smooth outline whose vertices are still being set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.core.labels import MAX_CLASSES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_scsam.core.geometry import SliceKey
    from napari_scsam.core.prompts import Point

# More than anybody clicks; a file could claim any number. Arbitrary.
MOST_VERTICES = 500


@dataclass(frozen=True)
class UnfinishedOutline:
    """The vertices of a smooth outline of one plane that is not closed yet.

    Attributes
    ----------
    vertices : tuple of (row, col)
        In pixels of the plane, in the order set; at least one.
    class_id : int
        The class that its interior will have.
    """

    vertices: tuple[Point, ...]
    class_id: int

    def to_json(self) -> dict[str, Any]:
        """JSON values for `read_outline`."""
        return {"class_id": self.class_id, "vertices": [list(place) for place in self.vertices]}


def with_outline(
    unfinished: Mapping[SliceKey, UnfinishedOutline],
    key: SliceKey,
    outline: UnfinishedOutline | None,
) -> dict[SliceKey, UnfinishedOutline]:
    """`unfinished` with the outline of one plane replaced; None removes it."""
    others = {k: o for k, o in unfinished.items() if k != key}
    return others if outline is None else {**others, key: outline}


def is_near(vertices: Sequence[Point], shape: tuple[int, int]) -> bool:
    """Whether all vertices lie in a plane of (rows, cols), or beside it by less than its size."""
    places = np.asarray(vertices, float).reshape(-1, 2)
    sides = np.asarray(shape, float)
    # A comparison with NaN is false.
    return bool(((places >= -sides) & (places <= 2 * sides)).all())


def read_outline(value: Mapping[str, Any], shape: tuple[int, int]) -> UnfinishedOutline:
    """Read what `UnfinishedOutline.to_json` returned, for a plane of (rows, cols).

    Raises
    ------
    KeyError, TypeError, ValueError, OverflowError
        If a value is damaged or doesn't fit the plane.
    """
    class_id, places = int(value["class_id"]), value["vertices"]
    if not isinstance(places, list) or not 1 <= len(places) <= MOST_VERTICES:
        raise ValueError(f"An outline has 1 to {MOST_VERTICES} vertices.")
    if not 1 <= class_id <= MAX_CLASSES:
        raise ValueError(f"There is no class {class_id}.")
    vertices = tuple((float(row), float(col)) for row, col in places)
    if not is_near(vertices, shape):
        raise ValueError(f"A vertex is far from a plane of {shape} pixels.")
    return UnfinishedOutline(vertices, class_id)
