"""What a running round says of itself, as the dock shows it: how far it is, and how long still."""

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
# A round's phases as parts of one progress bar.
_EMBEDDING_PART = 0.25
_TRAINING_PART = 0.95


@dataclass(frozen=True)
class Measured:
    """What the round itself has measured in its first steps.

    Attributes
    ----------
    seconds : float
        That it still took, from then on.
    fraction : float
        0..1 of the training that was done then.
    pictures : int
        That the U-Net learns from in all; 0 where they do not end the round.
    """

    seconds: float
    fraction: float = 0.0
    pictures: int = 0

    def left(self, fraction: float, eta_s: float | None) -> float:
        """Seconds that training still takes, at `fraction` of it.

        The child's own `eta_s`, from how fast it has been, counts the more, the more of the
        training it has seen.
        """
        left = self.seconds * (1 - fraction) / max(1 - self.fraction, 1e-6)
        return left if eta_s is None else (1 - fraction) * left + fraction * eta_s


def fraction_of_phase(event: Event) -> float:
    """0..1 of the phase of a ``progress`` event."""
    part = float(event["step"]) / max(float(event["steps"]), 1.0)
    return float(event.get("fraction") or part)


def fraction_of_round(event: Event) -> float:
    """0..1 of the whole round, for its one progress bar."""
    part = fraction_of_phase(event)
    if event["phase"] == Phase.EMBEDDING:
        return part * _EMBEDDING_PART
    if event["phase"] == Phase.TRAINING:
        return _EMBEDDING_PART + part * (_TRAINING_PART - _EMBEDDING_PART)
    return _TRAINING_PART


def progress_text(event: Event, measured: Measured | None = None) -> str:
    """Such as ``"Training, 120 of 3,200 pictures · about 4 min left"``."""
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
    """What an ``estimate`` event says to the person."""
    return (
        f"On this machine a picture takes {_brief(float(event['seconds_per_picture']))}: about "
        f"{rounded_time(float(event['seconds']))} for {event['pictures']:,} pictures, or less if "
        "it has learned before."
    )


def early_stop_text(event: Event) -> str:
    """What an ``early_stop`` event says to the person."""
    return (
        f"The round has learned: it ends after {event['pictures']:,} pictures, since held-out "
        f"slices were found best after {event['best_pictures']:,}."
    )


def _brief(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2f} s"
