"""Messages about commits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_scsam.core.arrays import LabelArray
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


def saved_message(classes: Sequence[LabelClass], label: LabelArray, judged: ClassIds) -> str:
    """Names the saved classes, and says how the others were recorded.

    Parameters
    ----------
    classes : sequence of LabelClass
        The project's.
    label : ndarray of shape (rows, cols), uint8
    judged : tuple of int
        Classes that the commit judges.
    """
    present = set(np.unique(label).tolist())
    names = [c.name for c in classes if c.id in present]
    others = [c.name for c in classes if c.id not in present]
    said = f"Saved: {in_words(names)}." if names else "Saved: nothing here."
    if not others or len(classes) == 1:
        return said
    fate = "not on this slice" if len(judged) == len(classes) else "not annotated yet"
    return f"{said} {in_words(others)}: {fate}."


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
