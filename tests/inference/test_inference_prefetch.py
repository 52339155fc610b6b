"""What is embedded ahead: the slices next to the one in view, then what the queue opens next."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from napari_scsam.core.errors import Cancelled
from napari_scsam.core.geometry import Plane
from napari_scsam.core.jobs import CancelToken, Job, ignore_progress
from napari_scsam.core.prompts import PointPrompt, PromptSet
from napari_scsam.core.stretch import Stretch
from napari_scsam.core.volume import Volume
from napari_scsam.core.windows import AUTO, PRESETS, WHOLE_VOLUME
from napari_scsam.inference.messages import Question
from napari_scsam.inference.prefetch import LookAhead
from napari_scsam.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


# Seen along axis 1 its pixels are not square.
THICK = Volume.from_array(np.zeros((4, 9, 9), np.float32), (5.0, 1.0, 1.0))


class Later:
    """Runs its jobs when it is told to."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Job, Any, Any, CancelToken]] = []

    def run(self, job: Job, on_done: Any, on_failed: Any, on_progress: Any = None) -> CancelToken:
        token = CancelToken()
        self.jobs.append((job, on_done, on_failed, token))
        return token

    def work(self) -> None:
        jobs, self.jobs = self.jobs, []
        for job, on_done, on_failed, token in jobs:
            try:
                token.check()
                result = job.function(ignore_progress, token)
            except Cancelled as error:
                on_failed(error)
            else:
                on_done(result)


class Wishes:
    """Notes what is to be prefetched."""

    def __init__(self) -> None:
        self.lists: list[list[Question]] = []

    def prefetch(self, questions: Sequence[Question]) -> None:
        self.lists.append(list(questions))

    def last(self) -> list[tuple[str, int]]:
        return [(q.key[0], q.key[1].index) for q in self.lists[-1]]


class Room:
    """A project of two volumes and a picture, and someone who looks at slices of the first."""

    def __init__(self, project: Project, ids: list[str]) -> None:
        self.project, self.ids = project, ids
        self.wishes, self.runner = Wishes(), Later()
        self.ahead = LookAhead(project, self.wishes, self.runner)  # type: ignore[arg-type]

    def rest_on(self, index: int, axis: int = 0, window: Any = WHOLE_VOLUME) -> None:
        volume, plane = self.project.volume(self.ids[0]), Plane(axis, index)
        prompts = PromptSet((PointPrompt(1, 1, 1),))
        asked = Question((self.ids[0], plane), volume.plane(plane), prompts, None)
        window_here = window.on(volume)
        self.ahead.around(
            Question(asked.key, asked.pixels, prompts, None, None, window_here), volume
        )


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    rng = np.random.default_rng(0)
    paths = []
    for name, shape in (("a", (9, 20, 24)), ("b", (5, 20, 24)), ("c", (20, 24))):
        path = tmp_path / f"{name}.tif"
        values = rng.integers(0, 200, shape).astype(np.int16)
        tifffile.imwrite(path, values, imagej=True, metadata={"axes": "ZYX"[-len(shape) :]})
        paths.append(path)
    with Project.create(tmp_path / "p", ["x"]) as project:
        yield Room(project, project.add_images(paths))


def test_the_slices_on_both_sides_come_first_the_way_of_travel_before_the_other(room: Room) -> None:
    a = room.ids[0]
    room.rest_on(4)
    assert room.wishes.last() == [(a, 5), (a, 3), (a, 6), (a, 2)]
    room.rest_on(3)
    assert room.wishes.last() == [(a, 2), (a, 4), (a, 1), (a, 5)]
    room.rest_on(8)
    assert room.wishes.last() == [(a, 7), (a, 6)]


def test_what_is_wanted_ahead_has_its_own_pixels_and_nobody_s_prompts(room: Room) -> None:
    room.rest_on(4)
    volume = room.project.volume(room.ids[0])
    for question in room.wishes.lists[-1]:
        assert np.array_equal(question.pixels, volume.plane(question.key[1]))
        assert question.prompts.is_empty
        assert question.window == WHOLE_VOLUME.on(volume)


def test_another_axis_is_looked_along(room: Room) -> None:
    room.rest_on(0, axis=2)
    assert [q.key[1] for q in room.wishes.lists[-1]] == [Plane(2, 1), Plane(2, 2)]


def test_the_next_open_slice_and_the_next_images_follow(room: Room) -> None:
    a, b, c = room.ids
    empty = np.zeros((20, 24), np.uint8)
    for image, index in ((a, 5), (a, 6), (a, 7), (b, 0)):
        room.project.commit(image, empty, plane=Plane(0, index))
    room.rest_on(4)
    room.runner.work()
    assert room.wishes.last() == [
        *[(a, 5), (a, 3)],
        *[(a, 8), (b, 1), (b, 2), (c, 0)],
        *[(a, 6), (a, 2)],
    ]
    volume = room.project.volume(b)
    by_key = {q.key: q for q in room.wishes.lists[-1]}
    found = by_key[b, Plane(0, 2)]
    assert np.array_equal(found.pixels, volume.plane(Plane(0, 2)))
    assert found.window == WHOLE_VOLUME.on(volume)


def test_an_image_is_read_once(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    whole = room.project.volume
    monkeypatch.setattr(room.project, "volume", lambda i: read.append(i) or whole(i))
    for index in (4, 5, 4):
        room.rest_on(index)
        room.runner.work()
    assert [i for i in read if i != room.ids[0]] == room.ids[1:]
    room.rest_on(4, window=PRESETS["brain"])  # a window of another kind, on the same pixels
    room.runner.work()
    assert room.wishes.lists[-1][-1].window == PRESETS["brain"]


def test_what_was_read_for_another_slice_is_not_wanted_any_more(room: Room) -> None:
    room.rest_on(4)
    room.rest_on(7)
    room.runner.work()
    assert [len(x) for x in room.wishes.lists] == [4, 3, 3 + 4]
    assert room.wishes.last()[0] == (room.ids[0], 8)


def test_an_image_that_is_gone_is_passed_over(room: Room) -> None:
    room.project.image(room.ids[1]).path.unlink()
    room.rest_on(4)
    room.runner.work()
    assert room.wishes.last()[2:-2] == [(room.ids[0], 5), (room.ids[2], 0)]


def test_nothing_is_wanted_after_the_end(room: Room) -> None:
    room.rest_on(4)
    before = len(room.wishes.lists)
    room.ahead.close()
    room.runner.work()
    assert len(room.wishes.lists) == before


def test_each_plane_ahead_has_the_neighbours_and_the_grid_of_its_own_image(room: Room) -> None:
    volume = room.project.volume(room.ids[0])
    plane = Plane(0, 4)
    around = AUTO.around(volume, plane)
    asked = Question((room.ids[0], plane), volume.plane(plane), PromptSet(), None, around=around)
    wide = replace(asked, stretch=Stretch.of(THICK, Plane(1, 2)))
    room.ahead.around(wide, volume)
    found = {q.key: q for q in room.wishes.lists[-1]}
    before, after = found[(room.ids[0], Plane(0, 5))].around or (None, None)
    assert np.array_equal(before, volume.plane(Plane(0, 4)))
    assert np.array_equal(after, volume.plane(Plane(0, 6)))
    assert all(question.stretch.is_none for question in found.values())
