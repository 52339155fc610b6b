"""The committed label of the open image: made of the masks on show, saved and reverted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.annotation.pending import prompts_to_json
from napari_scsam.annotation.state import AnnotationState, Selection, StateStore
from napari_scsam.core.errors import ModelError
from napari_scsam.core.jobs import Job
from napari_scsam.core.labels import NOT_ANNOTATED, is_done
from napari_scsam.core.prompt_edits import accepted, askable_objects, to_decode, without
from napari_scsam.core.volume import take_plane

if TYPE_CHECKING:
    from napari_scsam.annotation.outlines import Outlines
    from napari_scsam.annotation.suggestions import Suggestions
    from napari_scsam.annotation.work import Draft, Work
    from napari_scsam.annotation.working_label import WorkingLabel
    from napari_scsam.annotation.working_labels import WorkingLabels
    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.geometry import Plane, SliceKey
    from napari_scsam.core.job_runner import JobRunner, OnFailed
    from napari_scsam.core.judged import ClassIds
    from napari_scsam.core.labels import LabelClass
    from napari_scsam.core.patches import Patch
    from napari_scsam.core.prompts import PromptSet
    from napari_scsam.project import Project

# Without it a slice of nothing but 0 and 255 would be taken for a {0, 255} picture.
AS_IT_IS = {NOT_ANNOTATED: NOT_ANNOTATED}
NO_OUTLINE = (
    "There is no outline to save, since the model could not draw one here. Delete the prompts "
    "to save that nothing is here, or K to skip."
)
DOUBTFUL = (
    "nothing was found here, and that is doubtful ({flag}). Click the structure, or save once "
    "more that nothing is here."
)
NOTHING_TO_LEAVE_OPEN = (
    "There is no outline to save: to leave the slice as not annotated yet, K goes on."
)
ONE_AXIS = "Classes can be left open on slices along the first axis only: J saves this slice."


@dataclass(frozen=True)
class Made:
    """What the label of a plane was made from.

    Attributes
    ----------
    prompts : PromptSet
    drawn : tuple of Patch
        What was drawn by hand.
    judged : tuple of int, optional
        Classes that were looked for; None for all of the project's.
    """

    prompts: PromptSet
    drawn: tuple[Patch, ...] = ()
    judged: ClassIds | None = None


OnSaved = Callable[[int | None], None]


class CommittedLabel:
    """What is committed of one image, in step with the project on disk.

    Parameters
    ----------
    project : Project
    files : JobRunner
        Where the project is read and written.
    """

    def __init__(self, project: Project, files: JobRunner) -> None:
        self._project = project
        self._files = files
        self._image_id = ""
        self.array: LabelArray | None = None
        self.version: int | None = None

    def open(self, image_id: str, label: LabelArray | None, version: int | None) -> None:
        """Follow another image, whose committed label is `label`, of this version."""
        self._image_id = image_id
        self.array = None if label is None else np.array(label)
        self.version = version

    def has(self, plane: Plane) -> bool:
        """Whether `plane` is annotated, but for what other planes have left open in it."""
        return self.array is not None and is_done(take_plane(self.array, plane, self.array.ndim))

    def commit(
        self,
        key: SliceKey,
        label: LabelArray,
        made: Made,
        shape: tuple[int, ...],
        on_saved: OnSaved,
        on_failed: OnFailed,
    ) -> None:
        """Make `label` the label of one plane; `on_saved` comes when it is durable.

        Parameters
        ----------
        key : (image id, Plane)
        label : ndarray of shape (rows, cols), uint8
            The whole plane, with what was committed of other classes.
        made : Made
        shape : tuple of int
            The image's spatial shape.
        on_saved, on_failed : callable
        """
        plane, merged = key[1], label.copy()
        whole = np.full(shape, NOT_ANNOTATED, np.uint8) if self.array is None else self.array.copy()
        _plane_view(whole, plane)[...] = merged

        def save(_progress: Any, _cancel: Any) -> int | None:
            along = plane.axis == 0
            saved = self._project.commit(
                key[0],
                merged if along else whole,
                plane=plane if along else None,
                mapping=AS_IT_IS,
                judged=self._judged(key, made.judged),
                source=("prompts", _journal_entry(key, made)),
            )
            return saved.version

        def saved(version: int | None) -> None:
            if self._image_id == key[0]:
                self.array, self.version = whole, version
            on_saved(version)

        self._files.run(Job("Saving", save), saved, on_failed)

    def _judged(self, key: SliceKey, ids: ClassIds | None) -> ClassIds | None:
        """The classes judged now, and those that were judged on the plane before."""
        if ids is None or key[1].axis != 0 or not any(self._project.commits(key[0])):
            return ids if key[1].axis == 0 else None
        before = self._project.commits(key[0])[-1]
        known = before.judged.on(key[1].index) if key[1].index in before.planes else ()
        return tuple(sorted({*ids, *known}))

    def fill(
        self,
        image_id: str,
        labels: tuple[Mapping[Plane, LabelArray], Mapping[Plane, LabelArray]],
        shape: tuple[int, ...],
        on_saved: OnSaved,
        on_failed: OnFailed,
    ) -> None:
        """Commit several planes as one version.

        Parameters
        ----------
        image_id : str
        labels : pair of mappings of Plane to ndarray of shape (rows, cols), uint8
            What a person outlined, and drafts: those leave what is annotated as it is.
        shape : tuple of int
            The image's spatial shape.
        on_saved, on_failed : callable
        """
        whole = np.full(shape, NOT_ANNOTATED, np.uint8) if self.array is None else self.array.copy()
        by_hand, drafts = labels
        for plane, label in by_hand.items():
            _plane_view(whole, plane)[...] = label
        for plane, label in drafts.items():
            view = _plane_view(whole, plane)
            np.copyto(view, label, where=view == NOT_ANNOTATED)
        saved_now = sorted({**by_hand, **drafts})
        planes = [{"axis": plane.axis, "plane": plane.index} for plane in saved_now]

        def save(_progress: Any, _cancel: Any) -> int | None:
            source = ("drafts", {"planes": planes})
            return self._project.commit(image_id, whole, mapping=AS_IT_IS, source=source).version

        def saved(version: int | None) -> None:
            if self._image_id == image_id:
                self.array, self.version = whole, version
            on_saved(version)

        self._files.run(Job("Saving", save), saved, on_failed)

    def revert(
        self, image_id: str, version: int | None, on_saved: OnSaved, on_failed: OnFailed
    ) -> None:
        """Go to another version that was committed before; None is no label."""

        def turn_back(_progress: Any, _cancel: Any) -> LabelArray | None:
            self._project.revert(image_id, version)
            return self._project.label(image_id)

        def reverted(label: LabelArray | None) -> None:
            if self._image_id == image_id:
                self.array = None if label is None else np.array(label)
                self.version = version
            on_saved(version)

        self._files.run(Job("Saving", turn_back), reverted, on_failed)


class LabelSaver:
    """Commits what a person accepted.

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
        # The empty, doubtful draft that was asked about last.
        self._asked: Draft | None = None

    def commit(self, then: Callable[[], None] | None = None, *, others_open: bool = False) -> None:
        """Save the mask on show as the plane's label; no mask at all saves "nothing here".

        Parameters
        ----------
        then : callable, optional
            Called when it is durable, if the plane is still on show.
        others_open : bool
            Whether the classes that are not on the plane were not looked for: they count as not
            annotated yet, not as absent.
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
            # What is saved is what the person will have seen.
            self._outlines.after_answer(lambda: self._commit(key, then, others_open))
            return
        prompts, label = accepted(now.work.prompts_at(key)), self._working_labels.to_save(key)
        if label is None and askable_objects(to_decode(prompts)):
            self._store.fail(ModelError(NO_OUTLINE))
            return
        if self._is_doubtful(key):
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

    def _is_doubtful(self, key: SliceKey) -> bool:
        """Whether an empty draft that wants a look is to be saved, and was not asked about yet."""
        now = self._store.now
        draft = now.work.drafts.get(key)
        touched = key in now.work.working_labels or not now.work.prompts_at(key).is_empty
        if draft is None or touched or not draft.flag or draft.label.any():
            return False
        asked, self._asked = self._asked, draft
        if asked is draft:
            return False
        self._store.say(f"Slice {key[1].index + 1}: {DOUBTFUL.format(flag=draft.flag)}")
        return True

    def _judged(self, key: SliceKey, label: LabelArray, others_open: bool) -> ClassIds | None:
        """The classes that a commit judges; None for all of them."""
        if not others_open or len(self._classes) == 1:
            return None
        held = set(np.unique(label).tolist())
        return tuple(c.id for c in self._classes if c.id in held)

    def _said(self, label: LabelArray, judged: ClassIds | None) -> str:
        """What was saved, by name, and what becomes of the other classes."""
        held = set(np.unique(label).tolist())
        names = [c.name for c in self._classes if c.id in held]
        others = [c.name for c in self._classes if c.id not in held]
        said = f"Saved: {in_words(names)}." if names else "Saved: nothing here."
        if not others or len(self._classes) == 1:
            return said
        fate = "not on this slice" if judged is None else "not annotated yet"
        return f"{said} {in_words(others)}: {fate}."

    def commit_drafts(self) -> None:
        """Commit every draft of the open image that nothing speaks against, as one version.

        What was outlined by hand and is not saved yet is saved with them.
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
            look = "  Those to look at stay: N." if any(d.flag for d in now.drafts.values()) else ""
            saved_now = in_slices(len(good) + len(by_hand))
            self._store.step(now.doing("", f"Saved {saved_now}.{look}"))

        self._begin(image.id)
        labels, shape = (by_hand, good), image.volume.shape
        self._committed.fill(image.id, labels, shape, saved, self._store.fail)

    def _untouched_label(self, now: AnnotationState, key: SliceKey) -> LabelArray:
        """What a plane holds where nobody asked for anything: what is committed, or nothing."""
        working = self._working_labels.of(key)
        return np.zeros(now.plane_shape, np.uint8) if working is None else working.label

    def _begin(self, image_id: str) -> None:
        """Say that it begins, and note which label the image has, for undo to go back to."""
        now = self._store.now.doing("saving", "Saving …")
        work = now.work
        if image_id not in work.versions:
            work = work.with_version(image_id, self._committed.version)
        self._store.amend(replace(now, work=work))


def _without_saved(
    work: Work, key: SliceKey, prompts: PromptSet, working: WorkingLabel | None
) -> Work:
    """The work without what was saved; what was done on the plane meanwhile stays."""
    if work.working_labels.get(key) is not working:
        return work
    rest = without(work.prompts_at(key), prompts)
    return work.without_plane(key).with_prompts(key, rest)


def in_slices(number: int) -> str:
    """A number of slices in words."""
    return f"{number} slice{'' if number == 1 else 's'}"


def in_words(names: Sequence[str]) -> str:
    """Names as a list in words."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _plane_view(whole: LabelArray, plane: Plane) -> LabelArray:
    return take_plane(whole, plane, whole.ndim)


def _journal_entry(key: SliceKey, made: Made) -> dict[str, Any]:
    return {
        "axis": key[1].axis,
        "plane": key[1].index,
        **prompts_to_json(made.prompts),
        "drawn": [patch.to_json() for patch in made.drawn],
    }
