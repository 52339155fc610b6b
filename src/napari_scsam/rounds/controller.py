"""Controller of a project's rounds: train, monitor, pause, cancel, promote, roll back."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal

from napari_scsam.core.errors import Cancelled, ReadOnlyError, ScsamError
from napari_scsam.core.jobs import Job
from napari_scsam.core.round_contract import EventKind, Phase
from napari_scsam.core.settings import TrainSettings
from napari_scsam.rounds.background_jobs import BackgroundJob, JobQueue
from napari_scsam.rounds.cost_estimate import Estimate, Survey, estimate, survey
from napari_scsam.rounds.progress import (
    Measured,
    early_stop_text,
    estimate_text,
    fraction_of_phase,
    fraction_of_round,
    progress_text,
)
from napari_scsam.rounds.running_round import RunningRound, TrainingController

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_scsam.core.job_runner import JobRunner
    from napari_scsam.project import Project
    from napari_scsam.project.schema import InterruptedRound, RoundRecord
    from napari_scsam.rounds.child_process import Event

Curve = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class RoundsState:
    """State of the rounds, as shown in the dock.

    Attributes
    ----------
    enabled : frozenset of str
        Object names of the controls that are enabled.
    running, waiting, paused : bool
        Whether a round is running, is queued behind another background job, or is paused. A
        queued round counts as running.
    fraction : float
        Progress of the running round, 0..1.
    text : str
        Current activity and remaining time.
    loss_unet, loss_sam : tuple of (step, value)
        Training losses of both models, without unit.
    dice : tuple of (step, value)
        Mean Dice of the pair on held-out slices, 0..1.
    rounds : tuple of RoundRecord
    sizes : mapping of int to int
        Disk usage by round number, in bytes.
    interrupted : InterruptedRound or None
        An interrupted round that can be resumed.
    estimate : Estimate or None
        Estimated cost of the next round; None if nothing is labelled or it is not yet computed.
    message, error : str
        Latest message for the status line.
    """

    enabled: frozenset[str] = frozenset()
    running: bool = False
    waiting: bool = False
    paused: bool = False
    fraction: float = 0.0
    text: str = ""
    loss_unet: Curve = ()
    loss_sam: Curve = ()
    dice: Curve = ()
    rounds: tuple[RoundRecord, ...] = ()
    sizes: Mapping[int, int] = field(default_factory=dict)
    interrupted: InterruptedRound | None = None
    estimate: Estimate | None = None
    message: str = ""
    error: str = ""


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
    """

    def __init__(
        self,
        project: Project,
        files: JobRunner,
        on_change: Callable[[RoundsState], None],
        on_models_changed: Callable[[], None],
        jobs: JobQueue | None = None,
    ) -> None:
        self._project = project
        self._files = files
        self._on_change = on_change
        self._on_models_changed = on_models_changed
        self._training = None if project.read_only else TrainingController(project)
        self._running = None if self._training is None else self._training.running
        self._busy = False
        self._settings = TrainSettings()
        self._survey: Survey | None = None
        self._wanted = self._settings  # of the queued round
        self._measured: Measured | None = None
        self._trained = 0.0
        self._jobs = jobs or JobQueue()
        running = self._running
        if running is not None:
            self._jobs.adopt(BackgroundJob("round", lambda: None))
        self._state = RoundsState(paused=running is not None and running.paused)
        self._show(text="Paused." if self._state.paused else "", **self._stored())
        self.labels_changed()

    @property
    def state(self) -> RoundsState:
        """Current state."""
        return self._state

    @property
    def _occupied(self) -> bool:
        """Whether a round is queued, starting, running or ending."""
        return self._running is not None or self._busy or self._jobs.waits("round")

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
        self._files.run(job, counted, _raise_if_bug)

    def start(self, settings: TrainSettings) -> None:
        """Start a round, or resume the interrupted one if labels and settings are unchanged.

        If another job is running, the round is queued and uses the labels at the time it starts.
        """
        if self._training is None or self._occupied:
            return
        self._wanted = settings
        self._measured, self._trained = None, 0.0
        self._show(fraction=0.0, loss_unet=(), loss_sam=(), dice=(), paused=False)
        self._jobs.ask(BackgroundJob("round", self._begin))
        if self._jobs.waits("round"):
            self._show(text=self._jobs.sentence("round"))

    def close(self) -> None:
        """Start a queued round now, before the window with the queue closes.

        As any round, it outlives the window. The job in front of it ends with the window.
        """
        if self._jobs.waits("round"):
            self._jobs.close()
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
            self._running = running
            self._busy = False
            text, message = "Starting …", "has begun. Go on annotating meanwhile."
            if killed is not None and running.folder == killed.folder:
                for event in running.poll():  # events from before the interruption
                    self._handle(event)
                text, message = "Resuming …", f"resumes from step {killed.step}."
            self._show(text=text, message=f"Round {running.number} {message}", interrupted=None)

        self._busy = True
        self._show(text="Starting …")
        job = Job("Starting a round", lambda _progress, _cancel: self._start_child())
        self._files.run(job, started, self._failed)

    def tick(self) -> None:
        """Process the child's new events; cheap if none is running."""
        running = self._running
        if self._jobs.waits("round"):
            self._show(text=self._jobs.sentence("round"))
        if running is None or self._busy:
            return
        alive = running.alive  # first, so that the child's last events are read, too
        for event in running.poll():
            self._handle(event)
        if not alive:
            self._busy = True
            job = Job("Taking in the round", lambda _progress, _cancel: running.finish())
            self._files.run(job, self._finished, self._failed)

    def pause_or_resume(self) -> None:
        """Pause the running round before its next step, or resume it."""
        if self._running is None:
            return
        paused = not self._state.paused
        if paused:
            self._running.pause()
        else:
            self._running.resume()
        self._show(paused=paused, text="Paused." if paused else "Resuming …")

    def cancel(self) -> None:
        """Stop the round, or discard the interrupted one; the active round stays."""
        killed = self._state.interrupted
        if self._jobs.waits("round"):
            self._jobs.withdraw("round")
            self._show(text="", message="The round will not start; nothing changed.")
        elif self._running is not None:
            self._running.cancel()
            self._show(text="Cancelling …")
        elif killed is not None and not self._busy:
            message = f"Round {killed.number} was given up; nothing else changed."
            self._busy = True
            self._show(text="Giving it up …")
            discard = Job("", lambda _p, _c: self._project.discard_partial(killed.folder))
            self._files.run(discard, lambda _: self._end(message=message), self._failed)

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
                self._trained = fraction_of_phase(event)
            if event["phase"] == Phase.EMBEDDING:  # repeated in a resumed round
                fraction = max(fraction, self._state.fraction)
            text = self._state.text if self._state.paused else progress_text(event, self._measured)
            self._show(fraction=fraction, text=text, **self._curves(event))
        elif kind == EventKind.VALIDATION:
            mean = (event["dice"].get("pair") or {}).get("mean")
            if mean is not None:
                self._show(dice=(*self._state.dice, (float(event["step"]), float(mean))))
        elif kind == EventKind.ESTIMATE:
            pictures = int(event["pictures"])
            self._measured = Measured(float(event["seconds"]), self._trained, pictures)
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
        number = self._running.number if self._running is not None else 0
        message = (
            f"Round {number} was cancelled; nothing changed." if record is None else record.reason
        )
        self._end(message=message, fraction=0.0 if record is None else 1.0)
        if record is not None and record.active:
            self._on_models_changed()

    def _not_changed(self, error: Exception) -> None:
        self._show(error="" if isinstance(error, Cancelled) else str(error))
        _raise_if_bug(error)

    def _failed(self, error: Exception) -> None:
        self._end(error="" if isinstance(error, Cancelled) else str(error))
        _raise_if_bug(error)

    def _end(self, **changes: Any) -> None:
        self._busy = False
        if self._running is not None and not self._running.alive:
            self._running = None
        self._show(text="", paused=False, **self._stored(), **changes)
        self.labels_changed()
        if self._running is None:
            self._jobs.ended("round")

    def _stored(self) -> dict[str, Any]:
        """Return what the project has stored about rounds."""
        idle = self._running is None and not self._project.read_only
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
        running, waiting = self._occupied, self._jobs.waits("round")
        names: set[str] = set()
        if waiting:
            names |= {"cancel_train"}
        elif self._running is not None and not self._busy:
            names |= {"pause_train", "cancel_train"}
        elif state.interrupted is not None and not running:
            names |= {"cancel_train"}
        if not self._project.read_only:
            names |= set() if running else {"train"}
            names |= {"promote"} if state.rounds else set()
            names |= {"rollback"} if any(r.active for r in state.rounds) else set()
        enabled = frozenset(names)
        self._state = replace(state, running=running, waiting=waiting, enabled=enabled)
        self._on_change(self._state)


