"""Acceptance test of a tuned copy: clicks and boxes on held-out planes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from scsam_train.click_through import box_through, click_through

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scsam_train.decoding import Decoder
    from scsam_train.episodes import Embedded

# Clicks for each object; the mean Dice over them decides (docs/explanation/tuning.md).
CLICKS = 5
# Objects tested per fold, evenly spaced; limits the duration. Arbitrary.
MAX_OBJECTS = 6
# Dice that boxes may lose if clicks improve: few objects can't resolve less. Arbitrary.
BOX_LOSS = 0.02
# A base without point training decodes clicks as boxes (`models/clicks_to_box.py`); a tuned copy
# replaces it only with at least this Dice after the first click. Arbitrary.
FIRST_CLICK = 0.5
# What becomes of a copy that is refused.
ONLY = "used for suggestions only"


@dataclass(frozen=True, eq=False)
class HeldOutObjects:
    """Objects of held-out planes, to test a decoder on.

    Attributes
    ----------
    features : Tensor of shape (N, 256, e, e), float16
    targets : Tensor of shape (N, 1, side, side), uint8
    priors : tuple of N Tensors of shape (side, side), or None
    """

    features: Tensor
    targets: Tensor
    priors: tuple[Tensor | None, ...]

    @staticmethod
    def of(corpus: Sequence[Embedded]) -> HeldOutObjects:
        """Take at most `MAX_OBJECTS` of the objects on these planes."""
        found = [
            (item.features, target, prior)
            for item in corpus
            for target, prior in zip(
                item.targets, item.priors or [None] * len(item.targets), strict=True
            )
        ]
        picks = np.linspace(0, len(found) - 1, min(len(found), MAX_OBJECTS)).astype(int)
        features, targets, priors = zip(*(found[int(i)] for i in picks), strict=True)
        return HeldOutObjects(torch.stack(features), torch.stack(targets)[:, None], priors)

    def evaluate(self, decoder: Decoder, *, use_priors: bool = False) -> NDArray[np.float32]:
        """Return the Dice, shape (CLICKS + 1, N): after each click, then with the box alone.

        With `use_priors`, the first click and the box come with the class prior.
        """
        features = self.features.to(decoder.device).float()
        priors = self.priors if use_priors else ()
        by_click, _ = click_through(decoder, features, self.targets, CLICKS, priors)
        box, _ = box_through(decoder, features, self.targets, priors)
        return np.concatenate([by_click, box[None]])


def figures(dice: Sequence[NDArray[np.float32]]) -> dict[str, float]:
    """Return mean Dice over all objects: after '1' to '5' clicks, their mean 'clicks', 'box'."""
    means = np.concatenate(dice, axis=1).mean(axis=1).tolist()
    named = {str(click): round(value, 4) for click, value in enumerate(means[:CLICKS], start=1)}
    return {**named, "clicks": round(sum(means[:CLICKS]) / CLICKS, 4), "box": round(means[-1], 4)}


def decide(
    shipped: dict[str, float], tuned: dict[str, float], *, understands_points: bool, unit: str
) -> tuple[bool, str]:
    """Decide whether the tuned copy is kept, and give the reason for the user.

    Parameters
    ----------
    shipped, tuned : dict
        As `figures`, on the same held-out objects.
    understands_points : bool
        Whether the shipped model was trained with points.
    unit : {'cases', 'slices'}
        Unit of the folds.
    """
    before, after = shipped["1"], tuned["1"]
    comparison = f"first click {before:.2f} → {after:.2f} on held-out {unit}"
    if tuned["clicks"] < shipped["clicks"]:
        return False, f"not better ({comparison}), {ONLY}"
    if tuned["box"] < shipped["box"] - BOX_LOSS:
        return False, f"boxes got worse ({shipped['box']:.2f} → {tuned['box']:.2f}), {ONLY}"
    if not understands_points and after < FIRST_CLICK:
        return False, f"not good enough yet ({comparison}), {ONLY}"
    return True, comparison
