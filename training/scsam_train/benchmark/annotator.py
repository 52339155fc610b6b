"""A simulated annotator who corrects SAM click by click, through the same interface as the tool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.core.prompts import Point, Prompts, bounding_box, deepest, pixels_of
from napari_scsam.propagation import iou
from scsam_train.clicks import next_click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_scsam.core.arrays import Mask
    from napari_scsam.models import Decoded, Embedding, SamBackend

# Standard deviation of a click from its target in px, for seeds other than 0. Arbitrary.
HAND = 1.5


@dataclass(frozen=True)
class Outcome:
    """Result of annotating one object.

    Attributes
    ----------
    clicks : tuple of float
        Dice after 1, 2, ... clicks.
    box : float
        Dice with the tight box alone.
    estimated, true : tuple of float
        IoU predicted by SAM, and true IoU: after each click, then with the box.
    """

    clicks: tuple[float, ...]
    box: float
    estimated: tuple[float, ...]
    true: tuple[float, ...]


def annotate(
    sam: SamBackend,
    embedding: Embedding,
    truth: Mask,
    count: int,
    seed: int = 0,
    *,
    class_id: int | None = None,
    feed_back: bool = True,
) -> Outcome:
    """Click `count` times on one object, and prompt once with its tight box.

    The first click is in the centre of the largest inscribed disc of the object, each further
    one in that of the largest error. With `feed_back` the last logits are the mask prompt. Seed 0
    clicks exactly there, others nearby. A SAM with a token for the object's class gets
    `class_id`.
    """
    rng = np.random.default_rng(seed)
    answers: list[Decoded] = []
    points: list[Point] = []
    labels: list[int] = []
    for _ in range(count):
        row, col, label = _next(answers, truth)
        points.append(_moved((row, col), bool(label), truth, rng if seed else None))
        labels.append(label)
        fed = answers[-1].logits if answers and feed_back else None
        prompts = Prompts(points=points, labels=labels, mask=fed)
        answers.append(sam.decode(embedding, prompts, class_id=class_id))
    answers.append(sam.decode(embedding, Prompts(box=bounding_box(truth)), class_id=class_id))
    ious = [iou(answer.mask, truth) for answer in answers]
    dice = [2 * iou / (1 + iou) for iou in ious]
    return Outcome(tuple(dice[:-1]), dice[-1], tuple(a.iou for a in answers), tuple(ious))


def _next(answers: Sequence[Decoded], truth: Mask) -> tuple[float, float, int]:
    if answers:
        click = next_click(answers[-1].mask, truth, np.ones_like(truth))
        if click is not None:
            return click
    return (*deepest(truth), 1)


def _moved(at: Point, inside: bool, truth: Mask, rng: np.random.Generator | None) -> Point:
    """Return a jittered place, if it is on the same side of the outline."""
    if rng is None:
        return at
    down, right = rng.normal(0, HAND, 2)
    ((row, col),) = pixels_of([(at[0] + down, at[1] + right)], truth.shape)
    return (float(row), float(col)) if truth[row, col] == inside else at
