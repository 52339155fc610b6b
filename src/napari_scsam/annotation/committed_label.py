"""The committed label of the open image: built from the displayed masks, saved, reverted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.annotation.pending import prompts_to_json
from napari_scsam.core.jobs import Job
from napari_scsam.core.labels import NOT_ANNOTATED, is_done
from napari_scsam.core.volume import take_plane

if TYPE_CHECKING:
    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.geometry import Plane, SliceKey
    from napari_scsam.core.job_runner import JobRunner, OnFailed
    from napari_scsam.core.judged import ClassIds
    from napari_scsam.core.patches import Patch
    from napari_scsam.core.prompts import PromptSet
    from napari_scsam.project import Project

# Otherwise a slice that contains only 0 and 255 would be read as a binary {0, 255} image.
AS_IT_IS = {NOT_ANNOTATED: NOT_ANNOTATED}


@dataclass(frozen=True)
class Made:
    """What the label of a plane was made from; for the journal.

    Attributes
    ----------
    prompts : PromptSet
    drawn : tuple of Patch
        What was painted.
    judged : tuple of int, optional
        Classes that the annotator looked for; None for all of the project's.
    """

    prompts: PromptSet
    drawn: tuple[Patch, ...] = ()
    judged: ClassIds | None = None


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
        self._project = project
        self._files = files
        self._image_id = ""
        self.array: LabelArray | None = None
        self.version: int | None = None

    def open(self, image_id: str, label: LabelArray | None, version: int | None) -> None:
        """Switch to another image with this committed label and label version."""
        self._image_id = image_id
        self.array = None if label is None else np.array(label)
        self.version = version

    def has(self, plane: Plane) -> bool:
        """Whether `plane` is annotated; lines annotated along other axes do not count."""
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
        """Save `label` as the label of one plane; `on_saved` is called when it is durable.

        Parameters
        ----------
        key : (image id, Plane)
        label : ndarray of shape (rows, cols), uint8
            Of the whole plane, including what was committed for other classes.
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
        """The classes judged now, and those judged in earlier commits of the plane."""
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
            Masks made by the user, and drafts. Drafts do not change annotated pixels.
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
        """Return to a version that was committed earlier; None means no label."""

        def turn_back(_progress: Any, _cancel: Any) -> LabelArray | None:
            self._project.revert(image_id, version)
            return self._project.label(image_id)

        def reverted(label: LabelArray | None) -> None:
            if self._image_id == image_id:
                self.array = None if label is None else np.array(label)
                self.version = version
            on_saved(version)

        self._files.run(Job("Saving", turn_back), reverted, on_failed)


def _plane_view(whole: LabelArray, plane: Plane) -> LabelArray:
    return take_plane(whole, plane, whole.ndim)


def _journal_entry(key: SliceKey, made: Made) -> dict[str, Any]:
    return {
        "axis": key[1].axis,
        "plane": key[1].index,
        **prompts_to_json(made.prompts),
        "drawn": [patch.to_json() for patch in made.drawn],
    }
