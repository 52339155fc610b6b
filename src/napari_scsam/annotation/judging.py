"""Which classes a commit judges on each slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.core.judged import ClassIds, Judged
from napari_scsam.core.labels import BACKGROUND, NOT_ANNOTATED

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.geometry import Plane
    from napari_scsam.core.labels import LabelClass
    from napari_scsam.project.schema import CommitRecord


def classes_in(label: LabelArray) -> ClassIds:
    """IDs of the classes in a label, ascending."""
    return tuple(i for i in np.unique(label).tolist() if i not in (BACKGROUND, NOT_ANNOTATED))


def judged_on(
    classes: Sequence[LabelClass], plane: Plane, label: LabelArray, *, others_open: bool
) -> ClassIds:
    """Classes that a commit of one plane judges.

    Parameters
    ----------
    classes : sequence of LabelClass
        The project's.
    plane : Plane
    label : ndarray of shape (rows, cols), uint8
    others_open : bool
        Leave the classes that are not on the plane open, which is possible along axis 0 only.
    """
    if others_open and plane.axis == 0 and len(classes) > 1:
        return classes_in(label)
    return tuple(sorted(c.id for c in classes))


def judged_with(
    before: CommitRecord | None,
    labels: Mapping[Plane, LabelArray],
    judged: Mapping[Plane, ClassIds],
    all_ids: Collection[int],
) -> Judged:
    """Classes that are judged on each slice after planes of a volume were committed.

    What was left open on other slices stays open. A plane along another axis judges a line of each
    slice only, so that it adds no more to them than the classes that it contains. Classes that are
    no longer the project's are left out.

    Parameters
    ----------
    before : CommitRecord, optional
        The commit that the label was made from.
    labels : mapping of Plane to ndarray of shape (rows, cols), uint8
        The committed planes.
    judged : mapping of Plane to tuple of int
        Classes that the user looked for on them.
    all_ids : collection of int
        Of the project's classes.
    """
    if before is None:
        made, known = Judged(tuple(sorted(all_ids))), frozenset[int]()
    else:
        made, known = before.judged.among(all_ids), frozenset(before.planes)
    for plane in labels:
        if plane.axis == 0:
            earlier = made.on(plane.index) if plane.index in known else ()
            made = made.replaced(plane.index, _together(judged[plane], earlier))
    for plane, label in labels.items():
        for index in range(len(label)) if plane.axis else ():
            added = _together(made.on(index), classes_in(label[index]))
            made = made.replaced(index, added)
    return made


def _together(one: Collection[int], other: Collection[int]) -> ClassIds:
    return tuple(sorted({*one, *other}))
