"""Classes that a person judged on the planes of an image; the others are unknown there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.core.errors import InputError
from napari_scsam.core.labels import BACKGROUND, NOT_ANNOTATED, LabelClass

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

ClassIds = tuple[int, ...]


@dataclass(frozen=True)
class Judged:
    """The classes that were judged on each plane of a label map.

    A pixel of 0 belongs to none of these classes, but may belong to any other class.

    Attributes
    ----------
    classes : tuple of int
        Ascending ids of the classes judged on every plane along axis 0 that is not in `planes`.
    planes : mapping of int to tuple of int
        Classes judged on single planes.
    """

    classes: ClassIds
    planes: Mapping[int, ClassIds] = field(default_factory=dict, hash=False)

    def on(self, index: int, axis: int = 0) -> ClassIds:
        """Return the classes judged on the plane `index` along `axis`.

        A plane along another axis crosses all planes along axis 0, so it has their intersection.
        """
        if axis == 0:
            return self.planes.get(index, self.classes)
        common = set(self.classes).intersection(*map(set, self.planes.values()))
        return tuple(sorted(common))

    def replaced(self, index: int, classes: ClassIds) -> Judged:
        """Return a copy with other classes judged on one plane along axis 0."""
        planes = {at: known for at, known in self.planes.items() if at != index}
        if classes != self.classes:
            planes[index] = classes
        return Judged(self.classes, planes)

    def among(self, ids: Collection[int]) -> Judged:
        """Return a copy without the classes that are not among `ids`."""
        planes = {at: _common(known, ids) for at, known in self.planes.items()}
        return Judged(_common(self.classes, ids), planes)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for the journal and for ``inputs.json``."""
        planes = {str(at): list(known) for at, known in sorted(self.planes.items())}
        return {"classes": list(self.classes), "planes": planes}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Judged:
        """Parse the result of `to_json`; KeyError, TypeError or ValueError if it is damaged."""
        planes = {int(at): _ascending(known) for at, known in value["planes"].items()}
        return Judged(_ascending(value["classes"]), planes)


def check_judged(
    judged: Collection[int] | None, label: NDArray[np.generic], classes: Collection[LabelClass]
) -> ClassIds:
    """Validate the classes that were judged on a label map, and return them.

    Parameters
    ----------
    judged : collection of int or None
        Ids; None for all classes.
    label : ndarray
        The committed label: class ids, 0 and 255.
    classes : collection of LabelClass
        The class table.

    Returns
    -------
    tuple of int
        Ascending.

    Raises
    ------
    InputError
        If nothing was judged, an id is not a class, or the label contains a class not judged.
    """
    table = {c.id: c.name for c in classes}
    if judged is None:
        return tuple(sorted(table))
    ids = _ascending(judged)
    named = ", ".join(f"{i}={name}" for i, name in table.items())
    strange = sorted(set(ids) - set(table))
    if strange or not ids:
        got = f"got {strange}" if strange else "got none"
        raise InputError(f"The classes that were judged are some of {named}; {got}.")
    held = {int(value) for value in np.unique(label)} - {BACKGROUND, NOT_ANNOTATED}
    unnamed = ", ".join(f"{i}={table[i]}" for i in sorted(held - set(ids)))
    if unnamed:
        raise InputError(
            f"The mask holds {unnamed}, which is not among the classes that were judged "
            f"({', '.join(map(str, ids))}): name it, too, or take it out of the mask."
        )
    return ids


def check_judged_planes(
    judged: Judged,
    label: NDArray[np.generic],
    classes: Collection[LabelClass],
    plane: int | None = None,
) -> Judged:
    """Validate the classes that were judged on each plane, and return them.

    Parameters
    ----------
    judged : Judged
    label : ndarray
        A label map, or of a volume only the plane `plane` along axis 0.
    classes : collection of LabelClass
        The class table.
    plane : int, optional

    Raises
    ------
    InputError
        As `check_judged`, for one of the planes.
    """
    planes = label if plane is None and label.ndim > 2 else [label]
    for index, own in enumerate(planes, plane or 0):
        # Nothing is known of a plane on which only a class was judged that left the table.
        if judged.on(index) or set(np.unique(own).tolist()) - {BACKGROUND, NOT_ANNOTATED}:
            check_judged(judged.on(index), own, classes)
    return judged


def _common(one: Collection[int], other: Collection[int]) -> ClassIds:
    return tuple(sorted({*one} & {*other}))


def _ascending(ids: Collection[int]) -> ClassIds:
    return tuple(sorted({int(i) for i in ids}))
