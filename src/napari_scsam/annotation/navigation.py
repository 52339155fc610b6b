"""Navigation between planes and images."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.core.geometry import Plane, SliceKey
from napari_scsam.core.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam.annotation.committed_label import CommittedLabel
    from napari_scsam.annotation.opening import ImageOpener
    from napari_scsam.annotation.state import StateStore
    from napari_scsam.annotation.work_queue import WorkQueue
    from napari_scsam.core.job_runner import JobRunner
    from napari_scsam.project import Project

LAST = " No other slice is open."


class Navigation:
    """Goes to the next and the previous plane, to drafts, and along other axes.

    Parameters
    ----------
    project : Project
    files : JobRunner
        Records skipped slices.
    store : StateStore
    opener : ImageOpener
    committed : CommittedLabel
        Knows which planes are annotated.
    on_arrival : callable
        Called by `arrived`, if the plane is untouched and unannotated.
    queue : WorkQueue
        Leads to the next slice.

    Attributes
    ----------
    queue : WorkQueue
    """

    def __init__(
        self,
        project: Project,
        files: JobRunner,
        store: StateStore,
        opener: ImageOpener,
        committed: CommittedLabel,
        on_arrival: Callable[[], None],
        queue: WorkQueue,
    ) -> None:
        self._project = project
        self._files = files
        self._store = store
        self._opener = opener
        self._committed = committed
        self._on_arrival = on_arrival
        self.queue = queue

    def open_image(
        self, image_id: str, plane: Plane | None = None, then: Callable[[], None] | None = None
    ) -> None:
        """Show an image of the project, at `plane` or at its middle."""
        self._opener.open(image_id, plane, then)

    def give_second_opinions(self, on: bool) -> None:
        """Hide the labels of other people, or show them again; opens the image anew."""
        now = self._store.now
        self.queue.second.is_on = on
        if now.image is not None:
            self._opener.open(now.image.id, now.plane, again=True)

    def close(self) -> None:
        """Save uncommitted work for the next session."""
        self._opener.close()

    def plane_changed(self, plane: Plane | None) -> None:
        """Adopt the view's position after its slider moved; None in the 3D view."""
        now = self._store.now
        if now.image is not None and plane != now.plane:
            self._store.put(now.at(plane))

    def set_axis(self, axis: int, index: int) -> None:
        """Show the image along another axis, at the same position.

        Parameters
        ----------
        axis : {0, 1, 2}
        index : int
            Position of the view along that axis. If the plane has points, the last one is used
            instead, because it lies on what the user works on.
        """
        now = self._store.now
        if now.image is None or now.plane is None:
            return
        shape, plane = now.image.volume.shape, now.plane
        if now.image.volume.ndim == 2 or axis == plane.axis:
            return
        if now.prompts.points:
            point = now.prompts.points[-1]
            in_plane = [a for a in range(3) if a != plane.axis]
            index = round((point.row, point.col)[in_plane.index(axis)])
        self._store.put(now.at(Plane(axis, int(np.clip(index, 0, shape[axis] - 1)))))

    # ---------------------------------------------------------------- next and previous

    def next_open(self) -> None:
        """Go to the next plane that is not committed."""
        self._go(1)

    def previous(self) -> None:
        """Go to the previous plane, committed or not."""
        self._go(-1)

    def next_draft(self, *, flagged_first: bool = False) -> None:
        """Go to the next draft along this axis, wrapping around at the end.

        Without a draft, go to the next open plane. With `flagged_first`, go to an unflagged draft
        only if there is no flagged one. The last message, about what was saved, goes along.
        """
        now = self._store.now
        said = now.status.message
        left = [p for p in now.drafts if now.plane is not None and p.axis == now.plane.axis]
        if flagged_first:
            left = [p for p in left if now.drafts[p].flag] or left
        if now.plane is None or now.image is None or not left:
            self._go(1, said)
            return
        later = (p for p in left if now.plane is not None and p > now.plane)
        self._arrive((now.image.id, next(later, left[0])), said)

    def next_stop(self) -> bool:
        """Go to a draft at which propagation stopped; False if all were shown."""
        now = self._store.now
        drafts = now.work.drafts
        waiting = [key for key in now.stops if key in drafts and now.is_open(key[0])]
        left = [key for key in waiting if key != now.key]
        if not left:
            return False
        self._store.put(replace(now, stops=tuple(left[1:])))
        self.open_image(*left[0])
        return True

    def next_flagged(self) -> bool:
        """Go to the next flagged draft; False if there is no other one."""
        now = self._store.now
        waiting = [p for p, draft in now.drafts.items() if draft.flag and p != now.plane]
        if not waiting or now.image is None:
            return False
        later = [p for p in waiting if now.plane is not None and p > now.plane]
        self.open_image(now.image.id, (later or waiting)[0])
        return True

    def skip(self) -> None:
        """Skip this plane for now."""
        key = self._store.now.key
        if key is None:
            return
        self.next_open()
        # Skipped slices, like annotated ones, are counted along axis 0. Recorded after the
        # next plane was found, because the journal can't be read during a write.
        if not self._project.read_only and key[1].axis == 0:
            job = Job(
                "Recording the slice", lambda _p, _c: self._project.skip(key[0], key[1].index)
            )
            self._files.run(job, lambda _: None, self._store.fail)

    def _go(self, step: int, said: str = "") -> None:
        now = self._store.now
        if now.key is None:
            return
        target = self._beside(now.key, step)
        if target is None and step > 0:
            before = now.status.message.removesuffix(LAST)
            self._store.say(f"{before}{LAST}", elsewhere=now.status.elsewhere)
        elif target is None:
            self._store.say("This is the first slice.")
        else:
            self._arrive(target, said)
            if step > 0:
                self.queue.took(now.key, target, self._store.fail)

    def _arrive(self, target: SliceKey, said: str) -> None:
        def arrived() -> None:
            if said and not self._store.now.status.error:
                self._store.say(said, elsewhere=True)
            self.arrived()

        self.open_image(*target, then=arrived)

    def arrived(self) -> None:
        """Request what is suggested on the displayed plane, if it is untouched and unannotated.

        Not called while the slider is moved: whoever only looks makes no work.
        """
        now = self._store.now
        done = now.plane is not None and self._committed.has(now.plane)
        if now.is_untouched and not done:
            self._on_arrival()

    def _beside(self, key: SliceKey, step: int) -> SliceKey | None:
        """The next plane along the displayed axis; forward, only planes that are not annotated."""
        image_id, plane = key
        image = self._store.now.image
        if plane.axis and image is not None:
            count = image.volume.shape[plane.axis]
            ahead = range(plane.index + 1, count) if step > 0 else range(plane.index - 1, -1, -1)
            for index in ahead:
                at = Plane(plane.axis, index)
                if step < 0 or not self._committed.has(at):
                    return (image_id, at)
            # At the end of this image: continue with the next one.
            plane = Plane(0, image.volume.shape[0] - 1 if step > 0 else 0)
        return self.queue.step((image_id, plane), step)
