"""Class prior on SAM's features, fitted in closed form on a few labelled planes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from napari_scsam.core.errors import ModelError
from napari_scsam.core.labels import NOT_ANNOTATED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

PRIOR_FILE = "prior.safetensors"
# Minimum annotated share of a cell of the embedding's grid to be used. Arbitrary.
_KNOWN = 0.5
# A class of n cells has the weight n to this power: otherwise the background would dominate.
# Arbitrary.
_BALANCE = 0.5
# Shrinkage of the covariance towards its diagonal if many planes are known, and the minimum
# diagonal entry. Arbitrary.
_SHRINKAGE, _LEAST = 0.01, 1e-6


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over a plane's cells by class; they add up over planes.

    Attributes
    ----------
    by_class : mapping of int to (Tensor of shape (), Tensor of shape (D,), Tensor of shape (D, D))
        For each class on the plane, including the background's 0: number of cells, sum of their
        features, sum of the features' outer products; float64. A cell is divided among the
        classes by area.
    """

    by_class: Mapping[int, tuple[Tensor, Tensor, Tensor]]

    @staticmethod
    def of(features: Tensor, label: Tensor) -> Moments:
        """Compute the moments of one plane.

        Parameters
        ----------
        features : Tensor of shape (D, e, e)
            SAM's embedding.
        label : Tensor of shape (side, side), uint8
            0 background, class ids, 255 unknown, on SAM's square input; side is a multiple of e.
        """
        cells = features.shape[-1]
        x = features.flatten(1).T.double()
        known = _shares(label != NOT_ANNOTATED, cells)
        found = {}
        for class_id in np.unique(label.numpy()):
            if class_id == NOT_ANNOTATED:
                continue
            share = _shares(label == class_id, cells) / known.clamp(min=_LEAST)
            share = torch.where(known >= _KNOWN, share, 0.0)
            if share.any():
                weighted = share[:, None] * x
                found[int(class_id)] = (share.sum(), weighted.sum(0), weighted.T @ x)
        return Moments(found)

    @staticmethod
    def sum(planes: Iterable[Moments]) -> Moments:
        """Add up the moments of several planes."""
        total: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        for plane in planes:
            for class_id, (count, first, second) in plane.by_class.items():
                if class_id in total:
                    before = total[class_id]
                    count, first, second = before[0] + count, before[1] + first, before[2] + second
                total[class_id] = count, first, second
        return Moments(total)


