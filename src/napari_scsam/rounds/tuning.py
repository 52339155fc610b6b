"""Background tuning of SAM's decoder on committed labels: start, monitor, adopt."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import Cancelled, ProjectError, ScsamError
from napari_scsam.core.jobs import Job
from napari_scsam.core.project_layout import TUNED_FOLDER
from napari_scsam.core.round_contract import TUNING_MODULE, EventKind
from napari_scsam.core.settings import TuneSettings
from napari_scsam.project.numbered import unfinished
from napari_scsam.project.process import end_process, record_process, training_process
from napari_scsam.rounds.assumed_costs import STARTING_S
from napari_scsam.rounds.background_jobs import (
    BackgroundJob,
    JobQueue,
    Timing,
    Turn,
    refuse_beside_another,
)
from napari_scsam.rounds.child_process import ChildEvents, Event, start_child
from napari_scsam.rounds.cost_estimate import rounded_time
from napari_scsam.rounds.outlined_slices import has_outlined_slices

if TYPE_CHECKING:
    import subprocess

    from napari_scsam.core.job_runner import JobRunner
    from napari_scsam.project import Project, TunedRecord

# Outlined slices before the first tuning, and further commits before the next. Arbitrary.
FIRST = 3
AGAIN = 4  # arbitrary
# Interval of polling, and time limit for a killed process to end; as for a round.
POLL_S = 0.2
KILLED_S = 5.0  # arbitrary
SWITCHED = "use_tuned"
# Otherwise glibc returns and reallocates the memory of every step, which took a quarter of the
# time. 4 GB is arbitrary: more than a tuning uses.
ENVIRONMENT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "4000000000"}

WAITING = f"Begins after {FIRST} committed slices."
OFF = "Off: clicks use the model as shipped."
LEARNING = "Learning from your labels …"

OnTuned = Callable[[Path | None, bool], None]


class RunningTuning:
    """One tuning whose child process is running or has just ended.

    Parameters
    ----------
    project : Project
        Open for writing.
    folder : Path
        ``tuned/NNNN.partial``.
    child : subprocess.Popen, optional
        The child, if this process started it.
    settings : TuneSettings, optional
    """

    def __init__(
        self,
        project: Project,
        folder: Path,
        child: subprocess.Popen[bytes] | None = None,
        settings: TuneSettings | None = None,
    ) -> None:
        self._project, self._child, self._folder = project, child, folder
        self._began = time.monotonic()
        self._takes_s = STARTING_S + (settings or TuneSettings()).seconds
        self._final = folder.with_suffix("")
        self._events = ChildEvents(folder, self._final)
        self._cancelled = False

    @classmethod
    def start(cls, project: Project, settings: TuneSettings) -> RunningTuning:
        """Start a tuning on the committed labels.

        Raises
        ------
        ProjectError
            If nothing is committed, or a background job of the project is running.
        """
        refuse_beside_another(project.folder)
        folder = project.begin_tuning(settings)
        log = folder.with_suffix(".log")
        child = start_child(TUNING_MODULE, folder, log, project.folder, ENVIRONMENT)
        record_process(folder, child.pid)
        return cls(project, folder, child, settings)

    @classmethod
    def find(cls, project: Project) -> RunningTuning | None:
        """Return a tuning still running from a terminal or from a killed window, if any."""
        for folder in unfinished(project.folder / TUNED_FOLDER):
            if training_process(folder) is not None:
                return cls(project, folder)
        return None

    @property
    def alive(self) -> bool:
        """Whether the child is running."""
        if self._child is not None:
            return self._child.poll() is None
        return training_process(self._folder) is not None

    @property
    def timing(self) -> Timing:
        """Elapsed and maximum remaining time; for a tuning that was found, from then on."""
        spent = time.monotonic() - self._began
        return Timing(spent, max(0.0, self._takes_s - spent))

    def poll(self) -> list[Event]:
        """Return the child's events since the last call, oldest first."""
        return self._events.poll()

    def cancel(self) -> None:
        """Kill the child at once and remove its files, unless it has just finished."""
        self._cancelled = True
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        else:
            end_process(self._folder, KILLED_S)
        shutil.rmtree(self._folder, ignore_errors=True)
        if not self._final.is_dir():
            self._folder.with_suffix(".log").unlink(missing_ok=True)

    def finish(self) -> TunedRecord | None:
        """Adopt the ended tuning into the project.

        Returns
        -------
        TunedRecord or None
            Kept or not; None if it was cancelled.

        Raises
        ------
        ProjectError
            If the child failed or was killed: one line with the reason.
        """
        if self._child is not None:
            self._child.wait()
        self.poll()
        self._project.adopt_tunings()
        found = [t for t in self._project.tunings() if t.folder == self._final]
        if found:
            return found[0]
        if self._cancelled:
            return None
        if self._events.last.get("event") == EventKind.FAILED:
            raise ProjectError(str(self._events.last["error"]))
        code = "" if self._child is None else f" (exit code {self._child.returncode})"
        raise ProjectError(
            f"The tuning process ended unexpectedly{code}. "
            f"Clicks stay as they were. Its log: {self._folder.with_suffix('.log')}"
        )

    def run(self, on_event: Callable[[Event], None]) -> TunedRecord | None:
        """Wait for the tuning, passing on its events; blocks. Returns `finish()`."""
        while self.alive:
            for event in self.poll():
                on_event(event)
            time.sleep(POLL_S)
        return self.finish()


