"""Uncommitted work and label versions as immutable values: one step of the history."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.core.prompts import PromptSet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_scsam.annotation.working_label import WorkingLabel
    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.geometry import Plane, SliceKey


@dataclass(frozen=True, eq=False)
class Draft:
    """A mask that was propagated from other planes.

    Attributes
    ----------
    label : ndarray of shape (rows, cols), uint8
    flag : str
        Why the plane should be checked; empty if it is not flagged.
    """

    label: LabelArray
    flag: str = ""


@dataclass(frozen=True)
class Work:
    """One step of the history; undo returns to the previous one.

    Attributes
    ----------
    at : (image id, Plane), optional
        Where the step was made, so that undo can show it.
    prompts : mapping of (image id, Plane) to PromptSet
        Only planes that have any.
    versions : mapping of image id to int or None
        Label version after the step, of the images committed in this session.
    drafts : mapping of (image id, Plane) to Draft
        Propagated masks that have not been accepted.
    working_labels : mapping of (image id, Plane) to WorkingLabel
        Of planes that were painted on, or where a class is protected from the models.
    """

    at: SliceKey | None = None
    prompts: Mapping[SliceKey, PromptSet] = field(default_factory=dict)
    versions: Mapping[str, int | None] = field(default_factory=dict)
    drafts: Mapping[SliceKey, Draft] = field(default_factory=dict)
    working_labels: Mapping[SliceKey, WorkingLabel] = field(default_factory=dict)

    def prompts_at(self, key: SliceKey) -> PromptSet:
        """Prompts of one plane; an empty set where there are none."""
        return self.prompts.get(key, PromptSet())

    def with_prompts(self, key: SliceKey, prompts: PromptSet) -> Work:
        """Same work with the prompts of one plane replaced."""
        others = {k: v for k, v in self.prompts.items() if k != key}
        if not prompts.is_empty:
            others[key] = prompts
        return replace(self, at=key, prompts=others)

    def with_drafts(self, drafts: Mapping[SliceKey, Draft | None]) -> Work:
        """Same work with the drafts of some planes replaced; None removes one."""
        merged = {**self.drafts, **drafts}
        return replace(self, drafts={k: d for k, d in merged.items() if d is not None})

    def with_working(self, key: SliceKey, working: WorkingLabel | None) -> Work:
        """Same work with the working label of one plane replaced; None removes it."""
        if working is self.working_labels.get(key):
            return self
        others = {k: v for k, v in self.working_labels.items() if k != key}
        if working is not None:
            others[key] = working
        return replace(self, at=key, working_labels=others)

    def without_plane(self, key: SliceKey) -> Work:
        """Same work without anything uncommitted on one plane."""
        return self.with_working(key, None).with_prompts(key, PromptSet()).with_drafts({key: None})

    def with_version(self, image_id: str, version: int | None) -> Work:
        """Same work with the label version of one image replaced."""
        return replace(self, versions={**self.versions, image_id: version})


def crossing(
    drafts: Mapping[Plane, LabelArray], plane: Plane, shape: tuple[int, ...]
) -> LabelArray | None:
    """Cross-section of drafts along the other axes on `plane` of a volume; None without any.

    Parameters
    ----------
    drafts : mapping of Plane to ndarray of shape (rows, cols), uint8
    plane : Plane
    shape : tuple of int
        The image's spatial shape.

    Returns
    -------
    ndarray of shape (rows, cols), uint8, or None
    """
    others = {p: label for p, label in drafts.items() if p.axis != plane.axis}
    if not others:
        return None
    axes = [axis for axis in range(3) if axis != plane.axis]
    shown = np.zeros([shape[axis] for axis in axes], np.uint8)
    for other, label in others.items():
        across = [axis for axis in range(3) if axis != other.axis].index(plane.axis)
        line = np.take(label, plane.index, axis=across)
        np.moveaxis(shown, axes.index(other.axis), 0)[other.index] = line
    return shown
