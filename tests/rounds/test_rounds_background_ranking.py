"""Ranking from the window: when it runs, what it says, and how its process ends."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from annotation_desk import ManualRunner

from napari_scsam.core.errors import Cancelled, ProjectError
from napari_scsam.core.jobs import CancelToken, Progress, ignore_progress
from napari_scsam.core.threads import RANKING
from napari_scsam.project.ranking import read_queue
from napari_scsam.rounds.background_jobs import BackgroundJob, JobQueue, Timing
from napari_scsam.workflows import background_ranking
from napari_scsam.workflows.background_ranking import RankingController, RankingState
from napari_scsam.workflows.ranking_child import ranking_child

if TYPE_CHECKING:
    from napari_scsam.project import Project

FINISHED = {"event": "finished", "images": 2, "unreadable": list("abcde"), "notes": ["A note."]}


class Child:
    """Does not rank; ends as the test says."""

    def __init__(self, _folder: Any, strategy: str) -> None:
        self.strategy, self.stopped = strategy, False
        made.append(self)

    def run(self, progress: Any, cancel: CancelToken) -> dict[str, Any]:
        cancel.check()
        if isinstance(endings[0], Exception):
            raise endings.pop(0)
        return endings.pop(0)

    def stop(self) -> None:
        self.stopped = True

    kill = stop


made: list[Child] = []
endings: list[Any] = []


class Bench:
    """A controller on runners that wait, and what it said."""

    def __init__(self, project: Project) -> None:
        self.files, self.runner, self.reader = ManualRunner(), ManualRunner(), ManualRunner()
        self.jobs, self.states, self.ranked = JobQueue(), list[RankingState](), 0
        self.controller = RankingController(
            project,
            self.files,
            (self.runner, self.reader),
            self.jobs,
            self.states.append,
            self.count,
        )

    def count(self) -> None:
        self.ranked += 1

    def said(self) -> list[str]:
        return [
            state.message or state.error for state in self.states if state.message or state.error
        ]


@pytest.fixture
def bench(project: Project, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made.clear()
    endings.clear()
    monkeypatch.setattr(background_ranking, "ranking_child", Child)
    return Bench(project)


def test_the_cost_is_said_before_and_the_result_after(bench: Bench) -> None:
    bench.controller.begin()
    bench.reader.work()
    # Two volumes of 5 and 3 slices at 0.06 s, and 8 s to start.
    assert bench.states[-1].text == "About 10 s (assumed for two cores): 2 of 2 images to read."
    bench.controller.set_strategy("random")
    bench.reader.work()
    assert bench.states[-1].text == "About 10 s: 2 images, all read before."
    bench.controller.set_strategy("entropy")
    bench.reader.work()
    assert "needs a trained round" in bench.states[-1].text and not bench.states[-1].error
    endings.append(FINISHED)
    bench.controller.start()
    bench.controller.start()  # a second press changes nothing
    assert bench.controller.state.running and len(made) == 1 and made[0].strategy == "entropy"
    bench.runner.work()
    assert bench.ranked == 1 and not bench.controller.state.running and bench.jobs.running is None
    said = "Ranked 2 images. Not readable, and passed over: a, b, c and 2 more. A note."
    assert bench.said() == [said]


def test_choices_are_kept_for_the_next_session(bench: Bench, project: Project) -> None:
    bench.controller.set_strategy("core-set")
    bench.controller.set_after_rounds(False)
    bench.files.work()
    state = Bench(project).controller.state
    assert (state.strategy, state.after_rounds) == ("core-set", False)
    project.record("ranking", {"strategy": "of a newer version", "after_rounds": 7})
    state = Bench(project).controller.state
    assert (state.strategy, state.after_rounds) == ("hybrid", True)


def test_it_waits_for_its_turn_makes_way_and_is_called_off(bench: Bench) -> None:
    bench.jobs.ask(BackgroundJob("tuning", lambda: None, None, lambda: Timing(45, 20)))
    bench.controller.start()
    state = bench.controller.state
    said = "Ranking the images starts when learning from your labels has finished: about 20 s."
    assert state.waiting and state.text == said and not made
    bench.jobs.ended("tuning")
    assert len(made) == 1 and not bench.controller.state.waiting
    bench.jobs.ask(BackgroundJob("round", lambda: None))  # which goes first
    assert made[0].stopped and bench.controller.state.running
    bench.runner.work()
    assert bench.jobs.running == "round" and bench.jobs.waits("ranking")
    bench.controller.tick()
    assert bench.controller.state.text == "Ranking the images starts when the round has finished."
    bench.jobs.ended("round")
    assert len(made) == 2
    bench.controller.cancel()
    assert made[1].stopped
    bench.runner.work()
    assert bench.said() == ["Ranking was cancelled; the list stays as it was."]
    assert bench.jobs.running is None and not bench.controller.state.running
    bench.jobs.ask(BackgroundJob("round", lambda: None))
    bench.controller.start()
    bench.controller.cancel()
    assert bench.said()[1:] == ["The images are not ranked; nothing changed."]
    assert not bench.jobs.waits("ranking") and bench.ranked == 0


def test_after_a_round_it_ranks_again_unless_that_is_switched_off(bench: Bench) -> None:
    class Round:
        def __init__(self, number: int, active: bool) -> None:
            self.number, self.active = number, active

    one, two = Round(1, True), Round(2, False)
    bench.controller.rounds_changed([one])  # what there is when the project opens
    bench.controller.rounds_changed([one])
    assert not made
    bench.controller.rounds_changed([one, two])
    assert len(made) == 1
    bench.controller.cancel()
    bench.runner.work()
    bench.controller.set_after_rounds(False)
    bench.controller.rounds_changed([Round(1, False), Round(2, True)])
    assert len(made) == 1


def test_a_failure_is_one_line_and_frees_the_turn(bench: Bench) -> None:
    endings.append(ProjectError("It is being ranked already."))
    bench.controller.start()
    bench.runner.work()
    assert bench.said() == ["It is being ranked already."]
    assert bench.jobs.running is None and bench.ranked == 0
    bench.controller.start()
    bench.controller.close()
    assert made[1].stopped


def test_the_process_ranks_reports_and_stores_the_queue(project: Project) -> None:
    told: list[tuple[float, str, int]] = []

    def tell(progress: Progress) -> None:
        process = psutil.Process(child._process.pid)
        told.append((progress.fraction, progress.message, process.nice()))

    child = ranking_child(project.folder, "core-set")
    event = child.run(tell, CancelToken())
    assert event["images"] == 2 and event["unreadable"] == []
    # It steps back behind all other work of this machine.
    assert told == [(done / 2, "Reading 2 of 2 images", RANKING) for done in range(3)]
    stored = read_queue(project.folder)
    assert stored is not None and stored.strategy == "core-set"
    with pytest.raises(ProjectError, match="needs a trained round"):
        ranking_child(project.folder, "entropy").run(ignore_progress, CancelToken())


def test_a_process_that_is_killed_or_cancelled_is_said_to_be(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = ranking_child(project.folder, "hybrid")
    code = "import os, signal; print('torn'); os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setattr(child, "_command", [sys.executable, "-c", code])
    with pytest.raises(ProjectError, match=r"ended unexpectedly \(exit code -9\)"):
        child.run(ignore_progress, CancelToken())
    said = "import json; print(json.dumps({'event': 'cancelled'}))"
    monkeypatch.setattr(child, "_command", [sys.executable, "-c", said])
    with pytest.raises(Cancelled):
        child.run(ignore_progress, CancelToken())
