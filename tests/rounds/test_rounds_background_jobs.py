"""One background job at a time: who begins, who waits, who makes way, and what is said of it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from napari_scsam.core.errors import ProjectError
from napari_scsam.project.process import record_process
from napari_scsam.rounds.background_jobs import (
    NAMES,
    ORDER,
    BackgroundJob,
    JobQueue,
    Kind,
    Timing,
    refuse_beside_another,
)

if TYPE_CHECKING:
    from pathlib import Path


class Office:
    """Jobs that note what they are told, and a queue that tells them."""

    def __init__(self) -> None:
        self.queue, self.told = JobQueue(), list[str]()
        self.timing: Timing | None = None

    def job(self, kind: Kind, *, stops: bool = True) -> BackgroundJob:
        return BackgroundJob(
            kind,
            lambda: self.told.append(f"start {kind}"),
            (lambda: self.stop(kind)) if stops else None,
            lambda: self.timing,
        )

    def stop(self, kind: Kind) -> None:
        self.told.append(f"stop {kind}")
        self.queue.stopped(kind)

    def ask(self, *kinds: Kind) -> None:
        for kind in kinds:
            self.queue.ask(self.job(kind))


@pytest.fixture
def office() -> Office:
    return Office()


def test_what_the_person_asked_for_goes_first_and_then_the_next_in_the_order(
    office: Office,
) -> None:
    assert ORDER == ("round", "tuning", "ranking", "measuring") and set(NAMES) == set(ORDER)
    office.queue.ask(office.job("round", stops=False))
    office.ask("ranking", "tuning")
    assert office.told == ["start round"]
    office.queue.ended("round")
    assert office.told[1:] == ["start tuning"] and office.queue.waits("ranking")
    office.queue.ended("tuning")
    assert office.told[2:] == ["start ranking"]
    office.queue.ended("ranking")
    assert office.queue.running is None


def test_what_made_way_once_is_stopped_again_by_a_round_only(office: Office) -> None:
    office.ask("ranking", "tuning")
    assert office.told == ["start ranking", "stop ranking", "start tuning"]
    office.queue.ended("tuning")
    office.told.clear()
    office.ask("tuning")
    assert office.told == [] and office.queue.running == "ranking"
    office.queue.ended("ranking")
    office.queue.ended("tuning")
    assert office.told == ["start tuning"]
    office.told.clear()
    office.ask("ranking", "tuning")  # one that has ended may be stopped again
    assert office.told == ["start ranking", "stop ranking", "start tuning"]
    office.queue.ended("tuning")
    office.told.clear()
    office.ask("round")
    assert office.told == ["stop ranking", "start round"]


def test_what_comes_later_makes_way_and_is_begun_again(office: Office) -> None:
    office.ask("ranking", "tuning", "round")
    assert office.told == [
        "start ranking", "stop ranking", "start tuning", "stop tuning", "start round",
    ]  # fmt: skip
    office.queue.ended("round")
    assert office.told[5:] == ["start tuning"] and office.queue.waits("ranking")


@pytest.mark.parametrize(
    ("timing", "stopped"),
    [(None, True), (Timing(10, 56), True), (Timing(32, 34), True), (Timing(34, 32), False)],
)
def test_it_is_waited_for_where_that_costs_less_than_doing_it_again(
    office: Office, timing: Timing | None, stopped: bool
) -> None:
    office.timing = timing
    office.ask("tuning", "round")
    assert ("stop tuning" in office.told) == stopped
    assert office.queue.running == ("round" if stopped else "tuning")


def test_a_round_is_never_stopped_for_another_and_none_comes_twice(office: Office) -> None:
    office.queue.ask(office.job("round", stops=False))
    office.ask("tuning", "tuning")
    office.queue.ended("round")
    office.queue.ended("tuning")
    assert office.told == ["start round", "start tuning"]


def test_an_end_that_is_said_twice_or_of_another_frees_nothing(office: Office) -> None:
    office.ask("round", "tuning")
    office.queue.ended("tuning")
    office.queue.stopped("ranking")
    assert office.queue.running == "round" and not office.queue.waits("ranking")


def test_a_withdrawn_one_does_not_begin_and_a_closed_queue_begins_nothing(office: Office) -> None:
    office.ask("round", "tuning", "ranking")
    office.queue.withdraw("tuning")
    office.queue.withdraw("tuning")
    office.queue.ended("round")
    assert office.queue.running == "ranking"
    office.ask("tuning")
    office.queue.close()
    told = len(office.told)
    office.queue.ended("tuning")
    assert len(office.told) == told


def test_of_two_that_run_already_the_later_one_makes_way(office: Office) -> None:
    office.queue.adopt(office.job("tuning"))
    office.queue.adopt(office.job("round", stops=False))
    assert office.told == ["stop tuning"] and office.queue.running == "round"
    office.queue.ended("round")
    assert office.told == ["stop tuning", "start tuning"]


def test_what_waits_says_for_what_and_how_long(office: Office) -> None:
    office.timing = Timing(45, 21)
    office.ask("tuning", "round", "ranking")
    assert office.queue.sentence("round") == (
        "The round starts when learning from your labels has finished: about 20 s."
    )
    office.timing = None
    assert office.queue.sentence("ranking") == (
        "Ranking the images starts when learning from your labels has finished."
    )
    assert office.queue.sentence("tuning") == ""


@pytest.mark.parametrize(
    ("inside", "said"),
    [("rounds", "Round 7 is still running"), ("tuned", "Learning from your labels is still")],
)
def test_a_job_of_another_window_is_refused_in_one_line(
    tmp_path: Path, inside: str, said: str
) -> None:
    partial = tmp_path / inside / "0007.partial"
    partial.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        record_process(partial, child.pid)
        with pytest.raises(ProjectError, match=said) as refused:
            refuse_beside_another(tmp_path)
        assert f"process {child.pid}" in str(refused.value) and "\n" not in str(refused.value)
        child.communicate(b"\n")
    refuse_beside_another(tmp_path)  # the folder of a process that has ended is in nobody's way
    noted = {"pid": psutil.Process().pid, "created": 0.0}  # its number was given to another
    (partial / "process.json").write_text(json.dumps(noted))
    refuse_beside_another(tmp_path)
