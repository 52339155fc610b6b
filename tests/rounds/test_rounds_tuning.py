"""When tunings begin, what becomes of them, and who answers clicks; with a stand-in child."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
from annotation_desk import Desk, ManualRunner

from napari_scsam.core.errors import ProjectError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.jobs import CancelToken
from napari_scsam.core.settings import TrainSettings, TuneSettings
from napari_scsam.rounds import tuning
from napari_scsam.rounds.background_jobs import BackgroundJob, JobQueue, Timing
from napari_scsam.rounds.running_round import TrainingController
from napari_scsam.rounds.tuning import RunningTuning, TuningController

if TYPE_CHECKING:
    from pathlib import Path

    from napari_scsam.project import Project

CHILD = """
import hashlib, json, pathlib, sys, time
mode, folder = sys.argv[1], pathlib.Path(sys.argv[2])
if mode == "hang":
    time.sleep(600)
if mode == "fail":
    (folder / "events.jsonl").write_text(json.dumps({"event": "failed", "error": "No room."}))
    with (folder / "events.jsonl").open("a") as stream:
        stream.write(chr(10))
    sys.exit(1)
kept = mode == "keep"
files = {}
if kept:
    (folder / "sam_adapter").mkdir()
    (folder / "sam_adapter" / "weights").write_bytes(b"w")
    files = {"sam_adapter/weights": hashlib.sha256(b"w").hexdigest()}
