"""Simulated annotation episodes: batches of objects, each corrected click by click."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from napari_scsam.core.log_odds import SURE
from napari_scsam.core.prompts import deepest, pixels_of
from napari_scsam.propagation import SETTINGS, box_with_margin, softened
from scsam_train.clicks import Click, first_clicks, jittered_box, next_click
from scsam_train.decoding import PromptBatch, as_shown
from scsam_train.losses import IGNORE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_scsam.core.arrays import Mask

# Maximum number of decodes of an episode. Arbitrary.
MAX_CLICKS = 12
# Probabilities of a click near the centre, and of a click with the wrong sign. Arbitrary.
CENTRED, WRONG = 0.7, 0.01
# Probabilities of feeding the last logits back, and of feeding them back as a mask. Arbitrary.
FED_BACK, AS_MASK = 0.75, 0.1
# Kinds of first prompt that leave the mask prompt free for a class prior.
WITH_PRIOR = ("click", "several", "scribble", "box")


@dataclass(frozen=True, eq=False)
class Embedded:
    """The embedding of a picture, and the objects in it.

    Attributes
    ----------
    features : Tensor of shape (256, e, e), float16
    targets : Tensor of shape (N, side, side), uint8
        0, 1, or 255 for unknown pixels and padding.
    priors : tuple of N Tensors of shape (side, side), or None
        Log-odds of each object's class from the class prior, fitted on other pictures; None for a
        class without one. Empty: no priors.
    """

    features: Tensor
    targets: Tensor
    priors: tuple[Tensor | None, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True)
class EpisodeSettings:
    """What a simulated annotator does, and with which probabilities.

    Attributes
    ----------
    starts : mapping of str to float
        Probabilities of the kinds of first prompt; they sum to 1.
    lengths : sequence of (int, float)
        Maximum lengths of episodes and their probabilities.
    box_alone : float
        Share of the episodes with a box as first prompt that end after it.
    with_prior : float
        Share of the first prompts of `WITH_PRIOR` kinds that come with the class prior, if all
        objects of the batch have one.
    """

    starts: Mapping[str, float] = field(
        default_factory=lambda: {
            "click": 0.54,
            "box": 0.20,
            "several": 0.05,
            "scribble": 0.05,
            "mask": 0.04,
            "outside": 0.02,
            "carried": 0.10,
        }
    )
    # The first clicks matter most, but long episodes must not get worse.
    lengths: Sequence[tuple[int, float]] = ((2, 0.25), (4, 0.25), (8, 0.3), (MAX_CLICKS, 0.2))
    box_alone: float = 0.4
    with_prior: float = 0.0


@dataclass(frozen=True, eq=False)
class Episode:
    """N objects in the same step of the same kind of episode, so that they form a batch.

    Attributes
    ----------
    features : Tensor of shape (N, 256, e, e), float16
    target : Tensor of shape (N, 1, side, side), uint8
        0, 1, or 255 for unknown pixels.
    prompts : PromptBatch
        The prompts so far.
    left : int
        Number of decodes still to come.
    """

    features: Tensor
    target: Tensor
    prompts: PromptBatch
    left: int

    @property
    def box_alone(self) -> bool:
        """Whether a box is the only prompt."""
        prompts = self.prompts
        return prompts.boxes is not None and prompts.clicks is None and prompts.masks is None


def begin(
    corpus: Sequence[Embedded],
    size: int,
    rng: np.random.Generator,
    settings: EpisodeSettings | None = None,
) -> Episode:
    """Draw `size` objects, from different pictures if there are enough, and their first prompts."""
    settings = settings or EpisodeSettings()
    scenes = rng.choice(len(corpus), size, replace=len(corpus) < size)
    targets: list[Tensor] = []
    priors: list[Tensor | None] = []
    for index in scenes:
        scene = corpus[int(index)]
        which = int(rng.integers(len(scene.targets)))
        targets.append(scene.targets[which])
        priors.append(scene.priors[which] if scene.priors else None)
    masks = [(target == 1).numpy() for target in targets]
    kind = str(rng.choice(list(settings.starts), p=list(settings.starts.values())))
    limits, shares = zip(*settings.lengths, strict=True)
    length = int(rng.integers(1, int(rng.choice(limits, p=shares)) + 1))
    if kind == "box" and rng.random() < settings.box_alone:
        length = 1
    features = torch.stack([corpus[int(index)].features for index in scenes])
    prompts = _first(kind, masks, rng)
    known = [prior.float() for prior in priors if prior is not None]
    if len(known) == size and kind in WITH_PRIOR and rng.random() < settings.with_prior:
        prompts = replace(prompts, masks=torch.stack(known)[:, None])
    return Episode(features, torch.stack(targets)[:, None], prompts, length)


def advance(
    episode: Episode, predicted: tuple[Tensor, Tensor], rng: np.random.Generator
) -> Episode:
    """Add one correcting click on each object.

    Parameters
    ----------
    episode : Episode
    predicted : (Tensor of shape (N, 1, side, side), Tensor of shape (N,))
        Logits and predicted IoU for `episode.prompts`.
    rng : numpy.random.Generator
    """
    logits = as_shown(episode.prompts, *predicted).detach()
    clicks = [
        _correction((guess > 0).numpy(), target.numpy(), rng)
        for guess, target in zip(logits[:, 0].cpu(), episode.target[:, 0], strict=True)
    ]
    fed = logits if rng.random() < FED_BACK else None
    if fed is not None and rng.random() < AS_MASK:
        fed = torch.where(fed > 0, SURE, -SURE)
    return replace(episode, prompts=episode.prompts.with_clicks(clicks, fed), left=episode.left - 1)


def _first(kind: str, masks: list[Mask], rng: np.random.Generator) -> PromptBatch:
    if kind == "box":
        return PromptBatch(boxes=np.stack([jittered_box(mask, rng) for mask in masks]))
    if kind == "carried":
        return _carried([_neighbouring(mask, rng) for mask in masks], rng)
    if kind == "several":
        count = int(rng.integers(2, 9))
        return PromptBatch(clicks=[first_clicks(mask, count, rng) for mask in masks])
    if kind == "scribble":
        count = int(rng.integers(5, 13))
        return PromptBatch(clicks=[_scribble(mask, count, rng) for mask in masks])
    clicks = [[_inside(mask, rng)] for mask in masks]
    if kind == "outside":
        clicks = [[_outside(mask, rng), *one] for mask, one in zip(masks, clicks, strict=True)]
    if kind == "mask":
        fed = np.stack([_rough(mask, rng) for mask in masks])[:, None]
        return PromptBatch(clicks=clicks, masks=torch.from_numpy(fed))
    return PromptBatch(clicks=clicks)


def _inside(mask: Mask, rng: np.random.Generator) -> Click:
    if rng.random() < CENTRED:
        row, col = np.array(deepest(mask)) + rng.normal(0, rng.choice((0.0, 1.0, 2.5)), 2)
        if mask[tuple(pixels_of([(row, col)], mask.shape)[0])]:
            return float(row), float(col), 1
    return (*_any_of(mask, rng), 1)


def _outside(mask: Mask, rng: np.random.Generator) -> Click:
    distance = ndimage.distance_transform_edt(~mask)
    near = (distance > 2) & (distance < 30)
    return (*_any_of(near if near.any() else ~mask, rng), 0)


def _correction(guess: Mask, target: NDArray[np.uint8], rng: np.random.Generator) -> Click:
    """Click on the largest error, mostly in its centre; rarely with the wrong sign."""
    truth, valid = target == 1, target != IGNORE
    click = next_click(guess, truth, valid)
    if click is None:  # no error: a confirming click must not change the mask
        return _inside(truth, rng) if rng.random() < 0.5 else _outside(truth, rng)
    row, col, label = click
    near = np.array([row, col]) + rng.normal(0, rng.choice((0.0, 0.0, 1.5)), 2)
    row, col = np.clip(near, 0, np.array(truth.shape) - 1)
    if rng.random() < WRONG:
        return float(row), float(col), 1 - label
    hit = truth[tuple(pixels_of([(row, col)], truth.shape)[0])]
    return float(row), float(col), int(hit)


def _scribble(mask: Mask, count: int, rng: np.random.Generator) -> list[Click]:
    """Draw points along a line between two pixels of the object, where it is inside."""
    ends = np.array([_any_of(mask, rng), _any_of(mask, rng)])
    shares = np.linspace(0, 1, 64)[:, None]
    line = ends[0] + shares * (ends[1] - ends[0])
    at = np.rint(line).astype(int)
    line = line[mask[at[:, 0], at[:, 1]]]
    chosen = line[np.linspace(0, len(line) - 1, count).astype(int)]
    return [(float(row), float(col), 1) for row, col in chosen]


def _rough(mask: Mask, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the logits of a mask as of a neighbouring slice: shifted, dilated or eroded."""
    moved = np.roll(mask, rng.integers(-6, 7, 2), axis=(0, 1))
    steps = int(rng.integers(1, 5))
    change = ndimage.binary_dilation if rng.random() < 0.5 else ndimage.binary_erosion
    changed = change(moved, iterations=steps)
    kept = changed if changed.any() else moved
    return np.where(kept, SURE, -SURE).astype(np.float32)


