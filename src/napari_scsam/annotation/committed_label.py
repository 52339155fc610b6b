"""The committed label of the open image: made of the masks on show, saved and reverted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.annotation.state import Selection, StateStore
from napari_scsam.annotation.work import merge_plane
from napari_scsam.core.errors import ModelError
from napari_scsam.core.jobs import Job
from napari_scsam.core.labels import NOT_ANNOTATED, is_done
from napari_scsam.core.prompt_edits import accepted, askable_objects, to_decode
from napari_scsam.core.prompts import PromptSet
from napari_scsam.core.volume import take_plane
from napari_scsam.propagation import Trail

if TYPE_CHECKING:
    from napari_scsam.annotation.outlines import Outlines
    from napari_scsam.annotation.suggestions import Suggestions
    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.geometry import Plane, SliceKey
    from napari_scsam.core.job_runner import JobRunner, OnFailed
    from napari_scsam.project import Project

# Without it a slice of nothing but 0 and 255 would be taken for a {0, 255} picture.
AS_IT_IS = {NOT_ANNOTATED: NOT_ANNOTATED}
NO_OUTLINE = (
    "There is no outline to save, since the model could not draw one here. Delete the prompts "
    "to save that nothing is here, or K to skip."
)

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
        preview: LabelArray,
        prompts: PromptSet,
        shape: tuple[int, ...],
        on_saved: OnSaved,
        on_failed: OnFailed,
        *,
        drafted: Sequence[int] = (),
    ) -> None:
        """Make `preview` the label of one plane; `on_saved` comes when it is durable.

        Parameters
        ----------
        key : (image id, Plane)
        preview : ndarray of shape (rows, cols), uint8
        prompts : PromptSet
            What it was made from: their classes are replaced on the plane, other
            classes stay, and the prompts go into the project's journal.
        shape : tuple of int
            The image's spatial shape.
        on_saved, on_failed : callable
        drafted : sequence of int
            Classes of the draft that the prompts corrected, if any.
        """
        plane = key[1]
        touched = {*to_decode(prompts).class_ids(), *drafted}
        merged = merge_plane(self.array, preview, plane, touched)
        whole = np.full(shape, NOT_ANNOTATED, np.uint8) if self.array is None else self.array.copy()
        _plane_view(whole, plane)[...] = merged

        def save(_progress: Any, _cancel: Any) -> int | None:
            along = plane.axis == 0
            saved = self._project.commit(
                key[0],
                merged if along else whole,
                plane=plane if along else None,
                mapping=AS_IT_IS,
                source=("prompts", _journal_entry(key, prompts)),
            )
            return saved.version

        def saved(version: int | None) -> None:
            if self._image_id == key[0]:
                self.array, self.version = whole, version
            on_saved(version)

        self._files.run(Job("Saving", save), saved, on_failed)

    def fill(
        self,
        image_id: str,
        labels: Mapping[Plane, LabelArray],
        shape: tuple[int, ...],
        on_saved: OnSaved,
        on_failed: OnFailed,
    ) -> None:
        """Commit drafts of several planes as one version; what is annotated stays as it is.

        Parameters
        ----------
        image_id : str
        labels : mapping of Plane to ndarray of shape (rows, cols), uint8
        shape : tuple of int
            The image's spatial shape.
        on_saved, on_failed : callable
        """
        whole = np.full(shape, NOT_ANNOTATED, np.uint8) if self.array is None else self.array.copy()
        for plane, label in labels.items():
            view = _plane_view(whole, plane)
            np.copyto(view, label, where=view == NOT_ANNOTATED)
        planes = [{"axis": plane.axis, "plane": plane.index} for plane in sorted(labels)]

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


def _plane_view(whole: LabelArray, plane: Plane) -> LabelArray:
    return take_plane(whole, plane, whole.ndim)


def _journal_entry(key: SliceKey, prompts: PromptSet) -> dict[str, Any]:
    return {
        "axis": key[1].axis,
        "plane": key[1].index,
        "points": [asdict(p) for p in prompts.points],
        "boxes": [
            {"class_id": c, "object_id": n, "box": list(box)}
            for (c, n), box in prompts.boxes.items()
        ],
        "strokes": [asdict(s) for s in prompts.strokes],
    }
