"""SAM learns from the person: tunings of its decoder in the background, started and taken in."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import Cancelled, ProjectError, ScsamError
from napari_scsam.core.job_runner import JobRunner
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
    refuse_beside_another,
)
from napari_scsam.rounds.child_process import ChildEvents, Event, start_child

if TYPE_CHECKING:
    from napari_scsam.project import Project, TunedRecord

# The first tuning comes after so many committed slices, the next after so many further commits.
FIRST = 3
AGAIN = 4
POLL_S = 0.2
# A killed process is gone within this; as of a round.
KILLED_S = 5.0
SWITCHED = "use_tuned"
# glibc otherwise gives the memory of every step back and takes it anew: a quarter of the time.
ENVIRONMENT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "4000000000"}

WAITING = f"Begins after {FIRST} committed slices."
OFF = "Off: clicks get the model as shipped."
LEARNING = "Learning from your labels …"

OnTuned = Callable[[Path | None, bool], None]


class RunningTuning:
    """One tuning whose child process is at work, or has just ended.

    Parameters
    ----------
    project : Project
        Open for writing.
    folder : Path
        ``tuned/NNNN.partial``.
    child : subprocess.Popen, optional
        The child, when this process started it.
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
        """Begin a tuning on what is committed.

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
        """One that a terminal or a window left at work when it was killed."""
        for folder in unfinished(project.folder / TUNED_FOLDER):
            if training_process(folder) is not None:
                return cls(project, folder)
        return None

    @property
    def alive(self) -> bool:
        """Whether the child still works."""
        if self._child is not None:
            return self._child.poll() is None
        return training_process(self._folder) is not None

    @property
    def timing(self) -> Timing:
        """What it has taken, and will take at most; one that was found counts from then on."""
        spent = time.monotonic() - self._began
        return Timing(spent, max(0.0, self._takes_s - spent))

    def poll(self) -> list[Event]:
        """Events that the child has written since the last call, oldest first."""
        return self._events.poll()

    def cancel(self) -> None:
        """End the child at once and remove what it left, unless it has just finished."""
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
        """Take the ended tuning into the project.

        Returns
        -------
        TunedRecord or None
            Kept or not; None when it was cancelled.

        Raises
        ------
        ProjectError
            When the child failed or was killed: one line with the reason.
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
        """Wait for the tuning, handing on its events; blocks. Returns `finish()`."""
        while self.alive:
            for event in self.poll():
                on_event(event)
            time.sleep(POLL_S)
        return self.finish()


@dataclass(frozen=True)
class TuningState:
    """What the dock shows of tuning.

    Attributes
    ----------
    use : bool
        Whether clicks may be answered by what was tuned.
    running : bool
        Whether a tuning is at work.
    text : str
        What the last one brought, or what is being done.
    """

    use: bool = True
    running: bool = False
    text: str = WAITING


