"""Labels, judged classes and prompts of one project with the class ids of another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.core.errors import INVALID, InputError
from napari_scsam.core.labels import NOT_ANNOTATED
from napari_scsam.core.patches import Patch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.project import Project


class ClassMapping:
    """The classes of another project here, by name.

    Parameters
    ----------
    project, other : Project

    Raises
    ------
    InputError
        If the other project has a class that this one lacks.
    """

    def __init__(self, project: Project, other: Project) -> None:
        own = {c.name: c.id for c in project.classes}
        strange = [c.name for c in other.classes if c.name not in own]
        if strange:
            raise InputError(
                f"{other.folder} has the class {', '.join(strange)}, which {project.folder} lacks: "
                f"nothing was merged. Open {project.folder} in the dock, add the class there (the "
                "pencil beside the classes, Add a class), and merge again."
            )
        self._ids = {c.id: own[c.name] for c in other.classes}

    def label(self, label: LabelArray) -> LabelArray:
        """A label with the ids of here; a class that was deleted there is not annotated."""
        values = np.full(256, NOT_ANNOTATED, np.uint8)
        values[0] = 0
        for there, here in self._ids.items():
            values[there] = here
        mapped: LabelArray = values[label]
        return mapped

    def classes(self, ids: Iterable[int]) -> list[int]:
        """The ids of here of some classes, ascending, without those that were deleted there."""
        return sorted(self._ids[c] for c in ids if c in self._ids)

    def origin(self, payload: Mapping[str, Any], size: int) -> dict[str, Any]:
        """What a label was made of, with the ids of here; nothing if that can't be read.

        Parameters
        ----------
        payload : mapping
            Of the event with the origin of a label.
        size : int
            The longest side of the image, in pixels.
        """
        try:
            return {key: self._made_of(key, value, size) for key, value in payload.items()}
        except INVALID:
            return {}

    def _made_of(self, key: str, value: Any, size: int) -> Any:
        if key == "drawn":
            patches = [Patch.from_json(item, (size, size)) for item in value]
            return [Patch(p.row, p.col, self.label(p.values)).to_json() for p in patches]
        if key in ("points", "boxes", "strokes"):
            return [{**p, "class_id": self._ids.get(p["class_id"], p["class_id"])} for p in value]
        return value