def _raise_if_bug(error: Exception) -> None:
    if not isinstance(error, ScsamError):
        raise error


def summary(state: RoundsState) -> str:
    """Describe the active round in one line."""
    active = next((r for r in state.rounds if r.active), None)
    if active is None:
        return "No round is active" if state.rounds else "No round yet"
    dice = mean_dice(active)
    return f"Round {active.number} active" + ("" if dice is None else f"  ·  Dice {dice:.2f}")


def hint(state: RoundsState) -> str:
    """Describe the cost of training, or what it needs first, while no round is running."""
    cost, killed = state.estimate, state.interrupted
    if killed is not None:
        anew = "" if cost is None else f" ({cost.text})"
        return (
            f"Round {killed.number} was interrupted at step {killed.step}. Training resumes it "
            f"if labels and settings are as they were, else a new one begins{anew}."
        )
    message = "" if cost is None else f"{cost.sentence} {cost.note}".strip()
    if state.rounds:
        return message
    first = message or "Commit a few slices, then train."
    return f"{first} You can go on annotating meanwhile."


def round_note(state: RoundsState, record: RoundRecord) -> str:
    """Explain in two lines why a round was promoted or not, and its disk usage."""
    pruned = "; its weights were pruned" if record.pruned else ""
    size = decimal(state.sizes.get(record.number, 0))
    return f"{record.reason}\n{size} on the disk{pruned}."


def mean_dice(record: RoundRecord) -> float | None:
    """Return mean Dice of the pair over classes on held-out slices, 0..1; None if not measured."""
    return dict(metrics_table(record)).get("mean", {}).get("pair")


# Members whose Dice a round reports; "prompted" is SAM prompted by the U-Net's map.
_MODELS = ("unet", "sam", "prompted", "pair")


def metrics_table(record: RoundRecord) -> list[tuple[str, dict[str, float | None]]]:
    """Return the Dice of a round as rows of class name and Dice by member.

    Returns
    -------
    list of (str, dict)
        Class name (``"mean"`` last) and Dice 0..1 by model ('unet', 'sam', 'prompted', 'pair').
    """
    dice = record.metrics.get("dice") or {}
    names = [n for n in (dice.get("pair") or {}) if n != "mean"]
    return [
        (name, {model: (dice.get(model) or {}).get(name) for model in _MODELS})
        for name in [*names, *(["mean"] if names else [])]
    ]
