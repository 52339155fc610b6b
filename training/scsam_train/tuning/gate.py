"""Whether a tuned copy is kept: clicks and boxes on planes that it has not seen."""

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

CLICKS = 5
# Objects that are clicked on in each part, evenly spaced: every one of them takes time.
MOST_OBJECTS = 6
# Dice that boxes may lose where clicks win: a few objects can't tell less apart.
BOX_LOSS = 0.02
# A base that never saw points answers clicks by boxes of its own: only a tuned copy that
# does this well on the first click takes its place.
FIRST_CLICK = 0.5


@dataclass(frozen=True, eq=False)
class TeacherReliability:
    """Objects of held-out planes.

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
    def of(corpus: Sequence[Embedded]) -> TeacherReliability:
        """At most `MOST_OBJECTS` of the objects on these planes."""
        found = [
            (item.features, target, prior)
            for item in corpus
            for target, prior in zip(
                item.targets, item.priors or [None] * len(item.targets), strict=True
            )
        ]
        picks = np.linspace(0, len(found) - 1, min(len(found), MOST_OBJECTS)).astype(int)
        features, targets, priors = zip(*(found[int(i)] for i in picks), strict=True)
        return TeacherReliability(torch.stack(features), torch.stack(targets)[:, None], priors)

    def take(self, decoder: Decoder, *, primed: bool = False) -> NDArray[np.float32]:
        """Dice of shape (CLICKS + 1, N): after each click, then with the box alone.

        With `primed` the first click and the box go with what is known of the object's class.
        """
        features = self.features.to(decoder.device).float()
        priors = self.priors if primed else ()
        by_click, _ = click_through(decoder, features, self.targets, CLICKS, priors)
        box, _ = box_through(decoder, features, self.targets, priors)
        return np.concatenate([by_click, box[None]])


def figures(marks: Sequence[NDArray[np.float32]]) -> dict[str, float]:
    """Mean Dice over all objects: after '1' to '5' clicks, their mean 'clicks', and 'box'."""
    means = np.concatenate(marks, axis=1).mean(axis=1).tolist()
    named = {str(click): round(value, 4) for click, value in enumerate(means[:CLICKS], start=1)}
    return {**named, "clicks": round(sum(means[:CLICKS]) / CLICKS, 4), "box": round(means[-1], 4)}


def judge(
    shipped: dict[str, float], tuned: dict[str, float], *, understands_points: bool, unit: str
) -> tuple[bool, str]:
    """Whether the tuned copy is kept, and why, in words for the person.

    Parameters
    ----------
    shipped, tuned : dict
        As `figures`, on the same held-out objects.
    understands_points : bool
        Whether the shipped model does.
    unit : {'cases', 'slices'}
        What was held out.
    """
    before, after = shipped["1"], tuned["1"]
    told = f"first click {before:.2f} → {after:.2f} on held-out {unit}"
    if tuned["clicks"] < shipped["clicks"]:
        return False, f"not better ({told}), not used"
    if tuned["box"] < shipped["box"] - BOX_LOSS:
        return False, f"boxes got worse ({shipped['box']:.2f} → {tuned['box']:.2f}), not used"
    if not understands_points and after < FIRST_CLICK:
        return False, f"not good enough yet ({told}), not used"
    return True, told
