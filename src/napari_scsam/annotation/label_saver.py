"""Commits what the user accepted: the displayed plane, or all drafts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.annotation.committed_label import Made
from napari_scsam.annotation.state import AnnotationState, Selection, StateStore
from napari_scsam.core.errors import ModelError
from napari_scsam.core.prompt_edits import accepted, askable_objects, to_decode, without

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_scsam.annotation.committed_label import CommittedLabel
    from napari_scsam.annotation.outlines import Outlines
    from napari_scsam.annotation.suggestions import Suggestions
    from napari_scsam.annotation.work import Draft, Work
    from napari_scsam.annotation.working_label import WorkingLabel
    from napari_scsam.annotation.working_labels import WorkingLabels
    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.geometry import SliceKey
    from napari_scsam.core.judged import ClassIds
    from napari_scsam.core.labels import LabelClass
    from napari_scsam.core.prompts import PromptSet

NO_OUTLINE = (
    "There is no outline to save, because the model failed here. Delete the prompts and press J to "
    "save the slice as empty, or press K to skip it."
)
DOUBTFUL = (
    "nothing was found here, but the draft is flagged ({flag}). Click the structure, or press J "
    "again to save the slice as empty."
)
NOTHING_TO_LEAVE_OPEN = (
    "There is no outline to save. To leave the whole slice as not annotated, press K."
)
ONE_AXIS = (
    "Classes can be left open only on slices along the first axis. Press J to save this slice."
)


class LabelSaver:
    """Commits the displayed masks.

    Parameters
    ----------
    store : StateStore
    committed : CommittedLabel
    working_labels : WorkingLabels
    outlines : Outlines
    suggestions : Suggestions
    classes : sequence of LabelClass
        The project's.
    """

    def __init__(
        self,
        store: StateStore,
        committed: CommittedLabel,
        working_labels: WorkingLabels,
        outlines: Outlines,
        suggestions: Suggestions,
        classes: Sequence[LabelClass],
    ) -> None:
        self._store = store
        self._committed = committed
        self._working_labels = working_labels
        self._outlines = outlines
        self._suggestions = suggestions
        self._classes = tuple(classes)
        # The flagged, empty draft that the last warning was about.
        self._warned_about: Draft | None = None

    def commit(self, then: Callable[[], None] | None = None, *, others_open: bool = False) -> None:
        """Save the displayed mask as the plane's label; without a mask, save the plane as empty.

        Parameters
        ----------
        then : callable, optional
            Called when it is durable, if the plane is still displayed.
        others_open : bool
            Record the classes that are not on the plane as not annotated yet, rather than as
            absent.
        """
        key = self._store.now.key
        if key is not None and others_open and key[1].axis != 0:
            self._store.say(ONE_AXIS)
        elif key is not None:
            self._commit(key, then, others_open)

    def _commit(self, key: SliceKey, then: Callable[[], None] | None, others_open: bool) -> None:
        now = self._store.now
        if now.image is None or not now.is_open(key[0]):
            return
        if self._outlines.waiting:
            # Save only what the user has seen.
            self._outlines.after_answer(lambda: self._commit(key, then, others_open))
            return
        prompts, label = accepted(now.work.prompts_at(key)), self._working_labels.to_save(key)
        if label is None and askable_objects(to_decode(prompts)):
            self._store.fail(ModelError(NO_OUTLINE))
            return
        if self._warn_if_doubtful(key):
            return
        label = self._untouched_label(now, key) if label is None else label
        judged = self._judged(key, label, others_open)
        if judged == ():
            self._store.say(NOTHING_TO_LEAVE_OPEN)
            return
        said, working = self._said(label, judged), now.work.working_labels.get(key)
        taken = now.work.prompts_at(key)

        def saved(version: int | None) -> None:
            now = self._store.now
            work = _without_saved(now.work.with_version(key[0], version), key, taken, working)
            self._suggestions.forget(key)
            now = replace(now, work=replace(work, at=key), commits=now.commits + 1)
            stays = now.key == key
            now = replace(now, selection=Selection()) if stays else now
            self._store.step(now.doing("", said))
            if then is not None and stays:
                then()

        self._begin(key[0])
        made = Made(prompts, () if working is None else working.patches, judged)
        shape = now.image.volume.shape
        self._committed.commit(key, label, made, shape, saved, self._store.fail)

    def _warn_if_doubtful(self, key: SliceKey) -> bool:
        """Warn before the first commit of a flagged, empty draft; True if it is not to be saved."""
        now = self._store.now
        draft = now.work.drafts.get(key)
        touched = key in now.work.working_labels or not now.work.prompts_at(key).is_empty
        if draft is None or touched or not draft.flag or draft.label.any():
            return False
        warned, self._warned_about = self._warned_about, draft
        if warned is draft:
            return False
        self._store.say(f"Slice {key[1].index + 1}: {DOUBTFUL.format(flag=draft.flag)}")
        return True

    def _judged(self, key: SliceKey, label: LabelArray, others_open: bool) -> ClassIds | None:
        """Classes that a commit judges; None for all of them."""
        if not others_open or len(self._classes) == 1:
            return None
        held = set(np.unique(label).tolist())
        return tuple(c.id for c in self._classes if c.id in held)

    def _said(self, label: LabelArray, judged: ClassIds | None) -> str:
        """Message that names the saved classes, and how the others were recorded."""
        held = set(np.unique(label).tolist())
        names = [c.name for c in self._classes if c.id in held]
        others = [c.name for c in self._classes if c.id not in held]
        said = f"Saved: {in_words(names)}." if names else "Saved: nothing here."
        if not others or len(self._classes) == 1:
            return said
        fate = "not on this slice" if judged is None else "not annotated yet"
        return f"{said} {in_words(others)}: {fate}."

    def commit_drafts(self) -> None:
        """Commit all drafts of the open image that are not flagged, as one version.

        Uncommitted masks made by the user are saved with them.
        """
        now = self._store.now
        at, image = now.key, now.image
        good = {plane: d.label for plane, d in now.drafts.items() if not d.flag}
        if at is None or image is None or not good:
            return
        if self._outlines.waiting:
            self._outlines.after_answer(self.commit_drafts)
            return
        by_hand = {plane: a.preview for plane, a in self._outlines.answers.items()}
        good = {plane: label for plane, label in good.items() if plane not in by_hand}

        def saved(version: int | None) -> None:
            now = self._store.now
            work = now.work.with_version(image.id, version)
            for plane in {**good, **by_hand}:
                work = work.without_plane((image.id, plane))
            now = replace(now, work=replace(work, at=at), commits=now.commits + 1)
            now = replace(now, selection=Selection())
            rest = (
                "  Flagged drafts stay: N goes to the next."
                if any(d.flag for d in now.drafts.values())
                else ""
            )
            saved_now = in_slices(len(good) + len(by_hand))
            self._store.step(now.doing("", f"Saved {saved_now}.{rest}"))

        self._begin(image.id)
        labels, shape = (by_hand, good), image.volume.shape
        self._committed.fill(image.id, labels, shape, saved, self._store.fail)

    def _untouched_label(self, now: AnnotationState, key: SliceKey) -> LabelArray:
        """Label of a plane without prompts or draft: what is committed, or nothing."""
        working = self._working_labels.of(key)
        return np.zeros(now.plane_shape, np.uint8) if working is None else working.label

    def _begin(self, image_id: str) -> None:
        """Show that saving begins, and record the image's label version for undo."""
        now = self._store.now.doing("saving", "Saving …")
        work = now.work
        if image_id not in work.versions:
            work = work.with_version(image_id, self._committed.version)
        self._store.amend(replace(now, work=work))


def _without_saved(
    work: Work, key: SliceKey, prompts: PromptSet, working: WorkingLabel | None
) -> Work:
    """The work without what was saved; later edits of the plane stay."""
    if work.working_labels.get(key) is not working:
        return work
    rest = without(work.prompts_at(key), prompts)
    return work.without_plane(key).with_prompts(key, rest)


def in_slices(number: int) -> str:
    """A number of slices as text."""
    return f"{number} slice{'' if number == 1 else 's'}"


def in_words(names: Sequence[str]) -> str:
    """Names as a list, such as "a, b and c"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
