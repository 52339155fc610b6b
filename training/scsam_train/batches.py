"""Batches for a U-Net: mild and strong views of labelled planes, and pseudo-labelled planes."""

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
    """Views of planes, with their labels.

    Attributes
    ----------
    images : Tensor of shape (N, 3, s, s), float32
        0..1; 0 in the padding.
    labels : Tensor of shape (N, s, s), uint8
        0..K; 255 for unknown pixels.
    weights : Tensor of shape (N,), float32
        Weight of each image in the loss.
    names : list of str, length N
        Names of the planes.
    known : Tensor of shape (N, K), float32
        Confidence in the label of each class, 0..1: 1 if a person judged it, 0 if it is unknown.
    sam : Tensor of shape (N, D + K, e, e), float32, or None
        SAM's features of the views (`SamInputs`), 0 for views that are seen without them; None for
        a U-Net of pixels alone.
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
        """Return the part of the batch that one process is trained on."""
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
        Stream of the random draws; another number gives other batches, for a second network.
    """

    def __init__(self, context: RecipeContext, stream: int = 0) -> None:
        self._data, self._seed, self._stream = context.materials, context.settings.seed, stream
        self._augmenter = Augmenter(context.settings, 10 + stream)
        self._sam, self._side_at = context.sam_inputs, context.side_at
        self._sampler = BalancedSampler(self._data.labels.cpu(), self._data.cases, context.classes)

    def labelled(self, count: int, number: int, fraction: float = 1.0) -> Batch:
        """Draw `count` labelled planes, one half in mild views and the other in strong ones.

        `number` is that of the step. The fraction of the round determines the size of the views
        (`RecipeContext.side_at`).
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

    def choose_unlabelled(
        self, among: NDArray[np.int64], count: int, number: int
    ) -> NDArray[np.int64]:
        """Draw `count` indices of unlabelled planes; with repetition only if there are fewer."""
        rng = np.random.default_rng([self._seed, 20 + self._stream, number])
        return rng.choice(among, count, replace=len(among) < count)

    def unlabelled(
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
        """Return strong views of unlabelled planes with their pseudo-labels.

        Parameters
        ----------
        chosen : ndarray of shape (N,), int64
            Indices of the planes.
        labels : Tensor of shape (N, s, s), uint8
            0..K; 255 for unknown pixels.
        weight : float
            Weight of each image in the loss.
        number : int
            Number of the step.
        fraction : float
            Fraction of the round, 0..1.
        known : Tensor of shape (K,), optional
            Confidence in each class, as in `Batch`. Default: 1 for the classes that any labelled
            plane was judged for, 0 for the others.
        distorted : bool
            Whether to distort the views further and to show more of them without SAM's features,
            for a student whose teachers predict from the plain picture.
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
        """Warp SAM's features as the pictures were just warped; set a share of them to 0."""
        return dropped(self._augmenter.carry(maps), rng, share)

    def _sized(self, images: Tensor, labels: Tensor, fraction: float) -> tuple[Tensor, Tensor]:
        side = self._side_at(fraction)
        return shrunk(images, side), shrunk_labels(labels, side)


class SupervisedLoss:
    """The supervised loss of a U-Net, over this process's part of a batch.

    Parameters
    ----------
    context : RecipeContext
    """

    def __init__(self, context: RecipeContext) -> None:
        self._counts = pixel_counts(context.materials.labels, 1 + context.classes)

    def __call__(self, logits: Tensor, batch: Batch, fraction: float, of: int) -> Tensor:
        """Return cross-entropy plus Dice loss (`segmentation_loss`).

        `logits` (N, K + 1, s, s) belong to `batch`; `of` is the size of the batch of all processes.
        """
        balance = class_weights(self._counts, balance_power(fraction))
        labels = batch.labels.long()
        loss = segmentation_loss(logits, labels, batch.weights, balance, batch.known)
        return loss * len(batch) / of
