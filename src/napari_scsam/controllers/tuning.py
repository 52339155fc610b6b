"""SAM learns from the person: tunings of its decoder in the background, started and taken in."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_scsam.controllers.child import ChildEvents, Event, start_child
from napari_scsam.controllers.ports import JobRunner
from napari_scsam.core.errors import Cancelled, ProjectError, ScsamError
from napari_scsam.core.jobs import Job
from napari_scsam.core.settings import TuneSettings
from napari_scsam.project.process import record_process

if TYPE_CHECKING:
    from napari_scsam.project import Project, TunedRecord

# The first tuning comes after so many committed slices, the next after so many further commits.
FIRST = 3
AGAIN = 4
POLL_S = 0.2
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
    child : subprocess.Popen
    """

    def __init__(self, project: Project, folder: Path, child: subprocess.Popen[bytes]) -> None:
        self._project, self._child, self._folder = project, child, folder
        self._final = folder.with_suffix("")
        self._events = ChildEvents(folder, self._final)
        self._cancelled = False

    @classmethod
    def start(cls, project: Project, settings: TuneSettings) -> RunningTuning:
        """Begin a tuning on what is committed.

        Raises
        ------
        ProjectError
            If nothing is committed, or a tuning is at work.
        """
        folder = project.begin_tuning(settings)
        log = folder.with_suffix(".log")
        child = start_child("scsam_train.tuning", folder, log, project.folder, ENVIRONMENT)
        record_process(folder, child.pid)
        return cls(project, folder, child)

    @property
    def alive(self) -> bool:
        """Whether the child still works."""
        return self._child.poll() is None

    def poll(self) -> list[Event]:
        """Events that the child has written since the last call, oldest first."""
        return self._events.poll()

    def cancel(self) -> None:
        """End the child at once and remove what it left, unless it has just finished."""
        self._cancelled = True
        self._child.kill()
        self._child.wait()
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
        self._child.wait()
        self.poll()
        self._project.adopt_tunings()
        found = [t for t in self._project.tunings() if t.folder == self._final]
        if found:
            return found[0]
        if self._cancelled:
            return None
        if self._events.last.get("event") == "failed":
            raise ProjectError(str(self._events.last["error"]))
        raise ProjectError(
            f"The tuning process ended unexpectedly (exit code {self._child.returncode}). "
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
    """

    def __init__(
        self,
        project: Project,
        files: JobRunner,
        on_change: Callable[[TuningState], None],
        on_tuned: OnTuned,
        settings: TuneSettings | None = None,
    ) -> None:
        self._project, self._files = project, files
        self._on_change, self._on_tuned = on_change, on_tuned
        self._settings = settings or TuneSettings()
        self._running: RunningTuning | None = None
        self._busy = self._round_trains = False
        self._tried_at = 0
        switched = project.events(SWITCHED)
        self._state = TuningState(use=switched[-1].payload["on"] if switched else True)
        self._look()

    @property
    def state(self) -> TuningState:
        """What is shown now."""
        return self._state

    def committed(self) -> None:
        """Begin a tuning, if enough was committed since the last."""
        stopped = self._project.read_only or self._round_trains or not self._state.use
        if stopped or self._busy or self._running is not None:
            return

        def started(running: RunningTuning | None) -> None:
            self._busy = False
            if running is None:
                return
            self._running = running
            if self._round_trains or not self._state.use:  # meanwhile
                self.cancel()
            else:
                self._show(running=True, text=LEARNING)

        self._busy = True
        job = Job("Starting to learn", lambda _progress, _cancel: self._start_if_due())
        self._files.run(job, started, self._failed)

    def tick(self) -> None:
        """Take in the tuning once it has ended; cheap while none runs."""
        running = self._running
        if running is None or self._busy or running.alive:
            return
        self._busy = True
        job = Job("Taking in what was learned", lambda _progress, _cancel: running.finish())
        self._files.run(job, self._finished, self._failed)

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

    def round_trains(self, running: bool) -> None:
        """Make way for a round, or go on after it."""
        if running and not self._round_trains:
            self.cancel()
        self._round_trains = running

    def round_changed(self) -> None:
        """Find out anew who answers clicks: a round may be newer than the last tuning."""
        self._look(redraw=True)

    def cancel(self) -> None:
        """End the running tuning; nothing of it is left."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            self._look()

    def close(self) -> None:
        """End the running tuning with the window."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()

    def _start_if_due(self) -> RunningTuning | None:
        project = self._project
        planes = sum(len(found) for found in project.all_committed_planes().values())
        if planes < FIRST:
            return None
        last = max([self._tried_at, *(t.commits for t in project.tunings())])
        commits = project.commit_count()
        if last and commits - last < AGAIN:
            return None
        self._tried_at = commits
        return RunningTuning.start(project, self._settings)

    def _finished(self, record: TunedRecord | None) -> None:
        self._running = None
        self._busy = False
        self._look()

    def _look(self, *, redraw: bool = False) -> None:
        """Read who answers clicks and what the last tuning brought, and say so."""

        def read(_progress: Any, _cancel: Any) -> tuple[Path | None, str]:
            active, made = self._project.active_tuning(), self._project.tunings()
            last = active or next((t for t in reversed(made) if not t.kept), None)
            return None if active is None else active.folder, last.reason if last else WAITING

        def found(result: tuple[Path | None, str]) -> None:
            folder, text = result
            use = self._state.use
            running = self._running is not None
            self._show(running=running, text=LEARNING if running else text if use else OFF)
            self._on_tuned(folder if use else None, redraw)

        self._files.run(Job("Looking at what was learned", read), found, self._failed)

    def _failed(self, error: Exception) -> None:
        self._busy = False
        if self._running is not None and not self._running.alive:
            self._running = None
        if not isinstance(error, Cancelled):
            self._show(running=self._running is not None, text=str(error))
        if not isinstance(error, ScsamError):
            raise error

    def _show(self, **changes: Any) -> None:
        self._state = replace(self._state, **changes)
        self._on_change(self._state)
