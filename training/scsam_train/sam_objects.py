"""The objects that SAM is trained on in a step: drawn from labels, pseudo-labels and U-Net maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scsam_train.losses import IGNORE
from scsam_train.pseudo import PseudoLabels, of_trusted
from scsam_train.refinement import CORRUPTED, EarlyMaps, corrupted, refinement_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_scsam.core.prompts import Prompts
    from scsam_train.embedded_views import SamView
    from scsam_train.encoding import Encoding
    from scsam_train.recipe_context import RecipeContext

# Minimum reliability of a class, 0..1. Below it, its pseudo-labels are not used. Arbitrary.
MIN_WEIGHT = 0.2
# Weight of the U-Net in the pseudo-labels that SAM is trained on. Equal weights keep only pixels
# on which both are confident, so that SAM's own mistakes do not come back to it. Pseudo-labels of
# the U-Net alone are used for a class that it segments at least as well. Both are arbitrary.
EQUAL_WEIGHT, UNET_ALONE = 0.5, 1.0
# Share of the labelled objects that are drawn from planes which contain the class; the others come
# from any plane judged for it, where it may be absent. Arbitrary.
PRESENT = 0.7


@dataclass(frozen=True, eq=False)
class SamObject:
    """One training sample for SAM: a class on one view of a plane.

    Attributes
    ----------
    features : Tensor of shape (1, 256, e, e), float16
        As `SamView.features`.
    position : int
        Position of the class, 1..K.
    target : Tensor of shape (side, side), uint8
        1 for the object, 0 for the rest, 255 for unknown pixels.
    weight : float
        Weight in the loss: 1 for a label, the reliability of the class for a pseudo-label.
    name : str
        Name of the plane.
    odds : Tensor of shape (side, side), float32, or None
        Log-odds of the class prior; None without one.
    prompts : Prompts or None
        Prompts from a map of the U-Net; None for other kinds of prompts.
    """

    features: Tensor
    position: int
    target: Tensor
    weight: float
    name: str
    odds: Tensor | None = None
    prompts: Prompts | None = None


class ObjectSampler:
    """Draws training samples for SAM.

    Parameters
    ----------
    context : RecipeContext
    encoding : Encoding
        Augments what is drawn.
    side : int
        Side of SAM's low-resolution masks.
    pseudo : PseudoLabels or None
        Pseudo-labels of the unlabelled planes.
    early : EarlyMaps
        Predictions of the U-Net for the labelled planes.
    """

    def __init__(
        self,
        context: RecipeContext,
        encoding: Encoding,
        side: int,
        pseudo: PseudoLabels | None,
        early: EarlyMaps,
    ) -> None:
        self._context, self._encoding, self._side = context, encoding, side
        self._pseudo, self._early = pseudo, early
        self._containing = [
            [plane for plane, seen in enumerate(context.materials.views) if _contains(seen[0], k)]
            for k in range(1, 1 + context.classes)
        ]
        # Only planes that were judged for a class: on others it is unknown whether it is absent.
        judged = context.materials.judged.cpu().T
        self._judged = [column.nonzero()[:, 0].tolist() for column in judged]
        self._positions = [position for position, planes in enumerate(self._judged, 1) if planes]

    def mapped(self, rng: np.random.Generator) -> list[SamObject]:
        """Draw a batch that is prompted by maps; only from labelled planes, with a true target.

        It may be smaller than a batch: some maps contain no part that is large enough.
        """
        found = [self._mapped(rng) for _ in range(self._context.settings.sam_batch)]
        return [one for one in found if one is not None]

    def mixed(
        self, reliability: NDArray[np.float64] | None, rng: np.random.Generator
    ) -> list[SamObject]:
        """Draw a batch: one half from labels, the other from pseudo-labels.

        Parameters
        ----------
        reliability : ndarray of shape (K,), optional
            Weights of the pseudo-labels by class, 0..1. All samples come from labels if it is
            None, or if no class reaches `MIN_WEIGHT`.
        rng : numpy.random.Generator
        """
        trusted: NDArray[np.int64] = np.zeros(0, np.int64)
        if reliability is not None and self._pseudo is not None and len(self._pseudo.ready):
            trusted = np.flatnonzero(reliability > MIN_WEIGHT)
        size = self._context.settings.sam_batch
        from_pseudo = size // 2 if len(trusted) else 0
        objects = [self.labelled(rng) for _ in range(size - from_pseudo)]
        if reliability is not None and from_pseudo:
            objects += self._pseudo_labelled(rng.choice(trusted, from_pseudo), reliability, rng)
        return objects

    def labelled(self, rng: np.random.Generator) -> SamObject:
        """Draw a class, and a view of a labelled plane that was judged for it."""
        position, plane = self._draw(rng)
        choices = self._context.materials.views[plane]
        view = choices[int(rng.integers(len(choices)))]
        features, target = self._encoding.weak(view.features, _mask_of(view, position), rng)
        name = self._context.materials.names[plane]
        odds = self._odds(view.features, position, plane)
        return SamObject(features, position, target, 1.0, name, odds)

    def _draw(self, rng: np.random.Generator) -> tuple[int, int]:
        """Draw the position of a class, and a labelled plane that was judged for it."""
        position = self._positions[int(rng.integers(len(self._positions)))]
        planes, present = self._judged[position - 1], self._containing[position - 1]
        if present and rng.random() < PRESENT:
            planes = present
        return position, int(rng.choice(planes))

    def _mapped(self, rng: np.random.Generator) -> SamObject | None:
        """Draw a class on a labelled plane with a map of it: the U-Net's, or a corrupted label."""
        position, plane = self._draw(rng)
        choices = self._context.materials.views[plane]
        # The U-Net's maps belong to the unchanged planes, so they fit the first view only.
        is_made = len(self._early) == 0 or rng.random() < CORRUPTED
        view = choices[int(rng.integers(len(choices))) if is_made else 0]
        features, target = self._encoding.weak(view.features, _mask_of(view, position), rng)
        if is_made:
            odds = corrupted((target == 1).numpy(), rng)
        else:
            odds = self._early.odds(plane, position, self._side, rng)
        found = refinement_of(odds, target, rng)
        if found is None:
            return None
        name = self._context.materials.names[plane]
        return SamObject(features, position, found.target, 1.0, name, prompts=found.prompts)

    def _odds(self, features: Tensor, position: int, plane: int | None = None) -> Tensor | None:
        """Return the log-odds of a class's prior, (side, side), from unaugmented features."""
        priors = self._context.class_priors
        return None if priors is None else priors.odds(features.float(), plane)[0, position - 1]

    def _pseudo_labelled(
        self,
        columns: NDArray[np.int64],
        reliability: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> list[SamObject]:
        """Draw one object of each of these classes (0..K - 1), on random unlabelled planes."""
        assert self._pseudo is not None
        data = self._context.materials
        indices = rng.choice(self._pseudo.ready, len(columns))
        leads = self._unet_leads()
        shares = [UNET_ALONE if leads[column] else EQUAL_WEIGHT for column in columns]
        maps = {share: self._labels(indices, share, reliability) for share in set(shares)}
        objects = []
        for row, (index, column) in enumerate(zip(indices, columns, strict=True)):
            label = maps[shares[row]][row]
            target = (label == column + 1).to(torch.uint8).masked_fill(label == IGNORE, IGNORE)
            features, target = self._encoding.strong(data.unlabelled_features[index], target, rng)
            weight, name = float(reliability[column]), data.unlabelled_names[index]
            odds = self._odds(data.unlabelled_features[index], int(column) + 1)
            objects.append(SamObject(features, int(column) + 1, target, weight, name, odds))
        return objects

    def _labels(
        self, indices: NDArray[np.int64], share: float, reliability: NDArray[np.float64]
    ) -> Tensor:
        """Return pseudo-labels (N, side, side) of reliable classes; `share` is the U-Net's."""
        assert self._pseudo is not None
        maps = self._pseudo.label_maps(indices, share=share)[:, None].float()
        sized = functional.interpolate(maps, (self._side, self._side))[:, 0].to(torch.uint8).cpu()
        return of_trusted(sized, reliability > MIN_WEIGHT)

    def _unet_leads(self) -> list[bool]:
        """For each class, return whether the U-Net's Dice on held-out planes is at least SAM's.

        Only then may its labels contradict SAM. False if nothing is held out.
        """
        unet, sam = (self._context.scores.get(member, {}) for member in ("unet", "sam"))
        names = [name for name in unet if name != "mean"] or [""] * self._context.classes
        pairs = [(unet.get(name), sam.get(name)) for name in names]
        return [a is not None and b is not None and a >= b for a, b in pairs]


def _mask_of(view: SamView, position: int) -> Tensor:
    """Return the mask of a class on a view: 0, 1, and 255 for unknown pixels."""
    mask = (view.label == position).to(torch.uint8)
    return mask.masked_fill(view.label == IGNORE, IGNORE)


def _contains(view: SamView, position: int) -> bool:
    return bool((view.label == position).any())
