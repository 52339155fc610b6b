"""Propagates masks through the open volume in the background, and makes drafts of them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.annotation.commit_messages import in_slices, in_words
from napari_scsam.annotation.work import Draft
from napari_scsam.core.errors import Cancelled, ScsamError
from napari_scsam.core.geometry import Plane, SliceKey
from napari_scsam.core.jobs import CancelToken, Job, Progress, ProgressFn
from napari_scsam.core.labels import NOT_ANNOTATED, LabelClass
from napari_scsam.core.prompts import PromptSet
from napari_scsam.core.volume import Volume, take_plane
from napari_scsam.core.windows import AUTO
from napari_scsam.propagation import Carried, Carry, Filled, Trail, propagate

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from napari_scsam.annotation.committed_label import CommittedLabel
    from napari_scsam.annotation.outlines import Outlines
    from napari_scsam.annotation.state import AnnotationState, StateStore
    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.core.job_runner import JobRunner
    from napari_scsam.inference.messages import SegmenterLike
    from napari_scsam.project import Project

# Seconds between two planes, in which a waiting click gets the models. Arbitrary.
PAUSE_S = 0.002
COMMIT_FIRST = "Outline the structure on this slice first: its mask is what is propagated."
NO_OUTLINE = "This slice has no mask, so there is nothing to propagate."
NO_NEIGHBOUR = "Every slice is committed or has prompts, so there is no slice to propagate to."


@dataclass(eq=False)
class _Run:
    """A running propagation, and the token that cancels it."""

    cancel: CancelToken | None = None


@dataclass(eq=False)
class _Made:
    """Result of a run.

    Attributes
    ----------
    filled : dict of int to Filled
        The last masks of each plane.
    ends : list of (int, int)
        Planes at which propagation stopped, each with the number of planes that it did not reach.
    error : ScsamError, optional
        That ended the run early.
    """

    filled: dict[int, Filled] = field(default_factory=dict)
    ends: list[tuple[int, int]] = field(default_factory=list)
    error: ScsamError | None = None


class PropagationJob:
    """Fills a volume with drafts propagated from some of its slices, in the background.

    All drafts of a run are one step of the history, so that one undo removes them.

    Parameters
    ----------
    project : Project
    store : StateStore
    committed : CommittedLabel
    outlines : Outlines
    segmenter : SegmenterLike
    carrier : JobRunner
        Runs propagations only, so that clicks are answered between its steps.
    """

    def __init__(
        self,
        project: Project,
        store: StateStore,
        committed: CommittedLabel,
        outlines: Outlines,
        segmenter: SegmenterLike,
        carrier: JobRunner,
    ) -> None:
        self._project = project
        self._store = store
        self._committed = committed
        self._outlines = outlines
        self._segmenter = segmenter
        self._carrier = carrier
        self._run: _Run | None = None

    def start_or_stop(self) -> None:
        """Propagate the masks of this plane and of the committed ones, or stop doing so.

        Planes that are committed or have prompts are not changed.
        """
        if self._run is not None:
            self.stop()
            return
        now = self._store.now
        if now.key is None or now.image is None:
            return
        plane, volume = now.key[1], now.image.volume
        anchors = self._anchors(now, plane)
        if plane.index not in anchors:
            self._store.say(COMMIT_FIRST)
        elif not any(Trail.start(label).areas for label in anchors.values()):
            self._store.say(NO_OUTLINE)
        elif len(anchors) == volume.plane_count(plane.axis):
            self._store.say(NO_NEIGHBOUR)
        else:
            self._start(now.key, volume, anchors)

    def stop(self) -> None:
        """Stop; drafts made so far are kept."""
        if self._run is not None and self._run.cancel is not None:
            self._run.cancel.cancel()

    def close(self) -> None:
        """Stop, and discard the running propagation's results."""
        self.stop()
        self._run = None

    def _anchors(self, now: AnnotationState, shown: Plane) -> dict[int, LabelArray]:
        """Labels of the planes along the displayed axis that are committed or displayed."""
        label, found = self._committed.array, {}
        if label is not None:
            for index in range(label.shape[shown.axis]):
                plane = Plane(shown.axis, index)
                if self._committed.has(plane):
                    found[index] = np.array(take_plane(label, plane, label.ndim))
        preview = self._outlines.preview
        touched = not now.prompts.is_empty or now.working is not None
        if preview is not None and (now.draft is None or touched):
            found[shown.index] = preview
        return found

    def _start(self, key: SliceKey, volume: Volume, anchors: Mapping[int, LabelArray]) -> None:
        run = self._run = _Run()
        axis = key[1].axis
        count, spacing = volume.plane_count(axis), volume.plane_spacing(axis)
        step = self._step(key, volume)

        def work(progress: ProgressFn, cancel: CancelToken) -> _Made:
            return _carry_all(step, anchors, count, spacing, progress, cancel)

        def report(progress: Progress) -> None:
            if self._run is run:
                self._store.put(replace(self._store.now, propagating=progress.message))

        def made(result: _Made) -> None:
            if self._run is run:
                self._run = None
                self._take(key, result, run.cancel is not None and run.cancel.cancelled)

        def failed(error: Exception) -> None:
            if self._run is run:
                self._run = None
                self._store.put(replace(self._store.now, propagating=""))
                self._store.fail(error)

        run.cancel = self._carrier.run(Job("Propagating", work), made, failed, report)
        self._store.put(replace(self._store.now.saying(""), propagating="starting"))

    def _step(self, start: SliceKey, volume: Volume) -> Carry:
        """The function for one step; it does not depend on what is opened meanwhile."""
        question = self._outlines.question(PromptSet())

        def step(index: int, trail: Trail) -> Carried:
            plane = Plane(start[1].axis, index)
            request = replace(
                question,
                key=(start[0], plane),
                pixels=volume.plane(plane),
                draft=None,
                around=None if question.around is None else AUTO.around(volume, plane),
            )
            time.sleep(PAUSE_S)
            return self._segmenter.carry(request, trail)

        return step

    def _take(self, start: SliceKey, made: _Made, stopped: bool) -> None:
        """Make drafts of the propagated masks, as one step of the history."""
        now, (image_id, plane) = replace(self._store.now, propagating=""), start
        drafts: dict[SliceKey, Draft | None] = {}
        if made.error is None and not stopped:
            # The run was complete: older drafts that were not found again are removed.
            old = now.work.drafts
            drafts = {k: None for k in old if k[0] == image_id and k[1].axis == plane.axis}
        done = set(self._project.committed_planes(image_id)) if plane.axis == 0 else set()
        for index, filled in made.filled.items():
            key = (image_id, Plane(plane.axis, index))
            untouched = now.work.prompts_at(key).is_empty and key not in now.work.working_labels
            if index not in done and untouched:
                label = self._beside_committed(key, filled.label)
                drafts[key] = Draft(label, _flag_words(filled, self._project.classes))
        kept = [draft for draft in drafts.values() if draft is not None]
        if made.error is None:
            ends = [] if stopped else made.ends
            places = {(image_id, Plane(plane.axis, at)): left for at, left in ends}
            stops = {key: left for key, left in places.items() if drafts.get(key) is not None}
            now = replace(now, stops=tuple(stops))
            now = now.saying(_summary(kept, stops, stopped), elsewhere=True)
        if drafts:
            work = replace(now.work.with_drafts(drafts), at=start)
            self._store.step(replace(now, work=work))
        else:
            self._store.put(now)
        if made.error is not None:
            self._store.fail(made.error)

    def _beside_committed(self, key: SliceKey, label: LabelArray) -> LabelArray:
        """A draft that keeps the pixels committed along other axes."""
        if not self._store.now.is_open(key[0]) or self._committed.array is None:
            return label
        before = take_plane(self._committed.array, key[1], self._committed.array.ndim)
        return np.where(before == NOT_ANNOTATED, label, before)