@dataclass(frozen=True)
class TuningState:
    """State of tuning, as shown in the dock.

    Attributes
    ----------
    use : bool
        Whether clicks may use a tuned SAM.
    running : bool
        Whether a tuning is running.
    fraction : float
        Share of its time that has passed, 0..1.
    text : str
        Result of the last tuning, or current activity.
    message : str
        Result of a tuning that has just ended, for the status line.
    """

    use: bool = True
    running: bool = False
    fraction: float = 0.0
    text: str = WAITING
    message: str = ""


class TuningController:
    """Starts tunings after commits, and chooses the SAM that decodes clicks.

    Parameters
    ----------
    project : Project
    files : JobRunner
        Runner for reading and writing the project.
    on_change : callable
        Called with each new TuningState.
    on_tuned : callable
        Called with the folder of the tuning whose SAM decodes clicks, or None for the shipped
        model, and with whether the current outline should be updated.
    settings : TuneSettings, optional
    jobs : JobQueue, optional
        Queue shared by all background jobs of the project; default: an own one.
    """

    def __init__(
        self,
        project: Project,
        files: JobRunner,
        on_change: Callable[[TuningState], None],
        on_tuned: OnTuned,
        settings: TuneSettings | None = None,
        jobs: JobQueue | None = None,
    ) -> None:
        self._project, self._files = project, files
        self._on_change, self._on_tuned = on_change, on_tuned
        self._settings = settings or TuneSettings()
        running = None if project.read_only else RunningTuning.find(project)
        self._requested = running is not None  # from a due commit to the end of its tuning
        self._preempted = False
        self._tried_at = 0
        job = BackgroundJob("tuning", self._begin, self._make_way, self._timing)
        self._turn = Turn(job, jobs or JobQueue(), files, running)
        self._turn.adopt()
        switched = project.events(SWITCHED)
        self._state = TuningState(use=not switched or switched[-1].payload.get("on") is not False)
        self._refresh()

    @property
    def state(self) -> TuningState:
        """Current state."""
        return self._state

    def committed(self) -> None:
        """Request a tuning, if enough was committed since the last one."""
        if self._project.read_only or self._requested or not self._state.use:
            return

        def found(due: bool) -> None:
            self._requested = due and self._state.use
            if self._requested:
                self._turn.ask()
            if self._turn.waits:
                self._refresh()

        self._requested = True
        job = Job("Counting commits", lambda _progress, _cancel: self._is_due())
        self._files.run(job, found, self._ended_with_error)

    def _begin(self) -> None:
        def started(running: RunningTuning) -> None:
            self._turn.busy, self._turn.running = False, running
            self._show(running=True, fraction=0.0, text=LEARNING)
            if not self._state.use:  # switched off meanwhile
                self.cancel()
            elif self._preempted:  # preempted meanwhile
                self._make_way()

        self._preempted = False
        self._turn.work("Starting a tuning", self._start, started, self._ended_with_error)

    def _make_way(self) -> None:
        """Stop the running tuning for another job; it is restarted afterwards."""
        running = self._turn.running
        if self._turn.busy or running is None or not running.alive:
            self._preempted = True  # it is just starting, or ending by itself
            return
        self._turn.running = None
        running.cancel()
        self._turn.stopped()
        self._refresh()

    def _timing(self) -> Timing | None:
        return None if self._turn.running is None else self._turn.running.timing

    def tick(self) -> None:
        """Show how far the tuning is, or adopt it when it has ended; cheap if none is running."""
        running = self._turn.running
        if running is None or self._turn.busy:
            return
        if running.alive:
            timing = running.timing
            fraction = timing.spent_s / max(timing.spent_s + timing.left_s, 1.0)
            text = f"{LEARNING[:-2]}: about {rounded_time(timing.left_s)} left"
            self._show(fraction=fraction, text=text)
            return
        self._turn.work("Adopting a tuning", running.finish, self._finished, self._ended_with_error)

    def set_use(self, use: bool) -> None:
        """Let clicks use the tuned SAM, or exactly the shipped model."""
        if use == self._state.use:
            return
        if not use:
            self.cancel()
        self._show(use=use)
        if not self._project.read_only:
            note = Job("Noting", lambda _p, _c: self._project.record(SWITCHED, {"on": use}))
            self._files.run(note, lambda _: None, self._failed)
        self._refresh(redraw=True)

    def round_changed(self) -> None:
        """Choose the SAM for clicks again: a round may be newer than the last tuning."""
        self._refresh(redraw=True)

    def cancel(self) -> None:
        """End the running or queued tuning, and remove its files."""
        self._turn.withdraw()
        running, self._turn.running = self._turn.running, None
        if running is not None:
            running.cancel()
            self._refresh()
        if not self._turn.busy:
            self._done()

    def close(self) -> None:
        """End the running tuning with the window."""
        running, self._turn.running = self._turn.running, None
        if running is not None:
            running.cancel()

    def _is_due(self) -> bool:
        project = self._project
        planes = sum(len(found) for found in project.all_committed_planes().values())
        if planes < FIRST:
            return False
        last = max([self._tried_at, *(t.commits for t in project.tunings())])
        if last and project.commit_count() - last < AGAIN:
            return False
        return has_outlined_slices(project, FIRST)  # empty slices are committed, too

    def _start(self) -> RunningTuning:
        self._tried_at = self._project.commit_count()
        return RunningTuning.start(self._project, self._settings)

    def _done(self) -> None:
        """Mark that no tuning is running or queued."""
        self._requested = False
        self._turn.ended()

    def _finished(self, record: TunedRecord | None) -> None:
        self._turn.running = None
        self._turn.busy = False
        if record is not None:
            self._show(message=f"Learning from your labels has ended. {record.reason}")
        self._refresh()
        self._done()

    def _ended_with_error(self, error: Exception) -> None:
        self._turn.running = None
        self._turn.busy = False
        self._done()
        self._failed(error)

    def _refresh(self, *, redraw: bool = False) -> None:
        """Read which SAM decodes clicks and the result of the last tuning, and show them."""

        def read(_progress: Any, _cancel: Any) -> tuple[Path | None, str]:
            active, made = self._project.active_tuning(), self._project.tunings()
            last = active or next((t for t in reversed(made) if not t.kept), None)
            return None if active is None else active.folder, last.reason if last else WAITING

        def found(result: tuple[Path | None, str]) -> None:
            folder, text = result
            use, running = self._state.use, self._turn.running is not None
            text = (self._turn.sentence or text) if use else OFF
            self._show(running=running, text=LEARNING if running else text)
            self._on_tuned(folder if use else None, redraw)

        self._files.run(Job("Reading the tunings", read), found, self._failed)

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, Cancelled):
            self._show(running=self._turn.running is not None, text=str(error))
        if not isinstance(error, ScsamError):
            raise error

    def _show(self, **changes: Any) -> None:
        self._state = replace(self._state, **{"message": "", **changes})
        self._on_change(self._state)
