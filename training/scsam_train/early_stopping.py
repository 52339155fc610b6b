"""When a round has learned: held-out planes no longer gain."""

from __future__ import annotations

from typing import Any

# So many looks in a row without a gain of more than this in mean Dice: then a round has learned.
# Prechelt, Early stopping - but when? (1998), has such criteria; these numbers are arbitrary.
PATIENCE, LEAST_GAIN = 2, 0.002


class EarlyStopping:
    """Watches the mean Dice on held-out planes."""

    def __init__(self) -> None:
        self._best, self._best_pictures, self._waited = -1.0, 0, 0

    @property
    def best_pictures(self) -> int:
        """Pictures that had been seen at the best look."""
        return self._best_pictures

    def has_learned(self, dice: float | None, pictures: int) -> bool:
        """Take in a look's mean Dice; whether the last ones brought no gain."""
        if dice is None:
            return False
        if dice > self._best + LEAST_GAIN:
            self._best, self._best_pictures, self._waited = dice, pictures, 0
            return False
        self._waited += 1
        return self._waited >= PATIENCE

    def state(self) -> dict[str, Any]:
        """All that a resumed round needs."""
        return dict(vars(self))

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a kept `state`."""
        vars(self).update(state)