def _flag_words(filled: Filled, classes: Sequence[LabelClass]) -> str:
    """Why a plane is flagged; with the class if the project has several."""
    names = {c.id: c.name for c in classes}
    several = len(names) > 1
    flags = sorted(filled.flags.items())
    return ", ".join(f"{names[c]} ({why})" if several else why for c, why in flags)


def _carry_all(
    step: Carry,
    anchors: Mapping[int, LabelArray],
    count: int,
    spacing: float | None,
    progress: ProgressFn,
    cancel: CancelToken,
) -> _Made:
    """Propagate until the end, a cancel or an error; the results so far are kept."""
    made, total = _Made(), count - len(anchors)
    try:
        for filled in propagate(_checked(step, cancel), anchors, count, spacing):
            made.filled[filled.index] = filled
            done = len(made.filled)
            progress(Progress(done / total, f"{done} of {total} slices"))
    except Cancelled:
        pass
    except ScsamError as error:
        made.error = error
    made.ends = _ends({*anchors, *made.filled}, count)
    return made


def _checked(step: Carry, cancel: CancelToken) -> Callable[[int, Trail], Carried]:
    def checked(index: int, trail: Trail) -> Carried:
        cancel.check()
        return step(index, trail)

    return checked


def _ends(reached: Collection[int], count: int) -> list[tuple[int, int]]:
    """Return where propagation stopped, each with the number of planes that it did not reach."""
    found: list[tuple[int, int]] = []
    first = 0
    for at in [*sorted(reached), count]:
        if at > first:
            found.append((at if first == 0 else first - 1, at - first))
        first = at + 1
    return found


def _summary(drafts: list[Draft], stops: Mapping[SliceKey, int], cancelled: bool) -> str:
    flagged = sum(bool(draft.flag) for draft in drafts)
    began = "Stopped. " if cancelled else ""
    if not drafts:
        return f"{began}No mask was found on other slices."
    check = f" {flagged} flagged" if flagged else ""
    if stops:
        places = [f"at slice {key[1].index}, {in_slices(n)} left" for key, n in stops.items()]
        check = (
            f" Stopped {in_words(places)}: N goes there; outline it, then Shift+G goes on."
            f"{check and f'{check}.'}"
        )
    elif flagged:
        check += ": N goes to the next."
    return f"{began}Drafts on {in_slices(len(drafts))}.{check}"