class TuningController:
    """Watches commits, has SAM tuned on them now and then, and says who answers clicks.

    Parameters
    ----------
    project : Project
    files : JobRunner
        Where the project is read and written.
    on_change : callable
        Takes each new TuningState.
    on_tuned : callable
        Takes the folder of the tuning that answers clicks from now on, or None for the model
        as shipped, and whether what is on show should be drawn again.
    settings : TuneSettings, optional
    jobs : JobQueue, optional
        Shared by all background jobs of the project; one of its own by default.
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
        self._running = None if project.read_only else RunningTuning.find(project)
        self._asked = self._running is not None  # from a due commit to the end of its tuning
        self._busy = self._leaves = False
        self._tried_at = 0
        self._jobs = jobs or JobQueue()
        self._job = BackgroundJob("tuning", self._begin, self._make_way, self._timing)
        if self._running is not None:
            self._jobs.adopt(self._job)
        switched = project.events(SWITCHED)
        self._state = TuningState(use=not switched or switched[-1].payload.get("on") is not False)
        self._look()

    @property
    def state(self) -> TuningState:
        """What is shown now."""
        return self._state

    def committed(self) -> None:
        """Ask for a tuning, if enough was committed since the last."""
        if self._project.read_only or self._asked or not self._state.use:
            return

        def found(due: bool) -> None:
            self._asked = due and self._state.use
            if self._asked:
                self._jobs.ask(self._job)
            if self._jobs.waits("tuning"):
                self._look()

        self._asked = True
        job = Job("Counting commits", lambda _progress, _cancel: self._is_due())
        self._files.run(job, found, self._ended_badly)

    def _begin(self) -> None:
        def started(running: RunningTuning) -> None:
            self._busy, self._running = False, running
            self._show(running=True, text=LEARNING)
            if not self._state.use:  # switched off meanwhile
                self.cancel()
            elif self._leaves:  # as it was asked meanwhile
                self._make_way()

        self._busy, self._leaves = True, False
        job = Job("Starting to learn", lambda _progress, _cancel: self._start())
        self._files.run(job, started, self._ended_badly)

    def _make_way(self) -> None:
        """End the running tuning for another job; it is begun anew after that."""
        running = self._running
        if self._busy or running is None or not running.alive:
            self._leaves = True  # it is just beginning, or ending by itself
            return
        self._running = None
        running.cancel()
        self._jobs.stopped("tuning")
        self._look()

    def _timing(self) -> Timing | None:
        return None if self._running is None else self._running.timing

    def tick(self) -> None:
        """Take in the tuning once it has ended; cheap while none runs."""
        running = self._running
        if running is None or self._busy or running.alive:
            return
        self._busy = True
        job = Job("Taking in what was learned", lambda _progress, _cancel: running.finish())
        self._files.run(job, self._finished, self._ended_badly)

    def set_use(self, use: bool) -> None:
        """Let clicks be answered by what was tuned, or by the model as shipped, exactly."""
        if use == self._state.use:
            return
        if not use:
            self.cancel()
        self._show(use=use)
        if not self._project.read_only:
            note = Job("Noting", lambda _p, _c: self._project.record(SWITCHED, {"on": use}))
            self._files.run(note, lambda _: None, self._failed)
        self._look(redraw=True)

    def round_changed(self) -> None:
        """Find out anew who answers clicks: a round may be newer than the last tuning."""
        self._look(redraw=True)

    def cancel(self) -> None:
        """End the running tuning, or the one that waits; nothing of it is left."""
        self._jobs.withdraw("tuning")
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            self._look()
        if not self._busy:
            self._done()

    def close(self) -> None:
        """End the running tuning with the window."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()

    def _is_due(self) -> bool:
        project = self._project
        planes = sum(len(found) for found in project.all_committed_planes().values())
        if planes < FIRST:
            return False
        last = max([self._tried_at, *(t.commits for t in project.tunings())])
        return not last or project.commit_count() - last >= AGAIN

    def _start(self) -> RunningTuning:
        self._tried_at = self._project.commit_count()
        return RunningTuning.start(self._project, self._settings)

    def _done(self) -> None:
        """Say that no tuning runs or waits any more."""
        self._asked = False
        self._jobs.ended("tuning")

    def _finished(self, record: TunedRecord | None) -> None:
        self._running = None
        self._busy = False
        self._look()
        self._done()

    def _ended_badly(self, error: Exception) -> None:
        self._running = None
        self._busy = False
        self._done()
        self._failed(error)

    def _look(self, *, redraw: bool = False) -> None:
        """Read who answers clicks and what the last tuning brought, and say so."""

        def read(_progress: Any, _cancel: Any) -> tuple[Path | None, str]:
            active, made = self._project.active_tuning(), self._project.tunings()
            last = active or next((t for t in reversed(made) if not t.kept), None)
            return None if active is None else active.folder, last.reason if last else WAITING

        def found(result: tuple[Path | None, str]) -> None:
            folder, text = result
            use, running = self._state.use, self._running is not None
            text = (self._jobs.sentence("tuning") or text) if use else OFF
            self._show(running=running, text=LEARNING if running else text)
            self._on_tuned(folder if use else None, redraw)

        self._files.run(Job("Looking at what was learned", read), found, self._failed)

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, Cancelled):
            self._show(running=self._running is not None, text=str(error))
        if not isinstance(error, ScsamError):
            raise error

    def _show(self, **changes: Any) -> None:
        self._state = replace(self._state, **changes)
        self._on_change(self._state)