class ClassPrior:
    """Log-odds of classes for each cell of SAM's embedding, by linear discriminant analysis.

    The features of each class are modelled as normally distributed with a common covariance,
    shrunk towards its diagonal (Hastie, Tibshirani and Friedman, The Elements of Statistical
    Learning, 4.3). Fitting takes no training steps. The log-odds show where a plane resembles a
    labelled object. SAM gets them as mask prompt together with a click that selects the object.

    Parameters
    ----------
    class_ids : sequence of int
        Background's 0 first; empty if there are fewer than two classes.
    weight : Tensor of shape (D, K + 1), float32
    bias : Tensor of shape (K + 1,), float32
    """

    def __init__(self, class_ids: Sequence[int], weight: Tensor, bias: Tensor) -> None:
        self.class_ids = tuple(class_ids)
        self._weight, self._bias = weight, bias

    @staticmethod
    def fit(planes: Iterable[Moments], shrinkage: float = _SHRINKAGE) -> ClassPrior:
        """Fit the discriminants of the classes on these planes.

        Parameters
        ----------
        planes : iterable of Moments
        shrinkage : float
            Shrinkage of the covariance towards its diagonal, 0..1; fewer cells need more.
        """
        sums = Moments.sum(planes).by_class
        ids = sorted(sums)
        if len(ids) < 2 or ids[0] != 0:
            return ClassPrior((), torch.zeros(0, 0), torch.zeros(0))
        counts, first, second = (torch.stack([sums[c][i] for c in ids]) for i in range(3))
        weights = counts**-_BALANCE
        means = first / counts[:, None]
        within = second - counts[:, None, None] * means[:, :, None] * means[:, None, :]
        covariance = (weights[:, None, None] * within).sum(0) / (weights * counts).sum()
        diagonal = covariance.diagonal()
        least = _LEAST * diagonal.mean().clamp(min=_LEAST)
        covariance = (1 - shrinkage) * covariance + torch.diag(shrinkage * diagonal + least)
        weight = torch.linalg.solve(covariance, means.T).contiguous()
        bias = (weights * counts).log() - 0.5 * (means.T * weight).sum(0)
        return ClassPrior(ids, weight.float(), bias.float())

    def renamed(self, class_ids: Sequence[int]) -> ClassPrior:
        """Return a copy with other class ids, background's 0 first."""
        return ClassPrior(class_ids, self._weight, self._bias)

    def knows(self, class_id: int) -> bool:
        """Whether the class has a prior."""
        return class_id != 0 and class_id in self.class_ids

    def log_odds(self, features: Tensor, class_id: int) -> Tensor:
        """Return the log-odds of a class against all others.

        Parameters
        ----------
        features : Tensor of shape (N, D, e, e), float32
            SAM's embeddings.
        class_id : int
            A class with a prior.

        Returns
        -------
        Tensor of shape (N, 1, 4 e, 4 e), float32
            On the grid of SAM's low-resolution masks.
        """
        odds = self._cell_odds(features, [self.class_ids.index(class_id)])
        return functional.interpolate(odds, scale_factor=4.0, mode="bilinear")

    def cell_log_odds(self, features: Tensor, class_ids: Sequence[int]) -> Tensor:
        """Return the log-odds of several classes, each against all others, per embedding cell.

        Parameters
        ----------
        features : Tensor of shape (N, D, e, e), float32
            SAM's embeddings.
        class_ids : sequence of int
            K classes.

        Returns
        -------
        Tensor of shape (N, K, e, e), float32
            0 for a class without a prior.
        """
        found = features.new_zeros((len(features), len(class_ids), *features.shape[2:]))
        known = [at for at, class_id in enumerate(class_ids) if self.knows(class_id)]
        positions = [self.class_ids.index(class_ids[at]) for at in known]
        if positions:
            found[:, known] = self._cell_odds(features, positions)
        return found

    def _cell_odds(self, features: Tensor, positions: Sequence[int]) -> Tensor:
        """Return the log-odds (N, P, e, e) of the classes at these positions."""
        weight, bias = self._weight.to(features.device), self._bias.to(features.device)
        scores = torch.einsum("ndij,dk->nkij", features, weight) + bias[:, None, None]
        count = len(self.class_ids)
        others = [[i for i in range(count) if i != position] for position in positions]
        odds = [
            scores[:, p] - scores[:, o].logsumexp(1) for p, o in zip(positions, others, strict=True)
        ]
        return torch.stack(odds, dim=1)

    def tensors(self) -> dict[str, Tensor]:
        """Return its parameters by name."""
        ids = torch.tensor(self.class_ids, dtype=torch.int64)
        return {"class_ids": ids, "weight": self._weight, "bias": self._bias}

    @staticmethod
    def of_tensors(tensors: Mapping[str, Tensor], path: Path, prefix: str = "") -> ClassPrior:
        """Build a prior from the tensors of the file `path`, whose names have a prefix.

        Raises
        ------
        ModelError
            If one is missing, or their shapes do not fit.
        """
        try:
            ids, weight, bias = (tensors[prefix + name] for name in ("class_ids", "weight", "bias"))
        except KeyError as exc:
            raise ModelError(f"The class prior in {path} can't be read: it is damaged.") from exc
        dimensions = ids.ndim, weight.ndim, bias.ndim
        if dimensions != (1, 2, 1) or not weight.shape[1] == len(ids) == len(bias):
            raise ModelError(f"The class prior in {path} can't be read: its sizes do not fit.")
        return ClassPrior(ids.tolist(), weight.float(), bias.float())

    def save(self, path: Path) -> None:
        """Write it as a safetensors file."""
        save_file(self.tensors(), path)

    @staticmethod
    def load(path: Path) -> ClassPrior:
        """Read what `save` wrote.

        Raises
        ------
        ModelError
            If it is missing or damaged.
        """
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as exc:
            raise ModelError(f"The class prior in {path} can't be read: it is damaged.") from exc
        return ClassPrior.of_tensors(tensors, path)


# A prior without any class.
NO_PRIOR = ClassPrior((), torch.zeros(0, 0), torch.zeros(0))


def _shares(mask: Tensor, cells: int) -> Tensor:
    """Return the share of each cell covered by a mask (side, side), shape (cells * cells,)."""
    step = mask.shape[-1] // cells
    return functional.avg_pool2d(mask[None].double(), step).flatten()
