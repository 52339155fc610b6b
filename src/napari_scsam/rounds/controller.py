"""A project's rounds as the dock shows them: train, watch, pause, cancel, promote, roll back."""

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
    """What the dock shows of rounds.

    Attributes
    ----------
    enabled : frozenset of str
        Object names of the controls that can be used now.
    running, waiting, paused : bool
        Whether there is a round that goes on, or that waits for another background job; a
        waiting one counts as running.
    fraction : float
        0..1 of the running round.
    text : str
        What is being done, and how long it will take.
    loss_unet, loss_sam : tuple of (step, value)
        Training loss of both models, no unit.
    dice : tuple of (step, value)
        Mean Dice of the pair on held-out slices, 0..1.
    rounds : tuple of RoundRecord
    sizes : mapping of int to int
        What they take on the disk by their numbers, in bytes.
    interrupted : InterruptedRound or None
        A killed round that training may go on with.
    estimate : Estimate or None
        What the next round would take; None while nothing is labelled, or not yet known.
    message, error : str
        Last thing said, for the status line.
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
    """Stands between a project's training child and a view that ticks.

    Parameters
    ----------
    project : Project
    files : JobRunner
        Begins and adopts rounds off the main thread.
    on_change : callable
        Takes each new RoundsState.
    on_models_changed : callable
        Called when another round has become the active one.
    jobs : JobQueue, optional
        Shared by all background jobs of the project; one of its own by default.
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
        self._wanted = self._settings  # of the round that waits
        self._measured: Measured | None = None
        self._trained = 0.0
        self._jobs = jobs or JobQueue()
        running = self._running
        if running is not None:
            self._jobs.adopt(BackgroundJob("round", lambda: None))
        self._state = RoundsState(paused=running is not None and running.paused)
        self._show(text="Paused." if self._state.paused else "", **self._kept())
        self.labels_changed()

    @property
    def state(self) -> RoundsState:
        """What is shown now."""
        return self._state

    @property
    def _occupied(self) -> bool:
        """Whether a round waits, begins, runs or ends."""
        return self._running is not None or self._busy or self._jobs.waits("round")

    def plan(self, settings: TrainSettings) -> None:
        """Say what a round with these settings would take."""
        self._settings = settings
        found = self._survey
        self._show(estimate=None if found is None else estimate(found, settings))

    def labels_changed(self) -> None:
        """Count anew what a round would learn from, off the main thread."""
        if self._project.read_only:
            return

        def counted(found: Survey) -> None:
            self._survey = found
            self.plan(self._settings)

        job = Job("Counting slices", lambda _progress, _cancel: survey(self._project))
        self._files.run(job, counted, _raise_if_bug)

    def start(self, settings: TrainSettings) -> None:
        """Begin a round, or go on with the interrupted one if labels and settings are the same.

        It begins when its turn comes, with the labels that count then.
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
        """Begin a round that waits, before the window that would begin it in its turn is gone.

        As any round it outlives the window. What stood in its way ends with the window.
        """
        if self._jobs.waits("round"):
            self._jobs.close()
            with suppress(ScsamError):  # there is nobody to tell
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
                for event in running.poll():  # what it had said before it was killed
                    self._take(event)
                text, message = "Going on …", f"goes on from step {killed.step}."
            self._show(text=text, message=f"Round {running.number} {message}", interrupted=None)

        self._busy = True
        self._show(text="Starting …")
        job = Job("Starting a round", lambda _progress, _cancel: self._start_child())
        self._files.run(job, started, self._failed)

    def tick(self) -> None:
        """Take in what the child has written since the last tick; cheap while none runs."""
        running = self._running
        if self._jobs.waits("round"):
            self._show(text=self._jobs.sentence("round"))
        if running is None or self._busy:
            return
        alive = running.alive  # first: what it wrote before it ended is then read, too
        for event in running.poll():
            self._take(event)
        if not alive:
            self._busy = True
            job = Job("Taking in the round", lambda _progress, _cancel: running.finish())
            self._files.run(job, self._finished, self._failed)

    def pause_or_resume(self) -> None:
        """Hold the running round before its next step, or let it go on."""
        if self._running is None:
            return
        paused = not self._state.paused
        if paused:
            self._running.pause()
        else:
            self._running.resume()
        self._show(paused=paused, text="Paused." if paused else "Going on …")

    def cancel(self) -> None:
        """Stop the round, or give up the interrupted one; the active one stays."""
        killed = self._state.interrupted
        if self._jobs.waits("round"):
            self._jobs.withdraw("round")
            self._show(text="", message="The round will not start; nothing changed.")
        elif self._running is not None:
            self._running.cancel()
            self._show(text="Cancelling …")
        elif killed is not None and not self._busy:
            said = f"Round {killed.number} was given up; nothing else changed."
            self._busy = True
            self._show(text="Giving it up …")
            discard = Job("", lambda _p, _c: self._project.discard_partial(killed.folder))
            self._files.run(discard, lambda _: self._end(message=said), self._failed)

    def promote(self, number: int) -> None:
        """Make a round the active one."""
        self._change(lambda: self._project.promote(number), f"Round {number} is now active.")

    def rollback(self) -> None:
        """Go back to the round that was active before."""
        self._change(self._project.rollback, "Back to the round before.")

    def _change(self, action: Callable[[], Any], message: str) -> None:
        def done(_: Any) -> None:
            self._show(**self._listed(), message=message)
            self._on_models_changed()

        job = Job("Changing the round", lambda _p, _c: action())
        self._files.run(job, done, self._not_changed)

    def _take(self, event: Event) -> None:
        kind = event["event"]
        if kind == EventKind.PROGRESS:
            fraction = fraction_of_round(event)
            if event["phase"] == Phase.TRAINING:
                self._trained = fraction_of_phase(event)
            if event["phase"] == Phase.EMBEDDING:  # again, in a round that goes on
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
        # A round that goes on takes the steps after its kept state once more.
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
        said = (
            f"Round {number} was cancelled; nothing changed." if record is None else record.reason
        )
        self._end(message=said, fraction=0.0 if record is None else 1.0)
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
        self._show(text="", paused=False, **self._kept(), **changes)
        self.labels_changed()
        if self._running is None:
            self._jobs.ended("round")

    def _kept(self) -> dict[str, Any]:
        """What the project has of rounds."""
        idle = self._running is None and not self._project.read_only
        return {
            **self._listed(),
            "interrupted": self._project.interrupted_round() if idle else None,
        }

    def _listed(self) -> dict[str, Any]:
        """The finished rounds, and what they take on the disk."""
        records = tuple(self._project.rounds())
        sizes = {record.number: self._project.round_bytes(record.number) for record in records}
        return {"rounds": records, "sizes": sizes}

    def _show(self, **changes: Any) -> None:
        """Change the state; what was said before is said once only."""
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
    """The active round in one line."""
    active = next((r for r in state.rounds if r.active), None)
    if active is None:
        return "No round is active" if state.rounds else "No round yet"
    dice = mean_dice(active)
    return f"Round {active.number} active" + ("" if dice is None else f"  ·  Dice {dice:.2f}")


def hint(state: RoundsState) -> str:
    """What training would take, while none runs, or what it needs first."""
    cost, killed = state.estimate, state.interrupted
    if killed is not None:
        anew = "" if cost is None else f" ({cost.text})"
        return (
            f"Round {killed.number} was interrupted at step {killed.step}. Training goes on with "
            f"it if labels and settings are as they were, else a new one begins{anew}."
        )
    said = "" if cost is None else f"{cost.sentence} {cost.note}".strip()
    if state.rounds:
        return said
    first = said or "Commit a few slices, then train."
    return f"{first} You can go on annotating meanwhile."


def round_note(state: RoundsState, record: RoundRecord) -> str:
    """Why a round was promoted or not, and what it takes on the disk, in two lines."""
    pruned = "; its weights were pruned" if record.pruned else ""
    size = decimal(state.sizes.get(record.number, 0))
    return f"{record.reason}\n{size} on the disk{pruned}."


def mean_dice(record: RoundRecord) -> float | None:
    """Mean Dice 0..1 of the pair over classes on held-out slices; None if not measured."""
    return dict(metrics_table(record)).get("mean", {}).get("pair")


# Whose Dice a round reports; "prompted" is SAM prompted by the U-Net's outline.
_MODELS = ("unet", "sam", "prompted", "pair")


def metrics_table(record: RoundRecord) -> list[tuple[str, dict[str, float | None]]]:
    """Dice of a round as rows: class name, then the Dice of each model.

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
