"""What the dock shows of rounds, and in which words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.filesize import decimal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_scsam.project.schema import InterruptedRound, RoundRecord
    from napari_scsam.rounds.cost_estimate import Estimate

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
