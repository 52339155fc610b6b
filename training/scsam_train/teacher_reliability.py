"""Reliability of the teachers, measured on labelled planes, to weight their pseudo-labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scsam_train.losses import IGNORE

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Weight of a new prediction in the running mean; teachers change over time. Arbitrary.
RENEWAL = 0.15


class TeacherReliability:
    """Running Dice of U-Net and SAM per class, on the labelled planes judged for that class.

    Agreement alone does not show whether two teachers are right: if both miss a small class, they
    agree and would reinforce each other's mistake.

    Parameters
    ----------
    classes : int
        K.
    """

    def __init__(self, classes: int) -> None:
        self._both = np.zeros((2, classes))
        self._sizes = np.zeros((2, classes))

    def update(
        self,
        from_unet: NDArray[np.int64],
        from_sam: NDArray[np.int64],
        truth: NDArray[np.uint8],
        judged: NDArray[np.bool_] | None = None,
    ) -> None:
        """Add the predicted label maps (h, w), 0..K, of both teachers for one labelled plane.

        `judged` (K,) marks the classes that were judged on the plane; all by default.
        """
        known = truth != IGNORE
        columns = range(self._both.shape[1]) if judged is None else np.flatnonzero(judged)
        for member, label in enumerate((from_unet, from_sam)):
            for column in columns:
                guess, mask = (label == column + 1) & known, truth == column + 1
                for total, value in (
                    (self._both, 2 * (guess & mask).sum()),
                    (self._sizes, guess.sum() + mask.sum()),
                ):
                    total[member, column] += RENEWAL * (value - total[member, column])

    @property
    def dice(self) -> NDArray[np.float64]:
        """Dice of shape (2, K): U-Net and SAM; 0 before the first update."""
        found: NDArray[np.float64] = self._both / np.maximum(self._sizes, 1e-6)
        return found

    @property
    def means(self) -> tuple[float, float]:
        """Mean Dice of the U-Net and of SAM, over the classes seen so far."""
        seen = self._sizes.max(axis=0) > 0
        if not seen.any():
            return 0.0, 0.0
        unet, sam = self.dice[:, seen].mean(axis=1).tolist()
        return unet, sam

    @property
    def unet_share(self) -> float:
        """Weight of the U-Net in the mixed teacher, 0..1, by inverse squared error."""
        unet, sam = ((1 - mean) ** 2 + 1e-4 for mean in self.means)
        return float(sam / (unet + sam))

    @property
    def reliability(self) -> NDArray[np.float64]:
        """Expected Dice of the mixed teacher, shape (K,)."""
        share = self.unet_share
        mixed: NDArray[np.float64] = share * self.dice[0] + (1 - share) * self.dice[1]
        return mixed

    def state(self) -> dict[str, list[list[float]]]:
        """Return the running sums."""
        return {"both": self._both.tolist(), "sizes": self._sizes.tolist()}

    def restore(self, state: dict[str, list[list[float]]]) -> None:
        """Resume from a saved `state`."""
        self._both, self._sizes = np.array(state["both"]), np.array(state["sizes"])
