"""A job ends exactly once, on the main thread, whatever it raised."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from napari_scsam._qt.job_runner import ThreadJobRunner
from napari_scsam.core.errors import Cancelled, InputError
from napari_scsam.core.jobs import Job, Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytestqt.qtbot import QtBot

pytestmark = pytest.mark.gui


@pytest.fixture
def runner(qapp: Any) -> Iterator[ThreadJobRunner]:
    made = ThreadJobRunner("test")
    yield made
    made.close()


class Ends:
    def __init__(self) -> None:
        self.done: list[Any] = []
        self.failed: list[Exception] = []
        self.threads: set[int] = set()

    def on_done(self, value: Any) -> None:
        self.threads.add(threading.get_ident())
        self.done.append(value)

    def on_failed(self, error: Exception) -> None:
        self.threads.add(threading.get_ident())
        self.failed.append(error)

    @property
    def count(self) -> int:
        return len(self.done) + len(self.failed)


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), InputError("bad")])
def test_an_error_comes_back_once_on_the_main_thread(
    runner: ThreadJobRunner, qtbot: QtBot, error: Exception
) -> None:
    ends = Ends()

    def work(_progress: Any, _cancel: Any) -> None:
        assert threading.current_thread() is not threading.main_thread()
        raise error

    runner.run(Job("work", work), ends.on_done, ends.on_failed)
    qtbot.waitUntil(lambda: ends.count > 0)
    qtbot.wait(30)
    assert ends.failed == [error]
    assert ends.done == []
    assert ends.threads == {threading.main_thread().ident}
    assert runner.idle


def test_results_and_progress_come_in_order(runner: ThreadJobRunner, qtbot: QtBot) -> None:
    ends, seen = Ends(), []

    def work(progress: Any, _cancel: Any) -> int:
        for i in range(3):
            progress(Progress(i / 3))
        return 7

    runner.run(Job("work", work), ends.on_done, ends.on_failed, lambda p: seen.append(p.fraction))
    runner.run(Job("next", lambda _p, _c: 8), ends.on_done, ends.on_failed)
    qtbot.waitUntil(lambda: ends.count == 2)
    assert ends.done == [7, 8]
    assert seen == [0, 1 / 3, 2 / 3]


def test_a_job_cancelled_before_it_begins_never_runs(runner: ThreadJobRunner, qtbot: QtBot) -> None:
    gate, ends, ran = threading.Event(), Ends(), []
    runner.run(Job("first", lambda _p, _c: gate.wait(5)), ends.on_done, ends.on_failed)
    token = runner.run(Job("second", lambda _p, _c: ran.append(1)), ends.on_done, ends.on_failed)
    token.cancel()
    gate.set()
    qtbot.waitUntil(lambda: ends.count == 2)
    assert ran == []
    assert isinstance(ends.failed[0], Cancelled)


def test_nothing_is_reported_after_closing(runner: ThreadJobRunner, qtbot: QtBot) -> None:
    gate, ends = threading.Event(), Ends()
    runner.run(Job("work", lambda _p, _c: gate.wait(5)), ends.on_done, ends.on_failed)
    threading.Timer(0.05, gate.set).start()
    runner.close()
    runner.run(Job("late", lambda _p, _c: None), ends.on_done, ends.on_failed)
    qtbot.wait(100)
    assert ends.count == 0
