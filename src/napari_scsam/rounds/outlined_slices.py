"""Counts committed slices that a tuning can learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_scsam.core.errors import ProjectError
from napari_scsam.core.labels import BACKGROUND, NOT_ANNOTATED

if TYPE_CHECKING:
    from napari_scsam.project import Project


def has_outlined_slices(project: Project, enough: int) -> bool:
    """Whether the current labels show a class on at least `enough` slices along axis 0.

    Reads labels until there are enough; one that can't be read counts as empty. Not for the
    window's thread.
    """
    found = 0
    for image in project.labelled():
        try:
            label = project.label(image)
        except ProjectError:
            continue
        if label is not None:
            shown = (label != BACKGROUND) & (label != NOT_ANNOTATED)
            found += int(shown.any(axis=(-2, -1)).sum())
        if found >= enough:
            return True
    return False
