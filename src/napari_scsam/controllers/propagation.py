"""Carrying masks through the open volume: start, stop, drafts, and their commit; without Qt."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from napari_scsam.controllers.annotation import AnnotationController
from napari_scsam.controllers.inference import Question, SegmenterLike
from napari_scsam.controllers.ports import JobRunner
from napari_scsam.controllers.view_state import Situation
from napari_scsam.controllers.work import Draft, SliceKey, next_question
from napari_scsam.core.errors import Cancelled, ScsamError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.jobs import CancelToken, Job, Progress, ProgressFn
from napari_scsam.core.labels import NOT_ANNOTATED
from napari_scsam.core.prompts import PromptSet
from napari_scsam.core.propagation import Carried, Carry, Filled, Trail, propagate
from napari_scsam.core.volume import LabelArray, take_plane
from napari_scsam.core.windows import AUTO

# Between two planes: a click that waits for the models takes its turn.
BREATH_S = 0.002
COMMIT_FIRST = "Click the structure or commit this slice first: its outline is what is carried."
NO_OUTLINE = "Nothing is outlined on this slice, so there is nothing to carry."
NO_NEIGHBOUR = "Every slice is committed or has prompts: there is none to carry an outline to."


@dataclass(eq=False)
class _Run:
    """A propagation at work: where it was started, and what ends it."""

    start: SliceKey
    cancel: CancelToken | None = None
    how_far: str = "starting"


@dataclass(eq=False)
class _Made:
    """What a run leaves: the last masks of each plane, and why it ended early, if it did."""

    filled: dict[int, Filled] = field(default_factory=dict)
    error: ScsamError | None = None


class PropagationController(AnnotationController):
    """Adds to annotating what fills a volume from some of its slices.

    Drafts are part of the history, so that one undo takes them all back. They are not
    saved: they can be made again from what is.

    Parameters
    ----------
    *args
        As `AnnotationController`.
    segmenter : SegmenterLike
    carrier : JobRunner
        Of its own, so that clicks are answered in between.
    """

    def __init__(self, *args: Any, segmenter: SegmenterLike, carrier: JobRunner) -> None:
        super().__init__(*args)
        self._segmenter = segmenter
        self._carrier = carrier
        self._run: _Run | None = None

    def _situation(self) -> Situation:
        here = [d for (image, _), d in self._history.present.drafts.items() if self._is_open(image)]
        flagged = sum(bool(draft.flag) for draft in here)
        return replace(
            super()._situation(),
            drafts=len(here) - flagged,
            flagged=flagged,
            propagating="" if self._run is None else self._run.how_far,
        )

    def _is_open(self, image_id: str) -> bool:
        return image_id == self.image_id

    # ---------------------------------------------------------------- carrying

    def propagate(self) -> None:
        """Carry the outlines of this plane, and of the committed ones, to the others; or stop.

        Planes with a label or with prompts are left alone.
        """
        if self._run is not None:
            self.stop_propagating()
            return
        key = self.key
        if key is None or self._volume is None:
            return
        anchors = self._anchors(key[1])
        if key[1].index not in anchors:
            self.say(COMMIT_FIRST)
        elif not any(Trail.start(label).areas for label in anchors.values()):
            self.say(NO_OUTLINE)
        elif len(anchors) == self._volume.plane_count(key[1].axis):
            self.say(NO_NEIGHBOUR)
        else:
            self._start(key, anchors)

    def stop_propagating(self) -> None:
        """Make no more drafts; those that were made stay."""
        if self._run is not None and self._run.cancel is not None:
            self._run.cancel.cancel()

    def close(self) -> None:
        """Stop, and let go of what was made."""
        self.stop_propagating()
        self._run = None

    def _anchors(self, shown: Plane) -> dict[int, LabelArray]:
        """Labels of the planes along the axis in view that are committed, or on show."""
        label, found = self._committed.array, {}
        if label is not None:
            for index in range(label.shape[shown.axis]):
                plane = Plane(shown.axis, index)
                if self._committed.has(plane):
                    found[index] = np.array(take_plane(label, plane, label.ndim))
        mine = self.draft is None or not self.prompts.is_empty
        if mine and self.preview is not None:
            found[shown.index] = self.preview
        return found

    def _start(self, key: SliceKey, anchors: Mapping[int, LabelArray]) -> None:
        if self._volume is None:
            return
        run = self._run = _Run(key)
        axis = key[1].axis
        count = self._volume.plane_count(axis)
        spacing = self._volume.plane_spacing(axis)
        step = self._step(key)

        def work(progress: ProgressFn, cancel: CancelToken) -> _Made:
            return _carry_all(step, anchors, count, spacing, progress, cancel)

        def report(progress: Progress) -> None:
            if self._run is run:
                run.how_far = progress.message
                self._on_change(self.view_state)

        def made(result: _Made) -> None:
            if self._run is run:
                self._run = None
                self._take(key, result, run.cancel is not None and run.cancel.cancelled)

        def failed(error: Exception) -> None:
            if self._run is run:
                self._run = None
                self.fail(error)

        self._message = self._error = ""
        run.cancel = self._carrier.run(Job("Propagating", work), made, failed, report)
        self._on_change(self.view_state)

    def _step(self, start: SliceKey) -> Carry:
        """One step through the open volume, whatever is opened meanwhile."""
        question, volume = self._question(PromptSet()), self._volume
        if volume is None:
            raise RuntimeError("A volume is open while masks are carried through it.")

        def step(index: int, trail: Trail) -> Carried:
            plane = Plane(start[1].axis, index)
            asked: Question = replace(
                question,
                key=(start[0], plane),
                pixels=volume.plane(plane),
                draft=None,
                around=None if question.around is None else AUTO.around(volume, plane),
            )
            time.sleep(BREATH_S)
            return self._segmenter.carry(asked, trail)

        return step

    def _take(self, start: SliceKey, made: _Made, stopped: bool) -> None:
        """Make drafts of what was carried, as one step of the history."""
        left, (image_id, plane) = self._history.present, start
        drafts: dict[SliceKey, Draft | None] = {}
        if made.error is None and not stopped:
            # The whole axis was gone through: older drafts that were not found again go.
            drafts = {k: None for k in left.drafts if k[0] == image_id and k[1].axis == plane.axis}
        done = set(self._project.committed_planes(image_id)) if plane.axis == 0 else set()
        for index, filled in made.filled.items():
            key = (image_id, Plane(plane.axis, index))
            if index not in done and left.prompts_at(key).is_empty:
                drafts[key] = Draft(self._beside_committed(key, filled.label), self._words(filled))
        if drafts:
            self._history.push(replace(left.with_drafts(drafts), at=start))
            self._drafts_changed(left, self._history.present)
            self._refresh()
        if made.error is not None:
            self.fail(made.error)
        else:
            self.say(_summary([d for d in drafts.values() if d is not None], stopped))

    def _beside_committed(self, key: SliceKey, label: LabelArray) -> LabelArray:
        """A draft in which what other planes have committed stands as it is."""
        if not self._is_open(key[0]) or self._committed.array is None:
            return label
        before = take_plane(self._committed.array, key[1], self._committed.array.ndim)
        return np.where(before == NOT_ANNOTATED, label, before)

    def _words(self, filled: Filled) -> str:
        """Why a plane wants a look; which class, where there are several."""
        names = {c.id: c.name for c in self._project.classes}
        several = len(names) > 1
        flags = sorted(filled.flags.items())
        return ", ".join(f"{names[c]} ({why})" if several else why for c, why in flags)

    # ---------------------------------------------------------------- drafts

    def commit_drafts(self) -> None:
        """Commit every draft of the open image that nothing speaks against, as one version."""
        image_id, volume = self.image_id, self._volume
        if image_id is None or volume is None or self.key is None:
            return
        drafts = self._history.present.drafts
        good = {k: d.label for k, d in drafts.items() if k[0] == image_id and not d.flag}
        if not good:
            return
        at = self.key

        def saved(version: int | None) -> None:
            self._busy = ""
            self.commits += 1
            left = self._history.present
            gone = left.with_drafts(dict.fromkeys(good)).with_version(image_id, version)
            self._history.push(replace(gone, at=at))
            if self._is_open(image_id):
                self._canvas.show_committed(self._committed.array)
            self._drafts_changed(left, self._history.present)
            self._refresh()
            kept = "  Those to look at stay: N." if self._flagged() else ""
            self.say(f"Saved {_slices(len(good))}.{kept}")

        self._remember_version()
        self._busy = "saving"
        self.say("Saving …")
        labels = {plane: label for (_, plane), label in good.items()}
        self._committed.fill(image_id, labels, volume.shape, saved, self.fail)

    def next_look(self) -> None:
        """Select the next question of this plane, or go to the next draft that wants a look."""
        asks = next_question(self.prompts, None) is not None
        waiting = [p for p in self._flagged() if p != self._plane]
        if asks or not waiting or self.image_id is None:
            self.next_question()
            return
        later = [p for p in waiting if self._plane is not None and p > self._plane]
        self.open_image(self.image_id, (later or waiting)[0])

    def _flagged(self) -> list[Plane]:
        drafts = self._history.present.drafts
        return [p for p in self._drafts_here() if drafts[(self.image_id or "", p)].flag]

    def _go_on(self) -> None:
        """After a commit: to the next draft along this axis, from the start again at the end."""
        plane = self._plane
        left = [p for p in self._drafts_here() if plane is not None and p.axis == plane.axis]
        if plane is None or self.image_id is None or not left:
            super()._go_on()
            return
        said = self._message
        target = next((p for p in left if p > plane), left[0])
        self.open_image(self.image_id, target, then=lambda: self._arrived(said))


def _carry_all(
    step: Carry,
    anchors: Mapping[int, LabelArray],
    count: int,
    spacing: float | None,
    progress: ProgressFn,
    cancel: CancelToken,
) -> _Made:
    """Go through the volume until the end, a cancel or an error; what was made is kept."""
    made, total = _Made(), count - len(anchors)
    try:
        for filled in propagate(_checked(step, cancel), anchors, count, spacing):
            made.filled[filled.index] = filled
            done = len(made.filled)
            progress(Progress(done / total, f"slice {done} of {total}"))
    except Cancelled:
        pass
    except ScsamError as error:
        made.error = error
    return made


def _checked(step: Carry, cancel: CancelToken) -> Callable[[int, Trail], Carried]:
    def checked(index: int, trail: Trail) -> Carried:
        cancel.check()
        return step(index, trail)

    return checked


def _summary(drafts: list[Draft], stopped: bool) -> str:
    flagged = sum(bool(draft.flag) for draft in drafts)
    began = "Stopped. " if stopped else ""
    if not drafts:
        return f"{began}No outline was carried over."
    look = ""
    if flagged:
        look = f" {flagged} want{'s' if flagged == 1 else ''} a look: N."
    return f"{began}Drafts on {_slices(len(drafts))}.{look}"


def _slices(number: int) -> str:
    return f"{number} slice{'' if number == 1 else 's'}"