reason = "first click 0.70 to 0.80" if kept else "not better, not used"
report = {"kept": kept, "reason": reason, "planes": 3, "files": files}
(folder / "report.json").write_text(json.dumps(report))
folder.rename(folder.with_suffix(""))
"""


class Bench:
    """A controller on a project, with a child that does as it is told."""

    def __init__(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        self.project, self.files, self.mode = project, ManualRunner(), "keep"
        self.told: list[tuple[Path | None, bool]] = []
        self.started: list[psutil.Process] = []
        self.jobs = JobQueue()
        monkeypatch.setattr(tuning, "start_child", self._start)
        self.controller = self.open()

    def open(self) -> TuningController:
        made = TuningController(
            self.project,
            self.files,
            lambda state: None,
            lambda *told: self.told.append(told),
            jobs=self.jobs,
        )
        self.files.work()
        return made

    def _start(self, module: str, folder: Path, *_: Any) -> subprocess.Popen[bytes]:
        assert module == "scsam_train.tuning"
        child = subprocess.Popen([sys.executable, "-c", CHILD, self.mode, str(folder)])
        self.started.append(psutil.Process(child.pid))
        return child

    def commit(self, *planes: int, empty: bool = False) -> None:
        image = self.project.images()[0]
        label = np.zeros(image.shape[1:], np.uint8)
        label[2:9, 3:9] = 0 if empty else 1
        for index in planes:
            self.project.commit(image.id, label, plane=Plane(0, index))
            self.controller.committed()
            self.files.work()

    def settle(self) -> None:
        """Wait for the child, and take in what it left."""
        end = time.monotonic() + 60
        while self.controller.state.running:
            assert time.monotonic() < end
            self.controller.tick()
            self.files.work()
            time.sleep(0.02)


@pytest.fixture
def bench(project: Project, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(project, monkeypatch)


def test_three_slices_begin_a_tuning_and_its_end_lets_it_answer_clicks(bench: Bench) -> None:
    assert bench.controller.state.text == tuning.WAITING
    bench.commit(0, 1)
    assert not bench.started
    bench.commit(2)
    assert len(bench.started) == 1 and bench.controller.state.running
    bench.settle()
    folder = bench.project.folder / "tuned" / "0001"
    assert bench.told[-1] == (folder, False)
    assert bench.controller.state.text == "Tuned on 3 slices: first click 0.70 to 0.80."
    assert [t.commits for t in bench.project.tunings()] == [3]


def test_empty_slices_begin_none_since_there_is_nothing_to_learn_from(bench: Bench) -> None:
    bench.commit(0, 1)
    bench.commit(2, 3, empty=True)
    assert not bench.started and not bench.controller.state.running
    bench.commit(3)
    assert len(bench.started) == 1
    bench.settle()


def test_while_it_runs_it_says_how_long_it_will_and_at_the_end_what_it_brought(
    bench: Bench,
) -> None:
    seen: list[tuning.TuningState] = []
    bench.controller._on_change = seen.append
    bench.commit(0, 1, 2)
    bench.controller.tick()
    bench.settle()
    left = [s for s in seen if "left" in s.text]
    assert left and left[0].text.startswith("Learning from your labels: about ")
    assert 0 <= left[0].fraction < 0.5
    said = [s.message for s in seen if s.message]
    assert said == [
        "Learning from your labels has ended. Tuned on 3 slices: first click 0.70 to 0.80."
    ]


def test_the_next_one_waits_for_further_commits(bench: Bench) -> None:
    bench.commit(0, 1, 2)
    bench.settle()
    bench.commit(3, 4, 0)
    assert len(bench.started) == 1
    bench.commit(1)  # corrected slices are commits, too
    assert len(bench.started) == 2
    bench.settle()
    assert bench.told[-1][0] == bench.project.folder / "tuned" / "0002"


def test_a_refused_one_says_so_and_is_not_used(bench: Bench) -> None:
    bench.mode = "refuse"
    bench.commit(0, 1, 2)
    bench.settle()
    assert bench.told[-1] == (None, False)
    assert bench.controller.state.text == "Tuned on 3 slices: not better, not used."


def test_a_failed_one_says_why_and_is_not_begun_anew_at_once(bench: Bench) -> None:
    bench.mode = "fail"
    bench.commit(0, 1, 2)
    bench.settle()
    assert bench.controller.state.text == "No room."
    bench.commit(3)
    assert len(bench.started) == 1


def a_round(jobs: JobQueue) -> None:
    jobs.ask(BackgroundJob("round", lambda: None))


def test_a_tuning_that_has_just_begun_makes_way_for_a_round_and_begins_anew(bench: Bench) -> None:
    bench.mode = "hang"
    bench.commit(0, 1, 2)
    a_round(bench.jobs)
    bench.files.work()
    assert not bench.started[0].is_running() and bench.jobs.running == "round"
    assert list((bench.project.folder / "tuned").iterdir()) == []
    waits = "Learning from your labels starts when the round has finished."
    assert not bench.controller.state.running and bench.controller.state.text == waits
    bench.commit(3, 4, 0, 1)
    assert len(bench.started) == 1  # never beside a round
    bench.jobs.ended("round")  # and no further commit is needed
    bench.files.work()
    assert len(bench.started) == 2 and bench.controller.state.text == tuning.LEARNING
    bench.controller.close()
    assert not bench.started[1].is_running()


def test_a_tuning_that_is_more_than_half_done_is_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.mode = "hang"
    bench.commit(0, 1, 2)
    monkeypatch.setattr(RunningTuning, "timing", Timing(45.0, 20.0))
    a_round(bench.jobs)
    assert bench.started[0].is_running()
    said = "The round starts when learning from your labels has finished: about 20 s."
    assert bench.jobs.sentence("round") == said
    bench.started[0].kill()
    bench.settle()
    assert bench.jobs.running == "round" and not bench.jobs.waits("tuning")


def test_a_commit_beside_a_round_has_its_tuning_after_it(bench: Bench) -> None:
    a_round(bench.jobs)
    bench.commit(0, 1)
    assert bench.controller.state.text == tuning.WAITING  # not due: nothing waits
    bench.commit(2)
    assert not bench.started and bench.controller.state.text.endswith("the round has finished.")
    bench.controller.set_use(False)
    bench.files.work()
    assert not bench.jobs.waits("tuning") and bench.controller.state.text == tuning.OFF
    bench.controller.set_use(True)
    bench.commit(3)
    bench.jobs.ended("round")
    bench.files.work()
    assert len(bench.started) == 1
    bench.settle()
    assert bench.controller.state.text.startswith("Tuned on 3 slices")


def test_a_round_that_is_asked_for_while_a_tuning_begins_waits_for_that_only(bench: Bench) -> None:
    bench.commit(0, 1)
    bench.mode = "hang"
    image = bench.project.images()[0]
    bench.project.commit(image.id, np.ones(image.shape[1:], np.uint8), plane=Plane(0, 2))
    bench.controller.committed()
    job, due, *_ = bench.files.queue.pop(0)
    due(job.function(lambda _: None, CancelToken()))  # due: its start is queued, not yet done
    a_round(bench.jobs)
    assert bench.jobs.running == "tuning" and bench.jobs.waits("round")
    bench.files.work()
    assert bench.jobs.running == "round" and bench.jobs.waits("tuning")
    assert not bench.started[0].is_running()


def test_a_tuning_that_ends_before_it_can_make_way_lets_the_round_begin(bench: Bench) -> None:
    bench.commit(0, 1)
    image = bench.project.images()[0]
    bench.project.commit(image.id, np.ones(image.shape[1:], np.uint8), plane=Plane(0, 2))
    bench.controller.committed()
    for _ in range(2):  # it is due, and it is started
        job, done, *_ = bench.files.queue.pop(0)
        result = job.function(lambda _: None, CancelToken())
        if isinstance(result, RunningTuning):
            a_round(bench.jobs)
            while result.alive:
                time.sleep(0.02)
        done(result)
    assert bench.jobs.waits("round") and bench.controller.state.running  # so it is looked at
    bench.settle()
    assert bench.jobs.running == "round" and not bench.jobs.waits("tuning")
    assert [t.number for t in bench.project.tunings()] == [1]


def test_one_that_a_killed_window_left_at_work_is_taken_over(bench: Bench) -> None:
    bench.mode = "hang"
    bench.commit(0, 1, 2)
    bench.jobs = JobQueue()
    again = bench.open()
    assert again.state.running and bench.jobs.running == "tuning"
    with pytest.raises(ProjectError, match="Learning from your labels is still running in this"):
        TrainingController(bench.project).start(TrainSettings())
    again.cancel()
    bench.files.work()
    bench.controller.close()
    assert not bench.started[0].is_running() and bench.jobs.running is None
    assert list((bench.project.folder / "tuned").iterdir()) == []


def test_switched_off_the_shipped_model_answers_also_after_a_restart(bench: Bench) -> None:
    bench.commit(0, 1, 2)
    bench.settle()
    bench.controller.set_use(False)
    bench.files.work()
    assert bench.told[-1] == (None, True)
    assert bench.controller.state.text == tuning.OFF
    again = bench.open()
    assert not again.state.use and bench.told[-1] == (None, False)
    again.set_use(True)
    bench.files.work()
    assert bench.told[-1] == (bench.project.folder / "tuned" / "0001", True)


def test_in_the_foreground_it_returns_its_record_or_one_line(bench: Bench) -> None:
    with pytest.raises(ProjectError, match="commit a few slices first"):
        RunningTuning.start(bench.project, TuneSettings())
    image = bench.project.images()[0]
    bench.project.commit(image.id, np.ones(image.shape, np.uint8))
    record = RunningTuning.start(bench.project, TuneSettings()).run(lambda event: None)
    assert record is not None and record.kept and record.number == 1
    bench.mode = "fail"
    with pytest.raises(ProjectError, match=r"No room\."):
        RunningTuning.start(bench.project, TuneSettings()).run(lambda event: None)


def test_questions_name_the_tuning_from_the_next_click_on(desk: Desk, tmp_path: Path) -> None:
    desk.annotation.editor.add_point(5, 5)
    desk.settle()
    asked = len(desk.segmenter.asked)
    desk.annotation.use_tuned(tmp_path)
    desk.settle()
    assert len(desk.segmenter.asked) == asked  # the outline on show stays
    desk.annotation.editor.add_point(9, 9)
    desk.settle()
    assert desk.segmenter.asked[-1].tuned_folder == tmp_path
    desk.annotation.use_tuned(None, redraw=True)
    desk.settle()
    assert len(desk.segmenter.asked) == asked + 2
    assert desk.segmenter.asked[-1].tuned_folder is None
