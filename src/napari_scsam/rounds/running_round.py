"""A round in its child process: start, monitor, pause, cancel, adopt."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from napari_scsam.core.errors import ProjectError
from napari_scsam.core.project_layout import ROUNDS_FOLDER
from napari_scsam.core.round_contract import (
    CONTROL_FILE,
    RESUME_FILE,
    ROUND_MODULE,
    Command,
    EventKind,
)
from napari_scsam.io.real_files import open_new, read_json
from napari_scsam.project.numbered import unfinished
from napari_scsam.project.process import end_process, record_process, training_process
from napari_scsam.rounds.background_jobs import refuse_beside_another
from napari_scsam.rounds.child_process import ChildEvents, Event, start_child

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_scsam.core.jobs import CancelToken
    from napari_scsam.core.settings import TrainSettings
    from napari_scsam.project import Project, RoundRecord

# Seconds after which a cancelled child is killed: more than a step takes. Arbitrary.
CANCEL_GRACE_S = 30.0
# Interval of polling, and time limit for a killed process to end. Both arbitrary.
POLL_S = 0.2
KILLED_S = 5.0  # arbitrary


class RunningRound:
    """One round whose child process is running or has just ended.

    Parameters
    ----------
    project : Project
        Open for writing.
    folder : Path
        ``rounds/NNNN.partial``.
    child : subprocess.Popen, optional
        The child, if this process started it.
    resumed : bool
        Whether it resumes an interrupted round.
    """

    def __init__(
        self,
        project: Project,
        folder: Path,
        child: subprocess.Popen[bytes] | None = None,
        *,
        resumed: bool = False,
    ) -> None:
        self._project = project
        self._child = child
        self._cancelled_at: float | None = None
        self.folder = folder
        self.resumed = resumed
        self.number = int(folder.name.split(".")[0])
        self.final_folder = folder.with_name(f"{self.number:04d}")
        self._events = ChildEvents(self.folder, self.final_folder)

    @property
    def log_path(self) -> Path:
        """File with the child's standard streams.

        It is beside the folder, since Windows can't rename a folder with an open file.
        """
        return self.final_folder.with_suffix(".log")

    @property
    def alive(self) -> bool:
        """Whether the child is running; kills it if it does not obey a cancel in time."""
        alive = self._process_alive()
        overdue = self._cancelled_at and time.monotonic() - self._cancelled_at > CANCEL_GRACE_S
        if alive and overdue:
            self.kill()
            return False
        return alive

    def _process_alive(self) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        return training_process(self.folder) is not None

    def poll(self) -> list[Event]:
        """Return the child's events since the last call, oldest first."""
        return self._events.poll()

    @property
    def paused(self) -> bool:
        """Whether it was paused, by this window or an earlier one."""
        try:
            requested = read_json(self.folder / CONTROL_FILE)
        except (OSError, ValueError):
            return False
        return bool(requested == {"command": Command.PAUSE})

    def pause(self) -> None:
        """Pause the child before its next step."""
        self._command(Command.PAUSE)

    def resume(self) -> None:
        """Resume a paused child."""
        self._command(Command.RUN)

    def cancel(self) -> None:
        """Have the child stop within one step; the active round does not change."""
        self._cancelled_at = self._cancelled_at or time.monotonic()
        self._command(Command.CANCEL)

    def kill(self) -> None:
        """Kill the child at once."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        else:
            end_process(self.folder, KILLED_S)

    def _command(self, command: Command) -> None:
        temporary = self.folder / f"{CONTROL_FILE}.tmp"
        try:
            with open_new(temporary) as stream:
                stream.write(json.dumps({"command": command}).encode())
            temporary.replace(self.folder / CONTROL_FILE)
        except FileNotFoundError:
            return  # it has finished, and its folder has its final name

    def finish(self) -> RoundRecord | None:
        """Adopt the ended round into the project.

        Returns
        -------
        RoundRecord or None
            The round, promoted or not; None if it was cancelled.

        Raises
        ------
        ProjectError
            If the child failed or was killed: one line with the reason.
        """
        self.poll()
        if self.final_folder.is_dir():
            self._project.adopt_rounds()
            return next(r for r in self._project.rounds() if r.number == self.number)
        if self._can_resume():
            raise ProjectError(
                f"The training process of round {self.number} ended unexpectedly. Nothing you made "
                "is lost; train again with the same settings and labels to resume it."
            )
        self._project.discard_partial(self.folder)
        if self._events.last.get("event") == EventKind.CANCELLED or self._cancelled_at is not None:
            return None
        if self._events.last.get("event") == EventKind.FAILED:
            raise ProjectError(str(self._events.last["error"]))
        code = "" if self._child is None else f" (exit code {self._child.returncode})"
        raise ProjectError(
            f"The training process ended unexpectedly{code}. Nothing you made is lost and the "
            f"active round stays; train again. Its log: {self.log_path}"
        )

    def _can_resume(self) -> bool:
        """Whether it was interrupted after saving a checkpoint, and not cancelled or failed."""
        ended = self._events.last.get("event") in (EventKind.CANCELLED, EventKind.FAILED)
        kept = (self.folder / RESUME_FILE).is_file()
        return kept and not ended and self._cancelled_at is None

    def run(
        self, on_event: Callable[[Event], None], cancel: CancelToken | None = None
    ) -> RoundRecord | None:
        """Wait for the round, passing on its events; blocks. Returns `finish()`."""
        requested = False
        while self.alive:
            if cancel is not None and cancel.cancelled and not requested:
                self.cancel()
                requested = True
            for event in self.poll():
                on_event(event)
            time.sleep(POLL_S)
        for event in self.poll():
            on_event(event)
        return self.finish()


class TrainingController:
    """Starts the rounds of a project, one at a time, and finds one that is still running.

    Parameters
    ----------
    project : Project
        Open for writing.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self.running: RunningRound | None = self._find_running()

    def _find_running(self) -> RunningRound | None:
        for folder in unfinished(self._project.folder / ROUNDS_FOLDER):
            if training_process(folder) is not None:
                return RunningRound(self._project, folder)
        return None

    def start(self, settings: TrainSettings, held_out: Sequence[str | Path] = ()) -> RunningRound:
        """Start a round, or resume an interrupted one with the same inputs.

        Parameters
        ----------
        settings : TrainSettings
        held_out : sequence of str or path
            As for `Project.begin_round`.

        Raises
        ------
        InputError
            If the images in `held_out` can't be held out.
        ProjectError
            If a round or another background job is running, or the project has no labels.
        """
        if self.running is not None and self.running.alive:
            raise ProjectError(
                f"Round {self.running.number} is still running. Wait for it, or cancel it first."
            )
        refuse_beside_another(self._project.folder)
        folder = self._project.begin_round(settings, held_out)
        # A command of the last window, such as a pause, is not meant for the resumed round.
        (folder / CONTROL_FILE).unlink(missing_ok=True)
        resumed = (folder / RESUME_FILE).is_file()
        running = RunningRound(self._project, folder)
        child = start_child(ROUND_MODULE, folder, running.log_path, self._project.folder)
        record_process(folder, child.pid)
        self.running = RunningRound(self._project, folder, child, resumed=resumed)
        return self.running
