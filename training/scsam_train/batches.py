"""Batches for a U-Net: labelled planes in mild and strong views, and pseudo-labelled ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from scsam_train.augment import Augmenter
from scsam_train.losses import class_weights, pixel_counts, segmentation_loss
from scsam_train.sam_inputs import DROPPED, DROPPED_OF_DISTORTED, dropped
from scsam_train.sampling import BalancedSampler
from scsam_train.schedules import balance_power, shrunk, shrunk_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scsam_train.recipe_context import RecipeContext


@dataclass(frozen=True, eq=False)
class Batch:
    """Views and what they show.

    Attributes
    ----------
    images : Tensor of shape (N, 3, s, s), float32
    labels : Tensor of shape (N, s, s), uint8
        0..K, 255 unknown.
    weights : Tensor of shape (N,)
        Of each image in the loss.
    names : list of str, length N
        The planes.
    known : Tensor of shape (N, K), float32
        How far each class is known, 0..1: 1 where a person judged it, 0 where it is unknown.
    sam : Tensor of shape (N, D + K, e, e), float32, or None
        What SAM sees of the views, 0 where a view goes without (`SamInputs`); None for a U-Net
        of pixels alone.
    """

    images: Tensor
    labels: Tensor
    weights: Tensor
    names: list[str]
    known: Tensor
    sam: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __add__(self, other: Batch) -> Batch:
        return Batch(
            torch.cat([self.images, other.images]),
            torch.cat([self.labels, other.labels]),
            torch.cat([self.weights, other.weights]),
            self.names + other.names,
            torch.cat([self.known, other.known]),
            None if self.sam is None or other.sam is None else torch.cat([self.sam, other.sam]),
        )

    def part(self, own: slice) -> Batch:
        """One process's part."""
        return Batch(
            self.images[own],
            self.labels[own],
            self.weights[own],
            self.names[own],
            self.known[own],
            None if self.sam is None else self.sam[own],
        )


class BatchSampler:
    """Draws batches for a U-Net; the same number always gives the same batch.

    Parameters
    ----------
    context : RecipeContext
    stream : int
        Tells the draws for several networks apart.
    """

    def __init__(self, context: RecipeContext, stream: int = 0) -> None:
        self._data, self._seed, self._stream = context.materials, context.settings.seed, stream
        self._augmenter = Augmenter(context.settings, 10 + stream)
        self._sam, self._side_at = context.sam_inputs, context.side_at
        self._sampler = BalancedSampler(self._data.labels.cpu(), self._data.cases, context.classes)

    def labelled(self, count: int, number: int, fraction: float = 1.0) -> Batch:
        """Labelled planes: half of them in a mild view, half in a strong one.

        `fraction` of the round says how large they are (`RecipeContext.side_at`).
        """
        rng = np.random.default_rng([self._seed, 10 + self._stream, number])
        drawn = self._sampler.draw(count, rng)
        chosen = torch.from_numpy(drawn)
        images, labels = self._sized(self._data.images[chosen], self._data.labels[chosen], fraction)
        images, labels = self._augmenter.move(images, labels, 2 * number)
        sam = None if self._sam is None else self._joined(self._sam.labelled(drawn), rng)
        half = count - count // 2
        views = [self._augmenter.mild(images[:half], 2 * number)]
        if half < count:
            views.append(self._augmenter.strong(images[half:], 2 * number))
        names = [self._data.names[i] for i in chosen]
        known = self._data.judged[chosen].float()
        ones = torch.ones(count, device=images.device)
        return Batch(torch.cat(views), labels, ones, names, known, sam)

    def choose_others(self, among: NDArray[np.int64], count: int, number: int) -> NDArray[np.int64]:
        """Indices of unlabelled planes."""
        rng = np.random.default_rng([self._seed, 20 + self._stream, number])
        return rng.choice(among, count, replace=len(among) < count)

    def others(
        self,
        chosen: NDArray[np.int64],
        labels: Tensor,
        weight: float,
        number: int,
        fraction: float = 1.0,
        known: Tensor | None = None,
        *,
        distorted: bool = False,
    ) -> Batch:
        """Unlabelled planes with their pseudo-labels (N, s, s), in strong views.

        `known` (K,) says how far each class may be believed, as in `Batch`; as far as it can be
        by default: the classes that some labelled plane was judged for.

        With `distorted` the views are distorted further, and more of them go without SAM's maps:
        for a student of teachers that predict from the plain picture.
        """
        images = self._data.unlabelled_images[torch.from_numpy(chosen)]
        images, labels = self._sized(images, labels, fraction)
        images, labels = self._augmenter.move(images, labels, 2 * number + 1)
        rng = np.random.default_rng([self._seed, 40 + self._stream, number])
        share = DROPPED_OF_DISTORTED if distorted else DROPPED
        sam = None if self._sam is None else self._joined(self._sam.unlabelled(chosen), rng, share)
        change = self._augmenter.distorted if distorted else self._augmenter.strong
        views = change(images, 2 * number + 1)
        names = [self._data.unlabelled_names[i] for i in chosen]
        weights = torch.full((len(views),), weight, device=views.device)
        known = self._data.known.float() if known is None else known.to(views.device)
        return Batch(views, labels, weights, names, known.expand(len(views), -1), sam)

    def _joined(self, maps: Tensor, rng: np.random.Generator, share: float = DROPPED) -> Tensor:
        """SAM's maps, moved as the pictures just were; some pictures go without."""
        return dropped(self._augmenter.carry(maps), rng, share)

    def _sized(self, images: Tensor, labels: Tensor, fraction: float) -> tuple[Tensor, Tensor]:
        side = self._side_at(fraction)
        return shrunk(images, side), shrunk_labels(labels, side)


class SupervisedLoss:
    """The supervised loss of a U-Net's answer, over this process's part of a batch.

    Parameters
    ----------
    context : RecipeContext
    """

    def __init__(self, context: RecipeContext) -> None:
        self._counts = pixel_counts(context.materials.labels, 1 + context.classes)

    def __call__(self, logits: Tensor, batch: Batch, fraction: float, of: int) -> Tensor:
        """Cross-entropy and Dice; `of` is the size of the global batch."""
        balance = class_weights(self._counts, balance_power(fraction))
        labels = batch.labels.long()
        loss = segmentation_loss(logits, labels, batch.weights, balance, batch.known)
        return loss * len(batch) / of
