"""A warning before a slice is saved as empty on which something may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_scsam.core.prompt_edits import is_question

if TYPE_CHECKING:
    from napari_scsam.annotation.state import AnnotationState, StateStore
    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.geometry import SliceKey

DOUBTFUL = (
    "nothing was found here, but the draft is flagged ({flag}). Click the structure, or press J "
    "again to save the slice as empty."
)
ASKED = (
    "nothing is outlined here, but something is asked about. Click the structure, answer with Q or "
    "W, or press J again to save the slice as empty."
)


class EmptyCommit:
    """Asks for a second press before an empty slice is saved that the models are unsure of.

    That is a flagged draft without a mask, or suggestions that only ask whether something is there.

    Parameters
    ----------
    store : StateStore
    """

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._warned_about: Any = None

    def is_held_back(self, key: SliceKey, label: LabelArray | None) -> bool:
        """Warn at the first press; True if the slice is not to be saved yet.

        Parameters
        ----------
        key : (image id, Plane)
        label : ndarray of shape (rows, cols), uint8, optional
            What would be saved; None for nothing.
        """
        doubt, said = _doubt(self._store.now, key, label)
        warned, self._warned_about = self._warned_about, doubt
        if doubt is None or doubt == warned:
            return False
        self._store.say(f"Slice {key[1].index}: {said}")
        return True


def _doubt(now: AnnotationState, key: SliceKey, label: LabelArray | None) -> tuple[Any, str]:
    """What the doubt is about, None without one, and what to say."""
    draft, prompts = now.work.drafts.get(key), now.work.prompts_at(key)
    if key in now.work.working_labels:
        return None, ""
    if draft is not None and prompts.is_empty:
        doubtful = bool(draft.flag) and not draft.label.any()
        return (draft, DOUBTFUL.format(flag=draft.flag)) if doubtful else (None, "")
    theirs = prompts.boxes or prompts.strokes or any(p.origin != "model" for p in prompts.points)
    outlined = label is not None and label.any()
    asked = any(is_question(p) and p.positive for p in prompts.points)
    return (prompts, ASKED) if asked and not theirs and not outlined else (None, "")
