"""What is measured of this machine: kept, found again, used by an estimate, and out of the way."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
from annotation_desk import ManualRunner

from napari_scsam.core.errors import Cancelled, ModelError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.jobs import CancelToken
from napari_scsam.core.settings import TrainSettings
from napari_scsam.rounds import machine_speed, measured_costs
from napari_scsam.rounds.assumed_costs import Past, Planes
from napari_scsam.rounds.background_jobs import BackgroundJob, JobQueue
from napari_scsam.rounds.cost_estimate import estimate_round, remember_round
from napari_scsam.rounds.machine_speed import SpeedController, measure, small_round
from napari_scsam.rounds.measured_costs import recall, remember

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_scsam.project import Project

RATES = {
    "device": "cpu",
    "seconds_loading": 2.0,
    "embeddings": 5,
    "seconds_per_embedding": 0.5,
    "seconds_per_step": 0.25,
    "seconds_judging": 0.1,
    "memory_gb": 1.5,
}
PAST = Past(None, small_round(), Planes(1, 0, 1, 1), RATES)


def figures() -> Path:
    (path,) = measured_costs._path().parent.glob("speed-*.json")
    return path


def test_what_was_measured_is_found_again_on_this_machine_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert recall() is None
    remember(PAST)
    kept = {k: v for k, v in RATES.items() if k not in ("embeddings", "seconds_judging")}
    assert recall() == replace(PAST, rates=kept)
    monkeypatch.setattr(measured_costs.platform, "node", lambda: "another")
    assert recall() is None
    monkeypatch.undo()  # the folder, too
    assert recall() != replace(PAST, rates=kept)


def test_another_torch_is_measured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    remember(PAST)
    monkeypatch.setattr(measured_costs, "version", lambda name: "0.0")
    assert recall() is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda kept: kept["rates"].update(seconds_per_step=-1),
        lambda kept: kept["rates"].update(seconds_per_step=float("nan")),
        lambda kept: kept["rates"].update(seconds_per_step=[1]),
        lambda kept: kept["planes"].update(more=1),
        lambda kept: kept["settings"].update(steps="many"),
        lambda kept: kept["settings"].update(of_a_newer_version=1),
        lambda kept: kept.pop("rates"),
        lambda kept: kept.clear(),
    ],
)
def test_a_file_that_is_not_what_was_written_counts_for_nothing(
    damage: Callable[[dict[str, Any]], None],
) -> None:
    remember(PAST)
    content = json.loads(figures().read_text())
    damage(content)
    figures().write_text(json.dumps(content))
    assert recall() is None
    figures().write_bytes(b"\xff{")
    assert recall() is None


def test_the_first_round_of_a_project_is_announced_with_it(project: Project) -> None:
    (volume, _) = project.images()
    project.commit(volume.id, np.ones((20, 30), np.uint8), plane=Plane(0, 1))
    assumed = estimate_round(project, TrainSettings(steps=700))
    remember(PAST)
    found = estimate_round(project, TrainSettings(steps=700))
    assert assumed is not None and assumed.source == "assumed for two cores"
    assert found is not None and found.source == "measured on this machine"
    # Starting and loading, 2 views and 7 others, 700 steps; judging as assumed, by two clicks.
    assert found.seconds == pytest.approx(6 + 2 + 9 * 0.5 + 700 * 0.25 + 1 + 2 * 0.5)


def test_the_small_round_is_of_the_same_kind_and_short() -> None:
    wanted = TrainSettings(recipe="cps", minutes=9.0, pictures=10**6, image_size=256)
    small = small_round(wanted)
    assert (small.recipe, small.image_size) == ("cps", 256)
    assert (small.steps, small.minutes, small.pictures) == (8, None, None)


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[psutil.Process]:
    """Children that fail or hang, as ``program`` of the module says, instead of training."""
    started: list[psutil.Process] = []

    def start(module: str, folder: Path, *_: Any) -> subprocess.Popen[bytes]:
        assert module == "scsam_train" and (folder / "inputs.json").is_file()
        child = subprocess.Popen([sys.executable, "-c", PROGRAMS.pop(), str(folder)])
        started.append(psutil.Process(child.pid))
        return child

    monkeypatch.setattr("napari_scsam.rounds.running_round.start_child", start)
    return started


FAILS = """
import json, pathlib, sys
event = {"event": "failed", "error": "No room."}
(pathlib.Path(sys.argv[1]) / "events.jsonl").write_text(json.dumps(event) + chr(10))
"""
PROGRAMS: list[str] = []


def test_a_small_round_that_fails_is_one_line(children: list[psutil.Process]) -> None:
    PROGRAMS.append(FAILS)
    with pytest.raises(ModelError, match=r"^This machine could not be measured\. No room\.$"):
        measure()
    assert recall() is None


def test_a_small_round_ends_at_once_when_it_is_cancelled(children: list[psutil.Process]) -> None:
    PROGRAMS.append("import time; time.sleep(600)")
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        measure(cancel=cancel)
    assert not children[0].is_running() and recall() is None


class Bench:
    """A SpeedController whose measuring does as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runner, self.jobs = ManualRunner(), JobQueue()
        self.outcome: Exception | None = None
        self.calls = self.told = 0
        monkeypatch.setattr(machine_speed, "measure", self._measure)
        monkeypatch.setattr(machine_speed, "wait_until_idle", lambda cancel: True)
        self.controller = SpeedController(self.runner, self.jobs, self._tell)

    def _measure(self, cancel: CancelToken) -> None:
        self.calls += 1
        if self.outcome is not None:
            raise self.outcome
        remember(PAST)

    def _tell(self) -> None:
        self.told += 1


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_a_machine_is_measured_once(bench: Bench) -> None:
    bench.controller.wanted()
    bench.controller.wanted()
    bench.runner.work()
    assert (bench.calls, bench.told, bench.jobs.running) == (1, 1, None)
    again = SpeedController(bench.runner, bench.jobs, lambda: None)
    again.wanted()
    bench.runner.work()
    assert bench.calls == 1  # another window has done it


