"""Progress and remaining time of a running round, for display."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_scsam.core.round_contract import Phase
from napari_scsam.rounds.cost_estimate import rounded_time

if TYPE_CHECKING:
    from napari_scsam.rounds.child_process import Event

PHASES = {
    Phase.EMBEDDING: "Preparing slices",
    Phase.TRAINING: "Training",
    Phase.VALIDATING: "Checking on held-out slices",
}
# Share of the progress bar at which each phase ends. Arbitrary.
_EMBEDDING_PART = 0.25
_TRAINING_PART = 0.95  # arbitrary


@dataclass(frozen=True)
class Measured:
    """Duration that the round measured in its first steps.

    Attributes
    ----------
    seconds : float
        Estimated remaining seconds at that time.
    fraction : float
        Completed fraction of the training at that time, 0..1.
    pictures : int
        Training samples in total; 0 if they do not limit the round.
    """

    seconds: float
    fraction: float = 0.0
    pictures: int = 0

    def left(self, fraction: float, eta_s: float | None) -> float:
        """Return the remaining seconds of training at `fraction`.

        It is a mean of this estimate and of the child's own `eta_s`, whose weight is the
        completed fraction of the training.
        """
        left = self.seconds * (1 - fraction) / max(1 - self.fraction, 1e-6)
        return left if eta_s is None else (1 - fraction) * left + fraction * eta_s


class Pace:
    """How quickly a round trains, by its events.

    Attributes
    ----------
    measured : Measured or None
        None before the round has measured its first steps.
    """

    def __init__(self) -> None:
        self.measured: Measured | None = None
        self._trained = 0.0

    def trained(self, event: Event) -> None:
        """Note a ``progress`` event of the training."""
        self._trained = fraction_of_phase(event)

    def estimated(self, event: Event) -> None:
        """Note an ``estimate`` event."""
        self.measured = Measured(float(event["seconds"]), self._trained, int(event["pictures"]))


def fraction_of_phase(event: Event) -> float:
    """Return the completed fraction of the phase of a ``progress`` event, 0..1."""
    part = float(event["step"]) / max(float(event["steps"]), 1.0)
    return float(event.get("fraction") or part)


def fraction_of_round(event: Event) -> float:
    """Return the completed fraction of the whole round, 0..1."""
    part = fraction_of_phase(event)
    if event["phase"] == Phase.EMBEDDING:
        return part * _EMBEDDING_PART
    if event["phase"] == Phase.TRAINING:
        return _EMBEDDING_PART + part * (_TRAINING_PART - _EMBEDDING_PART)
    return _TRAINING_PART


def progress_text(event: Event, measured: Measured | None = None) -> str:
    """Return a text such as ``"Training, 120 of 3,200 pictures · about 4 min left"``."""
    words = PHASES.get(event["phase"], "Working")
    eta = event.get("eta_s")
    left = None if eta is None else float(eta)
    trains = event["phase"] == Phase.TRAINING
    if trains and measured is not None and measured.pictures and "pictures" in event:
        words += f", {event['pictures']:,} of {measured.pictures:,} pictures"
    elif event["phase"] != Phase.VALIDATING:
        words += f", {event['step']} of {event['steps']}"
    if trains and measured is not None:
        left = measured.left(fraction_of_phase(event), left)
    return f"{words} · about {rounded_time(left)} left" if left else words


def estimate_text(event: Event) -> str:
    """Return the message for an ``estimate`` event."""
    return (
        f"On this machine a picture takes {_brief(float(event['seconds_per_picture']))}: about "
        f"{rounded_time(float(event['seconds']))} for {event['pictures']:,} pictures, or less if "
        "it stops improving earlier."
    )


def early_stop_text(event: Event) -> str:
    """Return the message for an ``early_stop`` event."""
    return (
        f"The round no longer improves: it ends after {event['pictures']:,} pictures. Held-out "
        f"slices were best after {event['best_pictures']:,}."
    )


def _brief(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2f} s"
