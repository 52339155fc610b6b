"""What the dock shows of rounds, and in which words."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_scsam.project.schema import InterruptedRound, RoundRecord
    from napari_scsam.rounds.cost_estimate import Estimate

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


def summary(state: RoundsState) -> str:
    """Describe the running round, or the active one, in one line."""
    if state.waiting:
        return "The next round waits for its turn"
    if state.running:
        return f"{'Paused' if state.paused else 'Training'} a round: {state.fraction:.0%}"
    if state.interrupted is not None:
        return f"Round {state.interrupted.number} was interrupted"
    active = next((r for r in state.rounds if r.active), None)
    if active is None:
        cost = "" if state.estimate is None else f"  ·  {state.estimate.time} to train"
        return "No round is active" if state.rounds else f"No round yet{cost}"
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
    words = () if cost is None else (cost.sentence, cost.unjudged, cost.note)
    message = " ".join(filter(None, words))
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


def verdict(record: RoundRecord) -> str:
    """Describe whether a round became active and why, with the Dice of each class."""
    changes = class_changes(record)
    return f"{record.reason} {changes}." if changes else record.reason


def class_changes(record: RoundRecord) -> str:
    """Describe the Dice of each class on held-out slices, with the change to the round before.

    Such as "LV 0.91 (+0.02), RV 0.84 (-0.01)"; empty if nothing was held out.
    """
    now = _pair(record.metrics.get("dice"))
    before = _pair(record.metrics.get("parent"))
    texts = [_class_text(name, now[name], before.get(name)) for name in now if name != "mean"]
    return ", ".join(texts)


def _class_text(name: str, now: float, before: float | None) -> str:
    text = f"{name} {now:.2f}"
    return text if before is None else f"{text} ({now - before:+.2f})"


def _pair(dice: Any) -> Mapping[str, float]:
    """Return the Dice of both models together, by class, without those that were not measured."""
    found = dice.get("pair") if isinstance(dice, dict) else None
    return {
        str(name): float(value)
        for name, value in (found or {}).items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


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