def test_measuring_makes_way_for_a_round_and_is_done_after_it(bench: Bench) -> None:
    bench.controller.wanted()
    bench.jobs.ask(BackgroundJob("round", lambda: None))
    assert bench.jobs.running == "measuring"
    assert bench.jobs.sentence("round") == (
        "The round starts when measuring this machine has finished."
    )
    bench.runner.work()  # it sees that it was cancelled
    assert bench.calls == 0 and bench.jobs.running == "round"
    bench.jobs.ended("round")
    bench.runner.work()
    assert (bench.calls, bench.told, bench.jobs.running) == (1, 1, None)


def test_measuring_that_fails_is_not_tried_again(bench: Bench) -> None:
    bench.outcome = ModelError("No room.")
    bench.controller.wanted()
    bench.runner.work()
    bench.controller.wanted()
    bench.runner.work()
    assert (bench.calls, bench.told, bench.jobs.running) == (1, 0, None)


def test_a_busy_machine_is_not_measured_until_it_is_idle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    busy = [True, True, True, False]  # the first has nothing to compare with
    monkeypatch.setattr(machine_speed, "STEP_S", 0.01)
    monkeypatch.setattr(machine_speed, "is_busy", lambda: busy.pop(0))
    assert machine_speed.wait_until_idle(CancelToken())
    assert busy == []
    monkeypatch.setattr(machine_speed, "is_busy", lambda: True)
    monkeypatch.setattr(machine_speed, "LONGEST_S", 0.05)
    assert not machine_speed.wait_until_idle(CancelToken())
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        machine_speed.wait_until_idle(cancel)


def test_a_finished_round_tells_how_fast_this_machine_is(
    project: Project, finish_round: Callable[..., Path]
) -> None:
    (volume, _) = project.images()
    project.commit(volume.id, np.ones((20, 30), np.uint8), plane=Plane(0, 1))
    counts = {"labelled_planes": 1, "unlabelled_planes": 0, "validation": {"planes": 0, "cases": 0}}
    finish_round(project.begin_round(TrainSettings(seed=3)), 0.8, None, rates=RATES, **counts)
    (record,) = project.adopt_rounds()
    remember_round(record)
    found = recall()
    assert found is not None and found.settings.seed == 3 and found.number is None
    assert found.rates["seconds_per_step"] == 0.25
    # What a later round does not measure stays.
    rates = {**RATES, "seconds_per_embedding": None, "seconds_per_step": 0.5}
    remember_round(replace(record, metrics={**record.metrics, "rates": rates}))
    again = recall()
    assert again is not None
    assert (again.rates["seconds_per_embedding"], again.rates["seconds_per_step"]) == (0.5, 0.5)
