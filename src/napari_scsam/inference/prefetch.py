"""Predicts which planes the user will open next, so that they are prepared by then."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import ScsamError
from napari_scsam.core.geometry import Plane, SliceKey
from napari_scsam.core.jobs import CancelToken, Job
from napari_scsam.core.prompts import PromptSet
from napari_scsam.core.stretch import Stretch
from napari_scsam.core.windows import AUTO
from napari_scsam.project.image_queue import neighbour, plane_total

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_scsam.core.job_runner import JobRunner
    from napari_scsam.core.volume import Volume
    from napari_scsam.inference.messages import Question
    from napari_scsam.inference.previews import Previewer
    from napari_scsam.project import Project
    from napari_scsam.project.slice_order import SliceOrder

# Neighbouring slices on each side, and following images of the queue. Arbitrary.
NEIGHBOURS, NEXT_IMAGES = 2, 2
# Number of direct neighbours of the current plane.
DIRECT_NEIGHBOURS = 2


class LookAhead:
    """Has planes prepared ahead: neighbours of the current one, then the next of the queue.

    Parameters
    ----------
    project : Project
    previewer : Previewer
    reader : JobRunner
        Reads the next images; a separate runner, since saving must not wait for it.
    order : SliceOrder, optional
        A ranked queue to follow instead of the list of images.
    """

    def __init__(
        self,
        project: Project,
        previewer: Previewer,
        reader: JobRunner,
        order: SliceOrder | None = None,
    ) -> None:
        self._project = project
        self._order = order
        self._previewer = previewer
        self._reader = reader
        self._at: SliceKey | None = None
        self._reading: CancelToken | None = None
        # Planes of images that are not open, by key, so that each image is read once.
        self._read: dict[SliceKey, Question] = {}

    def around(self, question: Question, volume: Volume) -> None:
        """Prepare ahead, starting from the plane on which the user stays.

        Parameters
        ----------
        question : Question
            Question for that plane.
        volume : Volume
            Image of the plane.
        """
        plain = replace(question, prompts=PromptSet(), draft=None, included=PromptSet())
        near = [
            _on_plane(plain, (plain.key[0], plane), volume)
            for plane in self._near(plain.key, volume)
        ]
        self._at = key = plain.key
        self._previewer.prefetch(near)
        if self._reading is not None:
            self._reading.cancel()

        def read(_progress: Any, cancel: CancelToken) -> list[Question]:
            return self._upcoming(plain, volume, cancel)

        def found(upcoming: Sequence[Question]) -> None:
            if key == self._at:
                # Second neighbours come last: the next step needs the first ones.
                self._previewer.prefetch(
                    [*near[:DIRECT_NEIGHBOURS], *upcoming, *near[DIRECT_NEIGHBOURS:]]
                )

        self._reading = self._reader.run(Job("Looking ahead", read), found, _ignore)

    def close(self) -> None:
        """Stop preparing ahead."""
        self._at = None
        if self._reading is not None:
            self._reading.cancel()

    def _near(self, key: SliceKey, volume: Volume) -> list[Plane]:
        """Return neighbours on both sides, the next in the direction of travel first."""
        image, plane = key
        step = 1
        if self._at is not None and self._at[0] == image and self._at[1].axis == plane.axis:
            step = -1 if plane.index < self._at[1].index else 1
        offsets = [sign * step * n for n in range(1, NEIGHBOURS + 1) for sign in (1, -1)]
        total = volume.plane_count(plane.axis)
        indices = [plane.index + offset for offset in offsets]
        return [Plane(plane.axis, i) for i in indices if 0 <= i < total]

    def _upcoming(self, at: Question, volume: Volume, cancel: CancelToken) -> list[Question]:
        """Return questions for the planes opened next; reads images that are not open."""
        wanted = self._next_keys(at.key)
        self._read = {k: q for k, q in self._read.items() if k in wanted}
        for image in dict.fromkeys(key[0] for key in wanted):
            cancel.check()
            missing = [k for k in wanted if k[0] == image and not self._is_read(k, at)]
            if not missing:
                continue
            try:
                source = volume if image == at.key[0] else self._project.volume(image)
            except ScsamError:
                continue  # the error is shown when it is opened
            window = at.window.on(source)
            for key in missing:
                found = _on_plane(at, key, source)
                # Copies: keep the planes, not their whole volume.
                pixels, beside = found.pixels.copy(), found.around
                around = None if beside is None else (beside[0].copy(), beside[1].copy())
                self._read[key] = replace(found, pixels=pixels, around=around, window=window)
        return [self._read[key] for key in wanted if key in self._read]

    def _is_read(self, key: SliceKey, at: Question) -> bool:
        known = self._read.get(key)
        if known is None:
            return False
        made_for = (known.window.name, known.round_folder, known.tuned_folder)
        return made_for == (at.window.name, at.round_folder, at.tuned_folder)

    def _next_keys(self, key: SliceKey) -> list[SliceKey]:
        """Return the next open plane, then the first open and the middle one of next images.

        In a ranked queue these are the slices that follow.
        """
        ranked = [] if self._order is None else self._order.upcoming(key, 1 + NEXT_IMAGES)
        if ranked:
            return ranked
        following = neighbour(self._project, key)
        keys = [] if following is None else [following]
        records = self._project.images()
        committed = self._project.all_committed_planes()
        at = next(i for i, record in enumerate(records) if record.id == key[0])
        for record in records[at + 1 : at + 1 + NEXT_IMAGES]:
            total, done = plane_total(record), committed.get(record.id, ())
            still_open = [i for i in range(total) if i not in done]
            keys += [(record.id, Plane(0, i)) for i in (*still_open[:1], total // 2)]
        return list(dict.fromkeys(keys))


def _on_plane(question: Question, key: SliceKey, volume: Volume) -> Question:
    """Return the same question for another plane, on the values and the grid of its image."""
    plane = key[1]
    return replace(
        question,
        key=key,
        pixels=volume.plane(plane),
        stretch=Stretch.of(volume, plane),
        around=None if question.around is None else AUTO.around(volume, plane),
    )


def _ignore(_: Exception) -> None:
    """Ignore errors of reading ahead; they are shown when the image is opened."""
