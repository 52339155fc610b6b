"""Ranking from the window: settings, cost, progress, and its place among the background jobs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import Cancelled, InputError, ScsamError
from napari_scsam.core.jobs import Job, Progress
from napari_scsam.rounds.background_jobs import BackgroundJob, JobQueue
from napari_scsam.workflows.ranking import as_strategy
from napari_scsam.workflows.ranking_child import ranking_child
from napari_scsam.workflows.ranking_cost import RankingCost, ranking_cost

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_scsam.core.job_runner import JobRunner
    from napari_scsam.core.settings import RankStrategy
    from napari_scsam.project import Project, RoundRecord
    from napari_scsam.workflows.quiet_child import QuietChild

# Kind of the journal's event that keeps the choices.
KIND = "ranking"
# Unreadable images that a message names. Arbitrary.
MOST_NAMED = 3


@dataclass(frozen=True)
class RankingState:
    """What the dock shows of the ranking.

    Attributes
    ----------
    strategy : str
        The chosen one.
    after_rounds : bool
        Whether images are ranked again after each round.
    running, waiting : bool
        Whether a ranking is running, or is queued behind another background job.
    fraction : float
        Progress, 0..1.
    text : str
        Activity and remaining time, or the cost of a ranking.
    message, error : str
        For the status line.
    """

    strategy: RankStrategy = "hybrid"
    after_rounds: bool = True
    running: bool = False
    waiting: bool = False
    fraction: float = 0.0
    text: str = ""
    message: str = ""
    error: str = ""


class RankingController:
    """Ranks the images of a project in a child process, when no other background job runs.

    Parameters
    ----------
    project : Project
    files : JobRunner
        Writes to the project.
    runners : pair of JobRunner
        The first waits for the child process, the second estimates the cost. Neither is shared
        with what the user waits for.
    jobs : JobQueue
        Shared by all background jobs of the project.
    on_change : callable
        Called with each new RankingState.
    on_ranked : callable
        Called when there is a new queue.
    """

    def __init__(
        self,
        project: Project,
        files: JobRunner,
        runners: tuple[JobRunner, JobRunner],
        jobs: JobQueue,
        on_change: Callable[[RankingState], None],
        on_ranked: Callable[[], None],
    ) -> None:
        self._project, self._files, (self._runner, self._reader) = project, files, runners
        self._jobs, self._on_change, self._on_ranked = jobs, on_change, on_ranked
        self._child: QuietChild | None = None
        self._cancel: Callable[[], None] = lambda: None
        self._withdrawn = False
        self._rounds: tuple[tuple[int, bool], ...] | None = None
        self._state = _noted(project)

    @property
    def state(self) -> RankingState:
        """Current state."""
        return self._state

    def begin(self) -> None:
        """Show the choices, and what a ranking would cost."""
        self._show()
        self._survey()

    def start(self) -> None:
        """Rank now, or when the job before it has ended."""
        if self._state.running:
            return
        self._withdrawn = False
        self._show(running=True, fraction=0.0, text="Waiting …")
        self._jobs.ask(BackgroundJob("ranking", self._begin, self._make_way))
        self.tick()

    def cancel(self) -> None:
        """Stop ranking; the list stays as it is, and what was measured is kept."""
        self._withdrawn = True
        if self._jobs.waits("ranking"):
            self._jobs.withdraw("ranking")
            self._end(message="The images are not ranked; nothing changed.")
        elif self._state.running:
            self._show(text="Cancelling …")
            self._stop()

    def tick(self) -> None:
        """Show what a queued ranking waits for."""
        if self._jobs.waits("ranking"):
            self._show(waiting=True, text=self._jobs.sentence("ranking"))

    def set_strategy(self, name: str) -> None:
        """Choose how to rank."""
        if name != self._state.strategy:
            self._show(strategy=as_strategy(name))
            self._note()
            self._survey()

    def set_after_rounds(self, on: bool) -> None:
        """Choose whether images are ranked again after each round."""
        if on != self._state.after_rounds:
            self._show(after_rounds=on)
            self._note()

    def rounds_changed(self, rounds: Sequence[RoundRecord]) -> None:
        """Rank again if a round has ended, or another one was made active, unless switched off."""
        before = self._rounds
        self._rounds = tuple((record.number, record.active) for record in rounds)
        if before is None or before == self._rounds:
            return
        if self._state.after_rounds:
            self.start()
        elif not self._state.running:
            self._survey()

    def close(self) -> None:
        """End the ranking with the window."""
        self._withdrawn = True
        self._cancel()
        if self._child is not None:
            self._child.kill()

    # ---------------------------------------------------------------- one ranking

    def _begin(self) -> None:
        child = self._child = ranking_child(self._project.folder, self._state.strategy)
        self._show(running=True, waiting=False, fraction=0.0, text="Starting …")
        job = Job("Ranking", child.run)
        token = self._runner.run(job, self._ranked, self._failed, self._progress)
        self._cancel = token.cancel

    def _make_way(self) -> None:
        """Stop for another job; it goes on afterwards with what is not measured yet."""
        self._show(waiting=True)
        self._stop()

    def _stop(self) -> None:
        self._cancel()
        if self._child is not None:
            self._child.stop()

    def _progress(self, progress: Progress) -> None:
        if not self._withdrawn:
            self._show(fraction=progress.fraction, text=f"{progress.message}.")

    def _ranked(self, event: dict[str, Any]) -> None:
        self._end(message=_summary(event), fraction=1.0)
        self._jobs.ended("ranking")
        self._on_ranked()

    def _failed(self, error: Exception) -> None:
        cancelled = isinstance(error, Cancelled)
        if cancelled and not self._withdrawn:
            self._jobs.stopped("ranking")
            self.tick()
            return
        if cancelled:
            self._end(message="Ranking was cancelled; the list stays as it was.")
        else:
            self._end(error=str(error))
        self._jobs.ended("ranking")
        if not isinstance(error, ScsamError):
            raise error

    def _end(self, **changes: Any) -> None:
        self._child = None
        self._show(**{"running": False, "waiting": False, "fraction": 0.0, "text": "", **changes})
        self._survey()

    # ---------------------------------------------------------------- choices and cost

    def _note(self) -> None:
        if self._project.read_only:
            return
        state = self._state
        payload = {"strategy": state.strategy, "after_rounds": state.after_rounds}
        job = Job("Noting", lambda _p, _c: self._project.record(KIND, payload))
        self._files.run(job, lambda _: None, self._not_done)

    def _survey(self) -> None:
        """Count what a ranking would have to read, off the main thread."""
        strategy = self._state.strategy

        def found(cost: RankingCost) -> None:
            if not self._state.running and strategy == self._state.strategy:
                self._show(text=cost.text)

        job = Job("Counting images", lambda _p, _c: ranking_cost(self._project, strategy))
        self._reader.run(job, found, self._no_cost)

    def _no_cost(self, error: Exception) -> None:
        """Show why the strategy can't be used now."""
        if not self._state.running and not isinstance(error, Cancelled):
            self._show(text=str(error))
        if not isinstance(error, ScsamError):
            raise error

    def _not_done(self, error: Exception) -> None:
        self._show(error="" if isinstance(error, Cancelled) else str(error))
        if not isinstance(error, ScsamError):
            raise error

    def _show(self, **changes: Any) -> None:
        self._state = replace(self._state, **{"message": "", "error": "", **changes})
        self._on_change(self._state)


def _noted(project: Project) -> RankingState:
    """The choices of the last session."""
    events = project.events(KIND)
    payload = events[-1].payload if events else {}
    try:
        strategy = as_strategy(str(payload.get("strategy", "hybrid")))
    except InputError:  # of a newer version
        strategy = "hybrid"
    return RankingState(strategy, payload.get("after_rounds") is not False)


def _summary(event: dict[str, Any]) -> str:
    """What a ranking brought, in one line."""
    count, unreadable = int(event["images"]), [str(name) for name in event["unreadable"]]
    words = [f"Ranked {count:,} image{'' if count == 1 else 's'}."]
    if unreadable:
        more = len(unreadable) - MOST_NAMED
        names = ", ".join(unreadable[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        words.append(f"Not readable, and passed over: {names}.")
    return " ".join([*words, *(str(note) for note in event["notes"])])
