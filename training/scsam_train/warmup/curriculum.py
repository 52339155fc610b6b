"""The warm-up's curriculum: clicks and boxes first, masks of neighbouring slices late."""

from __future__ import annotations

from dataclasses import dataclass

from scsam_train.episodes import EpisodeSettings
from scsam_train.schedules import learning_rate


@dataclass(frozen=True)
class Part:
    """A part of the training, with its own scenes and annotator.

    Attributes
    ----------
    end : float
        Fraction of the whole training, 0..1, at which the part ends.
    scenes : int
        Number of scenes to draw from: those of the earlier parts and its own.
    domains : tuple of four float
        Shares of phantoms, brain, photographs and reliefs among its own scenes; they sum to 1.
    episodes : EpisodeSettings
    """

    end: float
    scenes: int
    domains: tuple[float, float, float, float]
    episodes: EpisodeSettings


# With masks of neighbouring slices from the start and at high learning rates, propagation drifted
# more: SAM trusted the mask more than the image (docs/explanation/warm-up.md).
NO_NEIGHBOURS = EpisodeSettings(
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
    Part(0.4, 800, (0.66, 0.17, 0.17, 0.0), NO_NEIGHBOURS),
    Part(0.6, 1200, (0.25, 0.0, 0.15, 0.6), NO_NEIGHBOURS),
    Part(1.0, 1600, (0.60, 0.0, 0.15, 0.25), EpisodeSettings()),
)

# Number of passes through the last part, each from the end of the part before and with its own
# random stream; the mean of the weights is kept (Wortsman et al., Model soups, ICML 2022). Clicks
# come out alike in each pass, but propagation varies: on eight left atria two passes gave Dice
# 0.794 and 0.801, and their mean 0.804 (docs/explanation/warm-up.md).
TIMES = 2


def part_at(fraction: float) -> Part:
    """Return the part of the training at `fraction` (0..1)."""
    return next((part for part in CURRICULUM if fraction < part.end), CURRICULUM[-1])


def part_of(scene: int) -> Part:
    """Return the part of the training that adds scene number `scene`."""
    return next((part for part in CURRICULUM if scene < part.scenes), CURRICULUM[-1])


def rate_at(fraction: float) -> float:
    """Return the learning rate factor; it rises again with each part and then decays.

    Each part continues where a training that ends with this part would be.
    """
    return learning_rate(fraction / part_at(fraction).end)
