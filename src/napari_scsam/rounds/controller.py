"""Controller of a project's rounds: train, monitor, pause, cancel, promote, roll back."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_scsam.core.errors import Cancelled, ReadOnlyError, ScsamError
from napari_scsam.core.jobs import Job
from napari_scsam.core.round_contract import EventKind, Phase
from napari_scsam.core.settings import TrainSettings
from napari_scsam.rounds.background_jobs import BackgroundJob, JobQueue, Turn
from napari_scsam.rounds.cost_estimate import Survey, estimate, remember_round, survey
from napari_scsam.rounds.progress import (
    Pace,
    early_stop_text,
    estimate_text,
    fraction_of_round,
    progress_text,
)
from napari_scsam.rounds.running_round import RunningRound, TrainingController
from napari_scsam.rounds.shown_rounds import Curve, RoundsState, verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam.core.job_runner import JobRunner
    from napari_scsam.project import Project
    from napari_scsam.project.schema import RoundRecord
    from napari_scsam.rounds.child_process import Event


class RoundsController:
    """Connects a project's training process and a view that calls `tick`.

    Parameters
    ----------
    project : Project
    files : JobRunner
        Starts and adopts rounds off the main thread.
    on_change : callable
        Called with each new RoundsState.
    on_models_changed : callable
        Called when another round becomes active.
    jobs : JobQueue, optional
        Queue shared by all background jobs of the project; default: an own one.
    reader : JobRunner, optional
        Counts slices, which takes seconds for 10,000 images; default: `files`.
    """

    def __init__(
        self,
        project: Project,
        files: JobRunner,
        on_change: Callable[[RoundsState], None],
        on_models_changed: Callable[[], None],
        jobs: JobQueue | None = None,
        reader: JobRunner | None = None,
    ) -> None:
        self._project = project
        self._files, self._reader = files, reader or files
        self._on_change = on_change
        self._on_models_changed = on_models_changed
        self._training = None if project.read_only else TrainingController(project)
        running = None if self._training is None else self._training.running
        job = BackgroundJob("round", self._begin)
        self._turn = Turn(job, jobs or JobQueue(), files, running)
        self._settings = TrainSettings()
        self._survey: Survey | None = None
        self._wanted = self._settings  # of the queued round
        self._pace = Pace()
        self._turn.adopt()
        self._state = RoundsState(paused=running is not None and running.paused)
        self._show(text="Paused." if self._state.paused else "", **self._stored())
        self.labels_changed()

    @property
    def state(self) -> RoundsState:
        """Current state."""
        return self._state

    def plan(self, settings: TrainSettings) -> None:
        """Update the estimate for a round with these settings."""
        self._settings = settings
        found = self._survey
        self._show(estimate=None if found is None else estimate(found, settings))

    def labels_changed(self) -> None:
        """Recount the labelled and unlabelled slices, off the main thread."""
        if self._project.read_only:
            return

        def counted(found: Survey) -> None:
            self._survey = found
            self.plan(self._settings)

        job = Job("Counting slices", lambda _progress, _cancel: survey(self._project))
        self._reader.run(job, counted, _raise_if_bug)

    def start(self, settings: TrainSettings) -> None:
        """Start a round, or resume the interrupted one if labels and settings are unchanged.

        If another job is running, the round is queued and uses the labels at the time it starts.
        """
        if self._training is None or self._turn.is_taken:
            return
        self._wanted = settings
        self._pace = Pace()
        self._show(fraction=0.0, loss_unet=(), loss_sam=(), dice=(), paused=False)
        self._turn.ask()
        if self._turn.waits:
            self._show(text=self._turn.sentence)

    def close(self) -> None:
        """Start a queued round now, before the window with the queue closes.

        As any round, it outlives the window. The job in front of it ends with the window.
        """
        if self._turn.waits:
            self._turn.close()
            with suppress(ScsamError):  # there is no window left to show it
                self._start_child()

    def _start_child(self) -> RunningRound:
        if self._training is None:
            raise ReadOnlyError("The project is open read-only: no round can be trained.")
        killed, settings = self._state.interrupted, self._wanted
        held_out = killed.held_out if killed is not None and killed.settings == settings else ()
        return self._training.start(settings, held_out)

    def _begin(self) -> None:
        killed = self._state.interrupted

        def started(running: RunningRound) -> None:
            self._turn.running, self._turn.busy = running, False
            text, message = "Starting …", "has begun. Go on annotating meanwhile."
            if killed is not None and running.folder == killed.folder:
                for event in running.poll():  # events from before the interruption
                    self._handle(event)
                text, message = "Resuming …", f"resumes from step {killed.step}."
            self._show(text=text, message=f"Round {running.number} {message}", interrupted=None)

        self._turn.busy = True
        self._show(text="Starting …")
        self._turn.work("Starting a round", self._start_child, started, self._failed)

    def tick(self) -> None:
        """Process the child's new events; cheap if none is running."""
        running = self._turn.running
        if self._turn.waits:
            self._show(text=self._turn.sentence)
        if running is None or self._turn.busy:
            return
        alive = running.alive  # first, so that the child's last events are read, too
        for event in running.poll():
            self._handle(event)
        if not alive:
            self._turn.work("Adopting a round", running.finish, self._finished, self._failed)

    def pause_or_resume(self) -> None:
        """Pause the running round before its next step, or resume it."""
        running = self._turn.running
        if running is None:
            return
        paused = not self._state.paused
        if paused:
            running.pause()
        else:
            running.resume()
        self._show(paused=paused, text="Paused." if paused else "Resuming …")

    def cancel(self) -> None:
        """Stop the round, or discard the interrupted one; the active round stays."""
        killed = self._state.interrupted
        if self._turn.waits:
            self._turn.withdraw()
            self._show(text="", message="The round will not start; nothing changed.")
        elif self._turn.running is not None:
            self._turn.running.cancel()
            self._show(text="Cancelling …")
        elif killed is not None and not self._turn.busy:
            message = f"Round {killed.number} was given up; nothing else changed."
            self._turn.busy = True
            self._show(text="Giving it up …")
            self._turn.work(
                "Giving up a round",
                lambda: self._project.discard_partial(killed.folder),
                lambda _: self._end(message=message),
                self._failed,
            )

    def promote(self, number: int) -> None:
        """Make a round the active one."""
        self._change(lambda: self._project.promote(number), f"Round {number} is now active.")

    def rollback(self) -> None:
        """Return to the previously active round."""
        self._change(self._project.rollback, "Back to the round before.")

    def _change(self, action: Callable[[], Any], message: str) -> None:
        def done(_: Any) -> None:
            self._show(**self._stored_rounds(), message=message)
            self._on_models_changed()

        job = Job("Changing the round", lambda _p, _c: action())
        self._files.run(job, done, self._not_changed)

    def _handle(self, event: Event) -> None:
        kind = event["event"]
        if kind == EventKind.PROGRESS:
            fraction = fraction_of_round(event)
            if event["phase"] == Phase.TRAINING:
                self._pace.trained(event)
            if event["phase"] == Phase.EMBEDDING:  # repeated in a resumed round
                fraction = max(fraction, self._state.fraction)
            text = (
                self._state.text
                if self._state.paused
                else progress_text(event, self._pace.measured)
            )
            self._show(fraction=fraction, text=text, **self._curves(event))
        elif kind == EventKind.VALIDATION:
            mean = (event["dice"].get("pair") or {}).get("mean")
            if mean is not None:
                self._show(dice=(*self._state.dice, (float(event["step"]), float(mean))))
        elif kind == EventKind.ESTIMATE:
            self._pace.estimated(event)
            self._show(message=estimate_text(event))
        elif kind == EventKind.EARLY_STOP:
            self._show(message=early_stop_text(event))
        elif kind == EventKind.MESSAGE:
            self._show(message=str(event["text"]))

    def _curves(self, event: Event) -> dict[str, Curve]:
        if event["phase"] != Phase.TRAINING:
            return {}
        step = float(event["step"])
        # A resumed round repeats the steps after its checkpoint.
        curves = {
            name: tuple(p for p in getattr(self._state, name) if p[0] < step)
            for name in ("loss_unet", "loss_sam", "dice")
        }
        for name in ("loss_unet", "loss_sam"):
            if event.get(name) is not None:
                curves[name] += ((step, float(event[name])),)
        return curves

    def _finished(self, record: RoundRecord | None) -> None:
        number = self._turn.running.number if self._turn.running is not None else 0
        message = (
            f"Round {number} was cancelled; nothing changed." if record is None else verdict(record)
        )
        self._end(message=message, fraction=0.0 if record is None else 1.0)
        if record is None:
            return
        if record.active:
            self._on_models_changed()
        note = Job("Noting the speed", lambda _progress, _cancel: remember_round(record))
        self._files.run(note, lambda _: None, _raise_if_bug)

    def _not_changed(self, error: Exception) -> None:
        self._show(error="" if isinstance(error, Cancelled) else str(error))
        _raise_if_bug(error)

    def _failed(self, error: Exception) -> None:
        self._end(error="" if isinstance(error, Cancelled) else str(error))
        _raise_if_bug(error)

    def _end(self, **changes: Any) -> None:
        self._turn.busy = False
        if self._turn.running is not None and not self._turn.running.alive:
            self._turn.running = None
        self._show(text="", paused=False, **self._stored(), **changes)
        self.labels_changed()
        if self._turn.running is None:
            self._turn.ended()

    def _stored(self) -> dict[str, Any]:
        """Return what the project has stored about rounds."""
        idle = self._turn.running is None and not self._project.read_only
        return {
            **self._stored_rounds(),
            "interrupted": self._project.interrupted_round() if idle else None,
        }

    def _stored_rounds(self) -> dict[str, Any]:
        """Return the finished rounds and their disk usage."""
        records = tuple(self._project.rounds())
        sizes = {record.number: self._project.round_bytes(record.number) for record in records}
        return {"rounds": records, "sizes": sizes}

    def _show(self, **changes: Any) -> None:
        """Update the state; messages are shown only once."""
        state = replace(self._state, **{"message": "", "error": "", **changes})
        running, waiting = self._turn.is_taken, self._turn.waits
        names: set[str] = set()
        if waiting:
            names |= {"cancel_train"}
        elif self._turn.running is not None and not self._turn.busy:
            names |= {"pause_train", "cancel_train"}
        elif state.interrupted is not None and not running:
            names |= {"cancel_train"}
        if not self._project.read_only:
            names |= set() if running else {"train"}
            names |= {"promote"} if state.rounds else set()
            names |= {"rollback"} if any(r.active for r in state.rounds) else set()
        weighted = [r for r in state.rounds if not r.pruned]
        names |= {"compare_rounds"} if len(weighted) > 1 else set()
        enabled = frozenset(names)
        self._state = replace(state, running=running, waiting=waiting, enabled=enabled)
        self._on_change(self._state)


def _raise_if_bug(error: Exception) -> None:
    if not isinstance(error, ScsamError):
        raise error
