"""Early stopping on the mean Dice of held-out planes."""

from __future__ import annotations

from typing import Any

# Evaluations in a row without a gain of more than `MIN_GAIN` in mean Dice that end the training.
# Such criteria are in Prechelt, "Early stopping - but when?" (1998); these numbers are arbitrary.
PATIENCE, MIN_GAIN = 2, 0.002


class EarlyStopping:
    """Watches the mean Dice on held-out planes."""

    def __init__(self) -> None:
        self._best, self._best_pictures, self._waited = -1.0, 0, 0

    @property
    def best_pictures(self) -> int:
        """Training samples seen at the best evaluation."""
        return self._best_pictures

    def should_stop(self, dice: float | None, pictures: int) -> bool:
        """Record the mean Dice of an evaluation; return whether it has stopped improving."""
        if dice is None:
            return False
        if dice > self._best + MIN_GAIN:
            self._best, self._best_pictures, self._waited = dice, pictures, 0
            return False
        self._waited += 1
        return self._waited >= PATIENCE

    def state(self) -> dict[str, Any]:
        """Return the state for resuming."""
        return dict(vars(self))

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a saved `state`."""
        vars(self).update(state)
