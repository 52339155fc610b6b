"""Work ahead of questions: in its order, out of the way of questions, and dropped in time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from napari_scsam.core.geometry import Plane
from napari_scsam.inference.idle_worker import IdleWorker, Task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_scsam.core.jobs import CancelToken


WAIT_S = 10


class Bench:
    """Errands that note when they begin and end, and can be held up midway."""

    def __init__(self) -> None:
        self.ahead = IdleWorker()
        self.done: list[int] = []
        self.begun: list[int] = []
        self.midway = threading.Event()
        self.hold = threading.Event()
        self.hold.set()

    def errand(self, index: int) -> Task:
        def work(cancel: CancelToken) -> None:
            self.begun.append(index)
            self.midway.set()
            assert self.hold.wait(WAIT_S)
            cancel.check()
            self.done.append(index)

        return Task(("a", Plane(0, index)), work)

    def want(self, *indices: int) -> None:
        self.ahead.schedule([self.errand(i) for i in indices])

    def hold_at(self, *indices: int) -> None:
        """Want these, and hold the first one up."""
        self.hold.clear()
        self.want(*indices)
        assert self.midway.wait(WAIT_S)

    def ask(self, index: int) -> Any:
        return self.ahead.paused_for(("a", Plane(0, index)))

    def finished(self) -> bool:
        self.hold.set()
        return self.ahead.wait(WAIT_S)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    with made.ask(5):  # where the person is
        pass
    yield made
    made.hold.set()
    made.ahead.close()


def test_errands_are_done_in_their_order(bench: Bench) -> None:
    bench.want(6, 4, 7)
    assert bench.finished()
    assert bench.done == [6, 4, 7]


def test_a_failing_errand_does_not_stop_the_others(bench: Bench) -> None:
    def fail(_cancel: CancelToken) -> None:
        raise ValueError("no")

    bench.ahead.schedule([Task(("a", Plane(0, 1)), fail), bench.errand(2)])
    assert bench.finished()
    assert bench.done == [2]


def test_new_wishes_take_the_place_of_old_ones(bench: Bench) -> None:
    bench.hold_at(6, 4, 7)
    bench.want(1, 2)
    assert bench.finished()
    assert bench.done == [1, 2]


def test_a_wish_at_work_that_is_wanted_again_goes_on(bench: Bench) -> None:
    bench.hold_at(6, 4)
    bench.want(6, 7)
    assert bench.finished()
    assert bench.done == [6, 6, 7]  # the second finds the first one's embedding


def test_nothing_is_begun_during_a_question(bench: Bench) -> None:
    with bench.ask(5):
        bench.want(6, 4)
        assert not bench.ahead.wait(0.1)
        assert bench.begun == []
    assert bench.finished()
    assert bench.done == [6, 4]


def test_a_question_stops_the_errand_at_work_and_lets_it_begin_again(bench: Bench) -> None:
    bench.hold_at(6, 4)
    with bench.ask(5), bench.ask(5):  # a question inside a question
        bench.hold.set()
        assert not bench.ahead.wait(0.1)
        assert bench.done == []
    assert bench.finished()
    assert bench.begun == [6, 6, 4]
    assert bench.done == [6, 4]


def test_a_question_about_another_plane_drops_the_rest(bench: Bench) -> None:
    bench.hold_at(6, 4, 7)
    with bench.ask(9):
        pass
    assert bench.finished()
    assert (bench.begun, bench.done) == ([6], [])


def test_a_question_about_the_plane_at_work_lets_it_finish(bench: Bench) -> None:
    bench.hold_at(6, 4)
    with bench.ask(6):
        bench.hold.set()
        assert bench.ahead.wait(WAIT_S)
        assert bench.done == [6]


def test_closing_stops_all(bench: Bench) -> None:
    bench.hold_at(6, 4)
    bench.ahead.close()
    assert bench.finished()
    bench.want(1)
    assert bench.done == []
