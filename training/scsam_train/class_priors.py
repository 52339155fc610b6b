"""Class priors on SAM's features: fitted on all labelled planes, and leaving each one out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from napari_scsam.core.labels import BACKGROUND, NOT_ANNOTATED
from napari_scsam.models import ClassPrior, Moments

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from scsam_train.embedded_views import SamView

# Maximum number of parts that are left out in turn; each needs a covariance of SAM's features.
# Arbitrary.
PARTS = 8
# Minimum number of cases for leaving out whole cases: with two, a prior would be fitted on one.
MIN_CASES = 3


def fit_priors(
    moments: Iterable[Moments], cases: Sequence[str]
) -> tuple[ClassPrior, list[ClassPrior]]:
    """Fit class priors on N labelled planes: on all of them, and for each plane on the others.

    A prior that was fitted on the plane itself would be too good, and SAM would learn to trust
    the log-odds more than is right on a new plane.

    Parameters
    ----------
    moments : iterable of N Moments
        Consumed one by one: each contains a matrix of SAM's features per class.
    cases : sequence of N str
        With at least three cases, whole cases are left out; with fewer, single planes.

    Returns
    -------
    everything : ClassPrior
    of_others : list of N ClassPrior
    """
    parts = _parts(cases)
    sums: dict[int, Moments] = {}
    for part, found in zip(parts, moments, strict=True):
        sums[part] = Moments.sum([sums[part], found]) if part in sums else found
    priors = {
        part: ClassPrior.fit(found for other, found in sums.items() if other != part)
        for part in sums
    }
    return ClassPrior.fit(sums.values()), [priors[part] for part in parts]


def _parts(cases: Sequence[str]) -> list[int]:
    """Return the part with which each plane is left out."""
    parts = list(range(len(cases)))
    if len(set(cases)) >= MIN_CASES:
        numbers = {case: number for number, case in enumerate(sorted(set(cases)))}
        parts = [numbers[case] for case in cases]
    return [part % PARTS for part in parts]


class ClassPriors:
    """Log-odds of a round's classes; for a labelled plane they come from other cases' planes.

    Parameters
    ----------
    everything : ClassPrior
        Fitted on all labelled planes, by the positions 1..K.
    of_others : sequence of ClassPrior
        Fitted on the other planes, for each labelled plane.
    classes : int
        K.

    Attributes
    ----------
    covered : tuple of int
        Positions of the classes that have a prior.
    everything : ClassPrior
        Restricted to these classes.
    """

    def __init__(
        self, everything: ClassPrior, of_others: Sequence[ClassPrior], classes: int
    ) -> None:
        # Not a class that only the planes of one part contain: SAM would get its log-odds only on
        # planes without it, and would learn that log-odds mean absence.
        self.covered = tuple(
            position
            for position in range(1, classes + 1)
            if all(prior.knows(position) for prior in [everything, *of_others])
        )
        self._classes, self._shown = classes, len(everything.class_ids) - 1
        self.everything = self._restricted(everything)
        self._of_others = [self._restricted(prior) for prior in of_others]

    def _restricted(self, prior: ClassPrior) -> ClassPrior:
        """Return the prior with all other classes merged into the background."""
        return prior.renamed([p if p in self.covered else 0 for p in prior.class_ids])

    @staticmethod
    def of(
        views: Sequence[Sequence[SamView]], cases: Sequence[str], judged: Tensor
    ) -> ClassPriors | None:
        """Fit the priors on the views of labelled planes.

        Parameters
        ----------
        views : sequence of L sequences of SamView
        cases : sequence of L str
        judged : Tensor of shape (L, K), bool
            Whether a class was judged on a plane.

        Returns
        -------
        ClassPriors or None
            None if no class occurs on planes of two parts.
        """
        shown = _shown_twice([seen[0].label for seen in views], cases)
        known = [{0, *(column.nonzero()[:, 0] + 1).tolist()} for column in judged.cpu()]
        moments = (
            Moments.sum(
                Moments.of(view.features[0].float(), prior_label(view.label, shown, plane))
                for view in seen
            )
            for seen, plane in zip(views, known, strict=True)
        )
        priors = ClassPriors(*fit_priors(moments, cases), judged.shape[1])
        return priors if priors.covered else None

    @property
    def complete(self) -> bool:
        """Whether every class that a labelled plane contains has a prior."""
        return len(self.covered) == self._shown

    def named(self, class_ids: Sequence[int]) -> ClassPrior:
        """Return the prior of all labelled planes, with the K class ids instead of positions."""
        positions = self.everything.class_ids
        return self.everything.renamed([class_ids[p - 1] if p else 0 for p in positions])

    def prior_for(self, plane: int | None) -> ClassPrior:
        """Return the prior for a new plane, or for a labelled one that was fitted without it."""
        return self.everything if plane is None else self._of_others[plane]

    def odds(self, features: Tensor, plane: int | None = None) -> Tensor:
        """Return the log-odds of every class.

        Parameters
        ----------
        features : Tensor of shape (N, 256, e, e), float32
        plane : int, optional
            Index of the labelled plane that the features belong to.

        Returns
        -------
        Tensor of shape (N, K, 4 e, 4 e)
            NaN for a class without a prior.
        """
        prior = self.prior_for(plane)
        found = {position: prior.log_odds(features, position) for position in self.covered}
        nothing = torch.full_like(found[self.covered[0]], torch.nan)
        return torch.cat([found.get(p, nothing) for p in range(1, self._classes + 1)], dim=1)


def _shown_twice(labels: Sequence[Tensor], cases: Sequence[str]) -> set[int]:
    """Return the label values that planes of two parts contain; others get no prior."""
    parts: dict[int, set[int]] = {}
    for label, part in zip(labels, _parts(cases), strict=True):
        for value in np.unique(label.numpy()):
            parts.setdefault(int(value), set()).add(part)
    return {value for value, found in parts.items() if len(found) > 1}


def prior_label(label: Tensor, shown: Collection[int], known: Collection[int]) -> Tensor:
    """Return the label map from which the moments of a plane are computed.

    Parameters
    ----------
    label : Tensor of shape (side, side), uint8
    shown : collection of int
        Values in the label maps of all planes.
    known : collection of int
        The classes that were judged on this plane.

    Returns
    -------
    Tensor of shape (side, side), uint8
        The background becomes 255 if it may contain a class that another plane shows and that was
        not judged here: it would bias the prior of that class.
    """
    if {*shown} - {*known, BACKGROUND, NOT_ANNOTATED}:
        return label.masked_fill(label == BACKGROUND, NOT_ANNOTATED)
    return label