def _carried(neighbours: list[Mask], rng: np.random.Generator) -> PromptBatch:
    """Prompt with a neighbour's mask and a box around it, as propagation does, or a looser box."""
    boxes = [box_with_margin(mask, float(rng.choice(SETTINGS.box_margins))) for mask in neighbours]
    masks = np.stack([softened(mask) for mask in neighbours])[:, None]
    return PromptBatch(boxes=np.array(boxes, np.float32), masks=torch.from_numpy(masks))


def _neighbouring(mask: Mask, rng: np.random.Generator) -> Mask:
    """Deform a mask smoothly, as the object may look on the next slice."""
    depth = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    change = np.exp(rng.uniform(np.log(0.5), np.log(8.0)))
    wobble = ndimage.gaussian_filter(rng.standard_normal(mask.shape), rng.uniform(8, 30))
    depth = depth + change * (wobble / wobble.std() * 0.5 + rng.normal(0, 0.5))
    moved: Mask = ndimage.shift(depth, rng.normal(0, change / 3, 2), order=1, cval=-1) > 0
    return moved if moved.any() else mask


def _any_of(mask: Mask, rng: np.random.Generator) -> tuple[float, float]:
    where = np.flatnonzero(mask)
    row, col = np.unravel_index(int(where[int(rng.integers(len(where)))]), mask.shape)
    return float(row), float(col)
