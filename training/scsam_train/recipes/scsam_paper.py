"""SC-SAM as in its published code (arXiv 2601.17934), with the two faults of its prompts corrected.

What is known of it (docs/explanation/published-method.md): U-Net and SAM see the same view of each
picture, a weak one of labelled planes and a strong one of the others. SAM is prompted by five
random points inside and five outside of each class of the U-Net's label map, and by the learned
tokens of the class. Each network is trained on the other's hard label map: SAM's at full weight
from the start, the U-Net's with a ramp. The entropy of the U-Net's predictions is minimised on all
images, with weight 0.9. The losses are cross-entropy and a Dice of the whole batch including the
background, for labels and pseudo-labels separately. SGD for the U-Net and Adam for SAM, with
linearly falling learning rates, without gradient clipping and moving averages.

Corrected: the points are where the U-Net put them, in SAM's order of coordinates.

Different, because of this project:

* On a CPU, SAM's image encoder is frozen, and embeddings are computed before the first step. SAM
  then gets the plane without augmentation, or one of up to two embedded views of a labelled plane,
  and the U-Net the paper's view of the same picture. The points are mapped back to SAM's picture,
  and SAM's prediction is warped to the U-Net's view, in which both are compared and both losses
  are computed. The U-Net's rotation, shift, distortion, brightness and holes do not apply to SAM,
  and SAM's labels have no holes. With an adapted encoder SAM gets the same view as the U-Net.
* The networks: this project's U-Net from scratch (group normalisation, no dropout), the chosen base
  SAM with all of its own weights, LoRA or DoRA instead of Med-SA's adapters, and two tokens per
  class that do not depend on the image.
* The background is not prompted: its map is 0, as in the predictions of a round's SAM.
* The sizes of batches and pictures, the number of steps and half precision are as in all recipes.
  The paper has batches of 6 + 6 pictures of 256 px and 40,000 steps in single precision. Fractions
  of a round replace its numbers of steps. Slices are padded instead of squeezed, and padding is
  ignored. Without `mirror` nothing is flipped. No view is repeated, unlike in the code, whose
  workers repeat theirs. The entropy is divided by ln(K + 1), not ln 2. A class that was not judged
  on a plane is unknown there, and its background may belong to it.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from napari_scsam.models import Partner, trainable_parameters
from scsam_train.augment import Augmenter
from scsam_train.decoding import Decoder, PromptBatch
from scsam_train.embedded_views import VIEWS_STREAM, embedded_view
from scsam_train.encoding import encoding_of
from scsam_train.losses import IGNORE, likeliest_known, merged
from scsam_train.paper_losses import batch_loss, entropy_loss
from scsam_train.paper_views import STRONG, WEAK, View, Views, taken_at, unmoved
from scsam_train.precision import mixed_precision
from scsam_train.recipe_context import RecipeContext, StepReport
from scsam_train.schedules import ramp
from scsam_train.students import descend

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from scsam_train.clicks import Click


# Points inside and outside of each class (docs/explanation/published-method.md).
POINTS = 5
# Weight of the entropy (the same page).
ENTROPY = 0.9
# SGD of the U-Net: learning rate, momentum and weight decay (the same page).
UNET_RATE, MOMENTUM, DECAY = 0.01, 0.9, 1e-4
# Learning rate of SAM's Adam (the same page).
SAM_RATE = 1e-4
# Fraction of the round at which the ramp of the U-Net's pseudo-labels ends: 10,000 of 40,000 steps
# in the paper's code (the same page).
RAMP_END = 0.25


@dataclass(frozen=True, eq=False)
class _Shown:
    """A plane before its view is drawn.

    Attributes
    ----------
    labelled : bool
    image : Tensor of shape (1, C, s, s), float32, 0..1
    label : Tensor of shape (1, s, s), uint8
        0..K, 255 for unknown pixels; for an unlabelled plane 0, and 255 in the padding.
    known : Tensor of shape (1, K), bool
        Classes that were judged on the plane; for an unlabelled plane, on any labelled one.
    features : Tensor
        As `SamView.features`.
    """

    labelled: bool
    image: Tensor
    label: Tensor
    known: Tensor
    features: Tensor


class ScSamPaper:
    """Cross hard pseudo-labels on one view, and point prompts from the U-Net."""

    members: ClassVar[tuple[str, ...]] = ("unet", "sam")
    uses_unlabelled: ClassVar[bool] = True
    from_scratch: ClassVar[bool] = True
    partner: ClassVar[Partner] = "sam"

    def __init__(self, context: RecipeContext) -> None:
        self._context, self._data = context, context.materials
        self._network = context.unet.network
        self._decoder = Decoder(context.sam.module)
        self._encoding = encoding_of(context.sam, context.settings)
        self._augmenter = Augmenter(context.settings, VIEWS_STREAM)
        self._sam_parameters = trainable_parameters(context.sam.module)
        self._unet_parameters = list(self._network.parameters())
        self._unet_optimiser = torch.optim.SGD(
            self._unet_parameters, lr=UNET_RATE, momentum=MOMENTUM, weight_decay=DECAY
        )
        self._sam_optimiser = torch.optim.Adam(self._sam_parameters.values(), lr=SAM_RATE)
        self._step = 0

    def step(self, fraction: float) -> StepReport:
        """Take one step; see `Recipe.step`."""
        chosen, names = self._choose()
        of = len(chosen)
        own = range(of)[self._context.world.part(of)]
        seed = [self._context.settings.seed, 30, self._step]
        rngs = [np.random.default_rng([*seed, at]) for at in own]
        shown = [self._load(*chosen[at], rng) for at, rng in zip(own, rngs, strict=True)]
        losses = self._losses(shown, rngs, fraction, of)
        for optimiser, rate in ((self._unet_optimiser, UNET_RATE), (self._sam_optimiser, SAM_RATE)):
            optimiser.param_groups[0]["lr"] = rate * max(1 - fraction, 0.0)
        of_unet, of_sam = (
            descend(loss, parameters, [optimiser], self._context.world, names, clip=math.inf)
            for loss, parameters, optimiser in (
                (losses[0], self._unet_parameters, self._unet_optimiser),
                (losses[1], self._sam_parameters.values(), self._sam_optimiser),
            )
        )
        self._step += 1
        return StepReport(of_unet, of_sam, pictures=of)

    def _losses(
        self,
        shown: Sequence[_Shown],
        rngs: Sequence[np.random.Generator],
        fraction: float,
        of: int,
    ) -> tuple[Tensor, Tensor]:
        """Return the losses of the U-Net and of SAM, over this process's part of `of` pictures."""
        mirror = self._context.settings.mirror
        strengths = [WEAK if one.labelled else STRONG for one in shown]
        views = Views(
            [View.draw(how, rng, mirror=mirror) for how, rng in zip(strengths, rngs, strict=True)]
        )
        images = views.pictures(torch.cat([one.image for one in shown]))
        with mixed_precision(self._context.unet.device):
            from_unet = self._network(images).float()
        guess = likeliest_known(from_unet, self._data.known)
        from_sam = self._sam_logits(views, shown, guess, rngs)
        from_sam_labels = likeliest_known(from_sam, self._data.known)
        labels = torch.cat([one.label for one in shown])
        in_unet = views.labels(labels, holes=True)
        in_sam = in_unet if self._encoding.sees_views else views.labels(labels, holes=False)
        unet = self._crossed(from_unet, shown, in_unet, from_sam_labels, 1.0)
        sam = self._crossed(from_sam, shown, in_sam, guess, ramp(fraction, RAMP_END))
        return unet + ENTROPY * entropy_loss(from_unet, of), sam

    def _crossed(
        self,
        logits: Tensor,
        shown: Sequence[_Shown],
        labels: Tensor,
        other: Tensor,
        weight: float,
    ) -> Tensor:
        """Return a network's loss: on labels, and on the other's prediction elsewhere."""
        labelled = torch.tensor([one.labelled for one in shown], device=labels.device)
        of_labels = labels.masked_fill(~labelled[:, None, None], IGNORE)
        of_other = other.masked_fill(labelled[:, None, None] | (labels == IGNORE), IGNORE)
        known = torch.cat([one.known for one in shown])
        if not bool(known.all()):
            logits = merged(logits, known)
        world = self._context.world
        own = batch_loss(logits, of_labels.long(), world)
        return own + weight * batch_loss(logits, of_other.long(), world)

    def _choose(self) -> tuple[list[tuple[bool, int]], list[str]]:
        """Choose the planes of a step: whether labelled, and the index of each; and their names."""
        settings, data = self._context.settings, self._data
        seed, usable = settings.seed, len(data.unlabelled_features)
        own = _in_turn(len(data.images), settings.labelled_batch, self._step, [seed, 31])
        others = _in_turn(usable, settings.unlabelled_batch, self._step, [seed, 32])
        names = [data.names[i] for i in own] + [data.unlabelled_names[i] for i in others]
        return [*((True, i) for i in own), *((False, i) for i in others)], names

    def _load(self, labelled: bool, index: int, rng: np.random.Generator) -> _Shown:
        data = self._data
        if not labelled:
            label = torch.zeros_like(data.unlabelled_valid[index : index + 1], dtype=torch.uint8)
            label = label.masked_fill(~data.unlabelled_valid[index : index + 1], IGNORE)
            image = data.unlabelled_images[index : index + 1]
            return _Shown(False, image, label, data.known[None], data.unlabelled_features[index])
        image, label = data.images[index : index + 1], data.labels[index : index + 1]
        view = int(rng.integers(len(data.views[index])))
        if view:
            image, label = embedded_view(self._augmenter, image, label, index, view)
        known = data.judged[index : index + 1]
        return _Shown(True, image, label, known, data.views[index][view].features)

    def _sam_logits(
        self,
        views: Views,
        shown: Sequence[_Shown],
        guess: Tensor,
        rngs: Sequence[np.random.Generator],
    ) -> Tensor:
        """Return SAM's logits (N, K + 1, s, s) in the U-Net's view; 0 for the background."""
        features = torch.cat([one.features for one in shown])
        features = self._encoding(self._encoding.in_view(features, views))
        size = guess.shape[-1]
        moves = not self._encoding.sees_views
        places = views.places(size) if moves else unmoved(len(shown), size)
        logits = []
        for position in range(1, 1 + self._context.classes):
            classes = torch.full((len(guess),), position - 1, device=features.device)
            masks = (guess == position).cpu().numpy()
            clicks = [
                _random_clicks(mask, where.numpy(), self._decoder.side, rng)
                for mask, where, rng in zip(masks, places, rngs, strict=True)
            ]
            logits.append(self._decoder(features, PromptBatch(classes, clicks=clicks))[0])
        found = taken_at(torch.cat(logits, dim=1), places)
        return torch.cat([torch.zeros_like(found[:, :1]), found], dim=1)

    @contextmanager
    def teachers_in_place(self) -> Iterator[None]:
        """Do nothing: in the paper there are no moving averages."""
        yield

    def finish(self) -> None:
        """Do nothing: the networks have the weights to keep."""

    def state(self) -> dict[str, Any]:
        """Return everything that is needed to resume."""
        return {
            "unet": self._network.state_dict(),
            "sam": {name: p.detach() for name, p in self._sam_parameters.items()},
            "optimisers": [
                self._unet_optimiser.state_dict(),
                self._sam_optimiser.state_dict(),
            ],
            "step": self._step,
        }

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a saved `state`."""
        self._network.load_state_dict(state["unet"])
        for name, parameter in self._sam_parameters.items():
            parameter.copy_(state["sam"][name])
        for optimiser, kept in zip(
            (self._unet_optimiser, self._sam_optimiser), state["optimisers"], strict=True
        ):
            optimiser.load_state_dict(kept)
        self._step = int(state["step"])


def _in_turn(total: int, count: int, step: int, seed: Sequence[int]) -> list[int]:
    """Return the indices of `count` of `total` pictures for a step: epochs in random order."""
    if not total:
        return []
    places = range(step * count, (step + 1) * count)
    orders = {
        turn: np.random.default_rng([*seed, turn]).permutation(total)
        for turn in {place // total for place in places}
    }
    return [int(orders[place // total][place % total]) for place in places]


def _random_clicks(
    mask: NDArray[np.bool_], places: NDArray[np.float32], side: int, rng: np.random.Generator
) -> list[Click]:
    """Draw five points inside a mask and five outside, padded with the label -1 as in SAM.

    Parameters
    ----------
    mask : ndarray of shape (s, s), bool
        The class in the U-Net's view.
    places : ndarray of shape (s, s, 2), float32
        Position of each pixel in SAM's picture: (x, y), -1..1.
    side : int
        Side of the grid of the clicks, in px.
    rng : numpy.random.Generator
    """
    clicks: list[Click] = []
    # Each pixel has its own random number, so that a rounding error in one pixel of the mask does
    # not change the points elsewhere.
    lot = rng.random(mask.shape)
    for inside in (True, False):
        spots = np.argwhere(mask == inside)
        picked = spots[np.argsort(lot[mask == inside])[:POINTS]]
        for x, y in places[picked[:, 0], picked[:, 1]]:
            row, col = ((float(at) + 1) * side / 2 - 0.5 for at in (y, x))
            clicks.append((row, col, int(inside)))
        clicks += [(0.0, 0.0, -1)] * (POINTS - len(picked))
    return clicks
