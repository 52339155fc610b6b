"""The committed label of the open image: built from the displayed masks, saved, reverted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.annotation.commit_messages import (
    NO_OUTLINE,
    NOTHING_TO_LEAVE_OPEN,
    ONE_AXIS,
    saved_drafts_message,
    saved_message,
)
from napari_scsam.annotation.empty_commit import EmptyCommit
from napari_scsam.annotation.judging import judged_on, judged_with
from napari_scsam.annotation.label_origin import LabelOrigin
from napari_scsam.annotation.second_opinion import SecondOpinion
from napari_scsam.annotation.state import AnnotationState, Selection, StateStore
from napari_scsam.core.errors import ModelError
from napari_scsam.core.jobs import Job
from napari_scsam.core.labels import NOT_ANNOTATED, done_planes, is_done
from napari_scsam.core.prompt_edits import accepted, askable_objects, to_decode, without
from napari_scsam.core.volume import take_plane

if TYPE_CHECKING:
    from napari_scsam.annotation.outlines import Outlines
    from napari_scsam.annotation.suggestions import Suggestions
    from napari_scsam.annotation.work import Work
    from napari_scsam.annotation.working_label import WorkingLabel
    from napari_scsam.annotation.working_labels import WorkingLabels
    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.geometry import Plane, SliceKey
    from napari_scsam.core.job_runner import JobRunner, OnFailed
    from napari_scsam.core.judged import ClassIds, Judged
    from napari_scsam.core.labels import LabelClass
    from napari_scsam.core.prompts import PromptSet
    from napari_scsam.project import CommitRecord, Project

# Otherwise a slice that contains only 0 and 255 would be read as a binary {0, 255} image.
AS_IT_IS = {NOT_ANNOTATED: NOT_ANNOTATED}


# Version, and annotated planes along axis 0.
Saved = tuple[int | None, frozenset[int]]
OnSaved = Callable[[int | None], None]


class CommittedLabel:
    """The committed label of one image, kept in step with the project on disk.

    Parameters
    ----------
    project : Project
    files : JobRunner
        Runs reads and writes of the project.
    """

    def __init__(self, project: Project, files: JobRunner) -> None:
        self._project, self._files = project, files
        self.second = SecondOpinion(project)
        self._image_id = ""
        self.array: LabelArray | None = None
        self.version: int | None = None
        # Along axis 0.
        self.annotated: frozenset[int] = frozenset()

    def open(
        self,
        image_id: str,
        label: LabelArray | None,
        version: int | None,
        annotated: frozenset[int],
    ) -> None:
        """Switch to another image with this committed label, version, and annotated planes."""
        self._image_id = image_id
        self.array = None if label is None else np.array(label)
        self.version, self.annotated = version, annotated

    @property
    def _project_or_second(self) -> Project | SecondOpinion:
        """What commits: while second opinions are given, labels of others stay current."""
        return self.second if self.second.is_on else self._project

    def has(self, plane: Plane) -> bool:
        """Whether `plane` is annotated; lines annotated along other axes do not count."""
        return self.array is not None and is_done(take_plane(self.array, plane, self.array.ndim))

    def commit(
        self,
        key: SliceKey,
        label: LabelArray,
        made: LabelOrigin,
        shape: tuple[int, ...],
        on_saved: OnSaved,
        on_failed: OnFailed,
    ) -> None:
        """Save `label` as the label of one plane; `on_saved` is called when it is durable.

        Parameters
        ----------
        key : (image id, Plane)
        label : ndarray of shape (rows, cols), uint8
            Of the whole plane, including what was committed for other classes.
        made : LabelOrigin
        shape : tuple of int
            The image's spatial shape.
        on_saved, on_failed : callable
        """
        plane, merged = key[1], label.copy()
        whole = np.full(shape, NOT_ANNOTATED, np.uint8) if self.array is None else self.array.copy()
        _plane_view(whole, plane)[...] = merged

        def save(_progress: Any, _cancel: Any) -> Saved:
            along = plane.axis == 0
            saved = self._project_or_second.commit(
                key[0],
                merged if along else whole,
                plane=plane if along else None,
                mapping=AS_IT_IS,
                judged=self._judged(key[0], {plane: merged}, {plane: made.judged}),
                source=("prompts", made.to_json(key)),
            )
            return saved.version, annotated_planes(whole)

        self._files.run(Job("Saving", save), self._take(key[0], whole, on_saved), on_failed)

    def _take(self, image_id: str, label: LabelArray, on_saved: OnSaved) -> Callable[[Saved], None]:
        """What is called when `label` is durable."""

        def saved(result: Saved) -> None:
            if self._image_id == image_id:
                self.array, (self.version, self.annotated) = label, result
            on_saved(result[0])

        return saved

    def _judged(
        self,
        image_id: str,
        labels: Mapping[Plane, LabelArray],
        judged: Mapping[Plane, ClassIds],
    ) -> Judged:
        """The classes judged on each slice once these planes are committed."""
        return judged_with(
            self._current_commit(image_id), labels, judged, [c.id for c in self._project.classes]
        )

    def _current_commit(self, image_id: str) -> CommitRecord | None:
        """The commit of the current label, which after an undo is not the newest one."""
        version, last = self._project.label_version(image_id), self._project.last_commit(image_id)
        if version is None or last is None or last.version == version:
            return None if version is None else last
        return next((c for c in self._project.commits(image_id) if c.version == version), None)

    def fill(
        self,
        image_id: str,
        labels: tuple[Mapping[Plane, LabelArray], Mapping[Plane, LabelArray]],
        judged: Mapping[Plane, ClassIds],
        shape: tuple[int, ...],
        on_saved: OnSaved,
        on_failed: OnFailed,
    ) -> None:
        """Commit several planes as one version.

        Parameters
        ----------
        image_id : str
        labels : pair of mappings of Plane to ndarray of shape (rows, cols), uint8
            Masks made by the user, and drafts. Drafts do not change annotated pixels.
        judged : mapping of Plane to tuple of int
            Classes that the annotator looked for on them.
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
        saved_now = {**by_hand, **drafts}
        planes = [{"axis": plane.axis, "plane": plane.index} for plane in sorted(saved_now)]

        def save(_progress: Any, _cancel: Any) -> Saved:
            made = self._project_or_second.commit(
                image_id,
                whole,
                mapping=AS_IT_IS,
                judged=self._judged(image_id, saved_now, judged),
                source=("drafts", {"planes": planes}),
            )
            return made.version, annotated_planes(whole)

        self._files.run(Job("Saving", save), self._take(image_id, whole, on_saved), on_failed)

    def revert(
        self, image_id: str, version: int | None, on_saved: OnSaved, on_failed: OnFailed
    ) -> None:
        """Return to a version that was committed earlier; None means no label."""

        def turn_back(_progress: Any, _cancel: Any) -> tuple[LabelArray | None, frozenset[int]]:
            self.second.revert(image_id, version)
            label = self.second.label(image_id)
            return label, annotated_planes(label)

        def reverted(found: tuple[LabelArray | None, frozenset[int]]) -> None:
            label, annotated = found
            if self._image_id == image_id:
                self.array = None if label is None else np.array(label)
                self.version, self.annotated = version, annotated
            on_saved(version)

        self._files.run(Job("Saving", turn_back), reverted, on_failed)


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
        self._empty = EmptyCommit(store)

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
        if self._empty.is_held_back(key, label):
            return
        label = self._untouched_label(now, key) if label is None else label
        judged = judged_on(self._classes, key[1], label, others_open=others_open)
        if not judged:
            self._store.say(NOTHING_TO_LEAVE_OPEN)
            return
        said = saved_message(now.image, key[1], self._classes, label, judged)
        working = now.work.working_labels.get(key)
        taken = now.work.prompts_at(key)

        def saved(version: int | None) -> None:
            now = self._store.now
            work = _without_saved(now.work.with_version(key[0], version), key, taken, working)
            self._suggestions.forget(key)
            now = replace(now, work=replace(work, at=key), commits=now.commits + 1)
            stays = now.key == key
            now = replace(now, selection=Selection()) if stays else now
            self._store.step(now.doing("", said, elsewhere=True))
            if then is not None and stays:
                then()

        self._begin(key[0])
        made = LabelOrigin(prompts, () if working is None else working.patches, judged)
        shape = now.image.volume.shape
        self._committed.commit(key, label, made, shape, saved, self._store.fail)

    def commit_drafts(self, *, others_open: bool = False) -> None:
        """Commit all drafts of the open image that are not flagged, as one version.

        Uncommitted masks made by the user are saved with them. With `others_open`, classes that
        are not on a plane are recorded as not annotated yet there, rather than as absent; planes
        without any class then stay uncommitted.
        """
        now = self._store.now
        at, image = now.key, now.image
        good = {plane: d.label for plane, d in now.drafts.items() if not d.flag}
        if at is None or image is None or not good:
            return
        if self._outlines.waiting:
            self._outlines.after_answer(lambda: self.commit_drafts(others_open=others_open))
            return
        by_hand = {plane: a.preview for plane, a in self._outlines.answers.items()}
        judged = {
            plane: judged_on(self._classes, plane, label, others_open=others_open)
            for plane, label in {**good, **by_hand}.items()
        }
        good = {p: label for p, label in good.items() if p not in by_hand and judged[p]}
        by_hand = {plane: label for plane, label in by_hand.items() if judged[plane]}
        if not good and not by_hand:
            self._store.say(NOTHING_TO_LEAVE_OPEN)
            return
        leaves_open = others_open and any(plane.axis == 0 for plane in {**good, **by_hand})

        def saved(version: int | None) -> None:
            now = self._store.now
            work = now.work.with_version(image.id, version)
            for plane in {**good, **by_hand}:
                work = work.without_plane((image.id, plane))
            now = replace(now, work=replace(work, at=at), commits=now.commits + 1)
            now = replace(now, selection=Selection())
            said = saved_drafts_message(
                len(good) + len(by_hand),
                flagged=any(d.flag for d in now.drafts.values()),
                others_open=leaves_open and len(self._classes) > 1,
            )
            self._store.step(now.doing("", said, elsewhere=True))

        self._begin(image.id)
        labels, shape = (by_hand, good), image.volume.shape
        self._committed.fill(image.id, labels, judged, shape, saved, self._store.fail)

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


def annotated_planes(label: LabelArray | None) -> frozenset[int]:
    """Indices of the annotated planes along axis 0."""
    return frozenset() if label is None else frozenset(done_planes(label))


def _plane_view(whole: LabelArray, plane: Plane) -> LabelArray:
    return take_plane(whole, plane, whole.ndim)
