"""Tunings, rounds and rankings beside a simulated annotator: ready when they would really be."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import ProjectError
from napari_scsam.core.jobs import CancelToken
from napari_scsam.core.settings import TrainSettings, TuneSettings
from napari_scsam.rounds.running_round import RunningRound, TrainingController
from napari_scsam.rounds.tuning import AGAIN, FIRST, RunningTuning
from napari_scsam.workflows.ranking_child import ranking_child

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_scsam.annotation.controller import AnnotationController
    from napari_scsam.project import Project

# Interval of polling a child process. Arbitrary.
POLL_S = 0.2


@dataclass
class Pending:
    """A job that has ended here, but not yet on the annotator's clock.

    Attributes
    ----------
    adopt : callable
        Has what it made used.
    due : float
        When it ends, in seconds of that clock.
    """

    adopt: Callable[[], None]
    due: float


@dataclass(frozen=True)
class LearningOptions:
    """What is learned and ranked.

    Attributes
    ----------
    rounds : mapping of int to int
        Pictures of a round's budget, by the number of committed slices that start it.
    seed : int
    ranks : bool
        Whether the images are ranked, at first and after each round.
    strategy : str
        Of the ranking.
    """

    rounds: Mapping[int, int]
    seed: int
    ranks: bool = False
    strategy: str = "hybrid"


class Learning:
    """Trains as the dock does: one job at a time, on what is committed when it starts.

    A job is computed at once. What it made is used from the time on at which it would be ready:
    when the annotator's clock has advanced by the processor time of a round or a ranking, or by
    the time that a tuning took, which has a time limit. Of the jobs that are due when one has
    ended, a round goes first, and what has waited goes before another tuning.

    Parameters
    ----------
    project : Project
    annotation : AnnotationController
    options : LearningOptions
    done : sequence of dict
        What was logged before the run was interrupted.
    log : callable
        Called with what happened.
    """

    def __init__(
        self,
        project: Project,
        annotation: AnnotationController,
        options: LearningOptions,
        done: Sequence[Mapping[str, Any]],
        log: Callable[[dict[str, Any]], None],
    ) -> None:
        self._project, self._annotation, self._log = project, annotation, log
        self._options = options
        begun = [line["commits"] for line in done if line.get("job") == "round"]
        tuned = [line["commits"] for line in done if line.get("job") == "tuning"]
        # Of a round that was asked for twice while it waited, only the last is trained.
        self._rounds = {at: n for at, n in options.rounds.items() if at > max(begun, default=0)}
        self._tuned_at = max(tuned, default=0)
        self._ranks = options.ranks
        self._training = TrainingController(project)
        self._pending: Pending | None = None

    def step(self, clock: float, commits: int) -> None:
        """Use what is ready, and start what is due."""
        if self._pending is not None and clock >= self._pending.due:
            pending, self._pending = self._pending, None
            pending.adopt()
        if self._pending is not None:
            return
        due = [at for at in self._rounds if commits >= at]
        if due:
            pictures = self._rounds[max(due)]
            self._rounds = {at: n for at, n in self._rounds.items() if at > max(due)}
            self._train("round", lambda: self._round(pictures), clock, max(due))
        elif self._ranks:
            self._ranks = False
            self._rank(clock, commits)
        elif commits >= FIRST and (not self._tuned_at or commits - self._tuned_at >= AGAIN):
            self._tuned_at = commits
            self._train("tuning", self._tuning, clock, commits)

    def use_active(self) -> None:
        """Use the active round and tuning of the project."""
        self._annotation.round_changed()
        tuned = self._project.active_tuning()
        self._annotation.use_tuned(None if tuned is None else tuned.folder, redraw=True)

    def _round(self, pictures: int) -> RunningRound:
        settings = TrainSettings(pictures=pictures, seed=self._options.seed, device="cpu")
        return self._training.start(settings)

    def _tuning(self) -> RunningTuning:
        settings = TuneSettings(seed=self._options.seed, device="cpu")
        return RunningTuning.start(self._project, settings)

    def _train(
        self,
        kind: str,
        start: Callable[[], RunningRound | RunningTuning],
        clock: float,
        commits: int,
    ) -> None:
        before, began = _of_children(), time.perf_counter()
        job = start()
        while job.alive:
            time.sleep(POLL_S)
        wall = time.perf_counter() - began
        took = _of_children() - before if kind == "round" else wall
        self._pending = Pending(lambda: self._adopt(job, kind), clock + took)
        self._note(kind, clock, commits, took, wall)

    def _rank(self, clock: float, commits: int) -> None:
        before, began = _of_children(), time.perf_counter()
        child = ranking_child(self._project.folder, self._options.strategy)
        child.run(lambda _: None, CancelToken())
        took = _of_children() - before
        order = self._annotation.navigation.queue.order
        self._pending = Pending(order.refresh, clock + took)
        self._note("ranking", clock, commits, took, time.perf_counter() - began)

    def _note(self, kind: str, clock: float, commits: int, took: float, wall: float) -> None:
        self._log(
            {
                "job": kind,
                "commits": commits,
                "clock": round(clock, 1),
                "took": round(took, 1),
                "took_wall": round(wall, 1),
                "load": os.getloadavg()[0],
            }
        )

    def _adopt(self, job: RunningRound | RunningTuning, kind: str) -> None:
        try:
            record = job.finish()
        except ProjectError as error:
            self._log({"failed": str(error)})
            return
        if record is not None:
            self._log({"ready": record.reason})
        self.use_active()
        # As in the dock: once per round.
        self._ranks = self._options.ranks and (self._ranks or kind == "round")


def _of_children() -> float:
    """Return the processor seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
