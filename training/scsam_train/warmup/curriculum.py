"""What the warm-up learns from when: clicks and boxes first, outlines of neighbours late."""

from __future__ import annotations

from dataclasses import dataclass

from scsam_train.episodes import Habits
from scsam_train.schedules import learning_rate


@dataclass(frozen=True)
class Part:
    """A part of the training, with its own material and annotator.

    Attributes
    ----------
    end : float
        Share of the whole training, 0..1, at which it ends.
    scenes : int
        It draws from so many, the first: those of the parts before and its own.
    domains : tuple of four float
        Shares of phantoms, brain, photographs and reliefs in its own scenes; they sum to 1.
    habits : Habits
    """

    end: float
    scenes: int
    domains: tuple[float, float, float, float]
    habits: Habits


# With outlines of neighbours from the start and at high rates, a SAM carried masks further astray
# through volumes: it believed the outline more than the picture (docs/explanation/warm-up.md).
WITHOUT_NEIGHBOURS = Habits(
    starts={
        "click": 0.60,
        "box": 0.22,
        "several": 0.06,
        "scribble": 0.05,
        "mask": 0.05,
        "outside": 0.02,
    }
)
CURRICULUM = (
    Part(0.4, 800, (0.66, 0.17, 0.17, 0.0), WITHOUT_NEIGHBOURS),
    Part(0.6, 1200, (0.25, 0.0, 0.15, 0.6), WITHOUT_NEIGHBOURS),
    Part(1.0, 1600, (0.60, 0.0, 0.15, 0.25), Habits()),
)

# The last part is gone through so often, each time from where the part before ended and with draws
# of its own; what is kept is the mean of the weights (Wortsman et al., Model soups, ICML 2022).
# Clicks come out alike each time, but how far an outline is carried is a matter of luck: eight
# left atria gave .794 and .801 by themselves and .804 by the mean (docs/explanation/warm-up.md).
TIMES = 2


def part_at(fraction: float) -> Part:
    """The part of the training that `fraction` (0..1) of it lies in."""
    return next((part for part in CURRICULUM if fraction < part.end), CURRICULUM[-1])


def part_of(scene: int) -> Part:
    """The part of the training that brings scene number `scene`."""
    return next((part for part in CURRICULUM if scene < part.scenes), CURRICULUM[-1])


def rate_at(fraction: float) -> float:
    """Factor of the learning rate, which jumps up with new material and falls to nothing again.

    Each part goes on where a whole training that ended with it would be.
    """
    return learning_rate(fraction / part_at(fraction).end)
