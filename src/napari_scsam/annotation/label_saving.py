"""Makes labels of the masks on show: one plane, or every draft at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.annotation.state import Selection, StateStore
from napari_scsam.core.errors import ModelError
from napari_scsam.core.prompt_edits import accepted, askable_objects, to_decode
from napari_scsam.core.prompts import PromptSet
from napari_scsam.propagation import Trail

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam.annotation.committed_label import CommittedLabel
    from napari_scsam.annotation.outlines import Outlines
    from napari_scsam.annotation.suggestions import Suggestions

NO_OUTLINE = (
    "There is no outline to save, since the model could not draw one here. Delete the prompts "
    "to save that nothing is here, or K to skip."
)


class LabelSaver:
    """Commits what a person accepted.

    Parameters
    ----------
    store : StateStore
    committed : CommittedLabel
    outlines : Outlines
    suggestions : Suggestions
    """

    def __init__(
        self,
        store: StateStore,
        committed: CommittedLabel,
        outlines: Outlines,
        suggestions: Suggestions,
    ) -> None:
        self._store = store
        self._committed = committed
        self._outlines = outlines
        self._suggestions = suggestions

    def commit(self, then: Callable[[], None] | None = None) -> None:
        """Save the mask on show as the plane's label; no mask at all saves "nothing here"."""
        now = self._store.now
        key, draft = now.key, now.draft
        if key is None or now.image is None:
            return
        if self._outlines.waiting:
            # What is saved is what the person will have seen.
            self._outlines.after_answer(lambda: self.commit(then))
            return
        prompts, preview = accepted(now.prompts), self._outlines.preview
        if preview is None and askable_objects(to_decode(prompts)):
            self._store.fail(ModelError(NO_OUTLINE))
            return
        mask = np.zeros(now.plane_shape, np.uint8) if preview is None else preview

        def saved(version: int | None) -> None:
            now = self._store.now
            work = now.work.with_version(key[0], version).with_prompts(key, PromptSet())
            self._suggestions.forget(key)
            self._store.step(
                replace(
                    now.doing("", "Saved." if mask.any() else "Saved: nothing here."),
                    work=work.with_drafts({key: None}),
                    selection=Selection(),
                    commits=now.commits + 1,
                )
            )
            if then is not None:
                then()

        self._begin(key[0])
        drafted = () if draft is None else tuple(Trail.start(draft.label).areas)
        self._committed.commit(
            key, mask, prompts, now.image.volume.shape, saved, self._store.fail, drafted=drafted
        )

    def commit_drafts(self) -> None:
        """Commit every draft of the open image that nothing speaks against, as one version."""
        now = self._store.now
        at, image = now.key, now.image
        good = {plane: d.label for plane, d in now.drafts.items() if not d.flag}
        if at is None or image is None or not good:
            return

        def saved(version: int | None) -> None:
            now = self._store.now
            gone = dict.fromkeys((image.id, plane) for plane in good)
            work = now.work.with_drafts(gone).with_version(image.id, version)
            now = replace(now, work=replace(work, at=at), commits=now.commits + 1)
            look = "  Those to look at stay: N." if any(d.flag for d in now.drafts.values()) else ""
            self._store.step(now.doing("", f"Saved {in_slices(len(good))}.{look}"))

        self._begin(image.id)
        self._committed.fill(image.id, good, image.volume.shape, saved, self._store.fail)

    def _begin(self, image_id: str) -> None:
        """Say that it begins, and note which label the image has, for undo to go back to."""
        now = self._store.now.doing("saving", "Saving …")
        work = now.work
        if image_id not in work.versions:
            work = work.with_version(image_id, self._committed.version)
        self._store.amend(replace(now, work=work))


def in_slices(number: int) -> str:
    """A number of slices in words."""
    return f"{number} slice{'' if number == 1 else 's'}"
