"""Messages about commits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_scsam.annotation.state import OpenImage
    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.geometry import Plane
    from napari_scsam.core.judged import ClassIds
    from napari_scsam.core.labels import LabelClass

NO_OUTLINE = (
    "There is no outline to save, because the model failed here. Delete the prompts and press J to "
    "save the slice as empty, or press K to skip it."
)
NOTHING_TO_LEAVE_OPEN = (
    "There is no outline to save. To leave the whole slice as not annotated, press K."
)
ONE_AXIS = (
    "Classes can be left open only on slices along the first axis. Press J to save this slice."
)


def saved_message(
    image: OpenImage,
    plane: Plane,
    classes: Sequence[LabelClass],
    label: LabelArray,
    judged: ClassIds,
) -> str:
    """Names the saved slice and classes, and says how the others were recorded.

    Parameters
    ----------
    image : OpenImage
    plane : Plane
    classes : sequence of LabelClass
        The project's.
    label : ndarray of shape (rows, cols), uint8
    judged : tuple of int
        Classes that the commit judges.
    """
    present = set(np.unique(label).tolist())
    names = [c.name for c in classes if c.id in present]
    others = [c.name for c in classes if c.id not in present]
    said = f"Saved {_place(image, plane)}: {in_words(names) if names else 'no outline'}."
    if not others or len(classes) == 1:
        return said
    if plane.axis != 0:
        fate = f"decided on {image.volume.plane_names[0]} slices"
    else:
        fate = "not there" if len(judged) == len(classes) else "not annotated yet"
    return f"{said} {in_words(others)}: {fate}."


def _place(image: OpenImage, plane: Plane) -> str:
    """A slice by its number and image, since J may go on to another image."""
    if image.volume.plane_count(plane.axis) == 1:
        return image.name
    return f"slice {plane.index} of {image.name}"


def saved_drafts_message(slices: int, *, flagged: bool, others_open: bool) -> str:
    """Says how many slices were saved together, and what is left."""
    fate = " Classes without an outline: not annotated yet." if others_open else ""
    rest = "  Flagged drafts stay: N goes to the next." if flagged else ""
    return f"Saved {in_slices(slices)}.{fate}{rest}"


def in_slices(number: int) -> str:
    """A number of slices as text."""
    return f"{number} slice{'' if number == 1 else 's'}"


def in_words(names: Sequence[str]) -> str:
    """Names as a list, such as "a, b and c"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
