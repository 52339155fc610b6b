"""What classes look like on SAM's features: from all labelled planes, and from others' alone."""

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

# Planes are left out in at most so many parts; each takes a covariance of SAM's features.
PARTS = 8
FEWEST_CASES = 3


def fit_priors(
    moments: Iterable[Moments], cases: Sequence[str]
) -> tuple[ClassPrior, list[ClassPrior]]:
    """What N labelled planes say of the classes: all together, and of each plane the others.

    A plane's own label would tell SAM to trust the log-odds more than a new plane's deserve.

    Parameters
    ----------
    moments : iterable of N Moments
        Taken one by one: each holds a matrix of SAM's features for each class.
    cases : sequence of N str
        Of at least three cases whole cases are left out, of fewer planes alone.

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
    """The part that each plane is left out with."""
    parts = list(range(len(cases)))
    if len(set(cases)) >= FEWEST_CASES:
        numbers = {case: number for number, case in enumerate(sorted(set(cases)))}
        parts = [numbers[case] for case in cases]
    return [part % PARTS for part in parts]


class ClassPriors:
    """Log-odds of a round's classes, of a labelled plane as other cases' planes give them.

    Parameters
    ----------
    everything : ClassPrior
        Of all labelled planes, by the positions 1..K.
    of_others : sequence of ClassPrior
        What the others say, for each labelled plane.
    classes : int
        K.

    Attributes
    ----------
    told : tuple of int
        The positions that it knows the looks of.
    everything : ClassPrior
        Knows these alone.
    """

    def __init__(
        self, everything: ClassPrior, of_others: Sequence[ClassPrior], classes: int
    ) -> None:
        # A class that the planes of one part alone show: SAM would be told of it only where it
        # is not, and learn that what it is told means nothing is there.
        self.told = tuple(
            position
            for position in range(1, classes + 1)
            if all(prior.knows(position) for prior in [everything, *of_others])
        )
        self._classes, self._shown = classes, len(everything.class_ids) - 1
        self.everything = self._telling(everything)
        self._of_others = [self._telling(prior) for prior in of_others]

    def _telling(self, prior: ClassPrior) -> ClassPrior:
        """The prior, to which a class that is not told is one more kind of background."""
        return prior.renamed([p if p in self.told else 0 for p in prior.class_ids])

    @staticmethod
    def of(
        views: Sequence[Sequence[SamView]], cases: Sequence[str], judged: Tensor
    ) -> ClassPriors | None:
        """Learn them from the views of labelled planes.

        Parameters
        ----------
        views : sequence of L sequences of SamView
        cases : sequence of L str
        judged : Tensor of shape (L, K), bool
            Whether a class was judged on a plane.

        Returns
        -------
        ClassPriors or None
            None where no class is on planes of two parts: nothing else says how it looks.
        """
        shown = _shown_twice([seen[0].label for seen in views], cases)
        known = [{0, *(column.nonzero()[:, 0] + 1).tolist()} for column in judged.cpu()]
        moments = (
            Moments.sum(
                Moments.of(view.features[0].float(), for_prior(view.label, shown, plane))
                for view in seen
            )
            for seen, plane in zip(views, known, strict=True)
        )
        looks = ClassPriors(*fit_priors(moments, cases), judged.shape[1])
        return looks if looks.told else None

    @property
    def complete(self) -> bool:
        """Whether each class that a labelled plane shows is told."""
        return len(self.told) == self._shown

    def named(self, class_ids: Sequence[int]) -> ClassPrior:
        """Of all labelled planes, by the ids of the K classes; it knows those that are told."""
        positions = self.everything.class_ids
        return self.everything.renamed([class_ids[p - 1] if p else 0 for p in positions])

    def prior_for(self, plane: int | None) -> ClassPrior:
        """What all labelled planes say of the classes, or of one of them what the others say."""
        return self.everything if plane is None else self._of_others[plane]

    def odds(self, features: Tensor, plane: int | None = None) -> Tensor:
        """Log-odds of every class.

        Parameters
        ----------
        features : Tensor of shape (N, 256, e, e), float32
        plane : int, optional
            The labelled plane that they are of.

        Returns
        -------
        Tensor of shape (N, K, 4 e, 4 e)
            NaN for a class that is not told.
        """
        prior = self.prior_for(plane)
        found = {position: prior.log_odds(features, position) for position in self.told}
        nothing = torch.full_like(found[self.told[0]], torch.nan)
        return torch.cat([found.get(p, nothing) for p in range(1, self._classes + 1)], dim=1)


def _shown_twice(labels: Sequence[Tensor], cases: Sequence[str]) -> set[int]:
    """Values that planes of two parts show: a class of one part is not told in any case."""
    parts: dict[int, set[int]] = {}
    for label, part in zip(labels, _parts(cases), strict=True):
        for value in np.unique(label.numpy()):
            parts.setdefault(int(value), set()).add(part)
    return {value for value, found in parts.items() if len(found) > 1}


def for_prior(label: Tensor, shown: Collection[int], known: Collection[int]) -> Tensor:
    """A plane's label map as its moments are taken of it.

    Parameters
    ----------
    label : Tensor of shape (side, side), uint8
    shown : collection of int
        Values of the label maps that the moments are taken of.
    known : collection of int
        The classes that were judged on this plane.

    Returns
    -------
    Tensor of shape (side, side), uint8
        255 in place of the background where it may be of a class that another plane shows: it
        would teach that what looks so is not of this class.
    """
    if {*shown} - {*known, BACKGROUND, NOT_ANNOTATED}:
        return label.masked_fill(label == BACKGROUND, NOT_ANNOTATED)
    return label
