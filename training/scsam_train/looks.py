"""What classes look like on SAM's features: from all labelled planes, and from others' alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from napari_scsam.models.prior import ClassPrior, Moments
from scsam_train.views import SamView

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
    parts = list(range(len(cases)))
    if len(set(cases)) >= FEWEST_CASES:
        numbers = {case: number for number, case in enumerate(sorted(set(cases)))}
        parts = [numbers[case] for case in cases]
    parts = [part % PARTS for part in parts]
    sums: dict[int, Moments] = {}
    for part, found in zip(parts, moments, strict=True):
        sums[part] = Moments.sum([sums[part], found]) if part in sums else found
    priors = {
        part: ClassPrior.fit(found for other, found in sums.items() if other != part)
        for part in sums
    }
    return ClassPrior.fit(sums.values()), [priors[part] for part in parts]


class Looks:
    """Log-odds of a round's classes, of a labelled plane as other cases' planes give them.

    Parameters
    ----------
    everything : ClassPrior
        Of all labelled planes; it knows the positions 1..K.
    of_others : sequence of ClassPrior
        What the others say, for each labelled plane.
    """

    def __init__(self, everything: ClassPrior, of_others: Sequence[ClassPrior]) -> None:
        self.everything = everything
        self._of_others = list(of_others)

    @staticmethod
    def of(views: Sequence[Sequence[SamView]], cases: Sequence[str], classes: int) -> Looks | None:
        """Learn them from the views of labelled planes.

        Returns
        -------
        Looks or None
            None where a class is on planes of one part only: nothing else says how it looks.
        """
        moments = (
            Moments.sum(Moments.of(view.features[0].float(), view.label) for view in seen)
            for seen in views
        )
        everything, of_others = fit_priors(moments, cases)
        positions = range(1, classes + 1)
        known = all(prior.knows(p) for prior in [everything, *of_others] for p in positions)
        return Looks(everything, of_others) if known else None

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
        """
        prior = self.prior_for(plane)
        found = [prior.log_odds(features, position) for position in prior.class_ids[1:]]
        return torch.cat(found, dim=1)
