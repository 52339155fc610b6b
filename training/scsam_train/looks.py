"""What classes look like on SAM's features: from all labelled planes, and from all but one's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from napari_scsam.models.prior import ClassPrior, Moments
from scsam_train.views import SamView

# Planes are left out in at most so many parts; each takes a covariance of SAM's features.
PARTS = 8
FEWEST_CASES = 3


class Looks:
    """Log-odds of a round's classes, of a labelled plane as other cases' planes give them.

    A plane's own label would tell SAM to trust them more than a new plane's deserve.

    Parameters
    ----------
    everything : ClassPrior
        Of all labelled planes; it knows the positions 1..K.
    left_out : sequence of ClassPrior
        Each of all planes but those of its part.
    parts : sequence of int
        Each labelled plane's part.
    """

    def __init__(
        self, everything: ClassPrior, left_out: Sequence[ClassPrior], parts: Sequence[int]
    ) -> None:
        self.everything = everything
        self._left_out, self._parts = list(left_out), list(parts)

    @staticmethod
    def of(views: Sequence[Sequence[SamView]], cases: Sequence[str], classes: int) -> Looks | None:
        """Learn them from the views of labelled planes.

        Returns
        -------
        Looks or None
            None where a class is on planes of one part only: nothing else says how it looks.
        """
        parts = list(range(len(cases)))
        if len(set(cases)) >= FEWEST_CASES:
            parts = [sorted(set(cases)).index(case) for case in cases]
        parts = [part % PARTS for part in parts]
        moments: list[list[Moments]] = [[] for _ in range(max(parts) + 1)]
        for part, seen in zip(parts, views, strict=True):
            found = [Moments.of(view.features[0].float(), view.label) for view in seen]
            moments[part] = [Moments.sum([*moments[part], *found])]
        everything = ClassPrior.fit(m for one in moments for m in one)
        left_out = [
            ClassPrior.fit(m for other, one in enumerate(moments) if other != part for m in one)
            for part in range(len(moments))
        ]
        positions = range(1, classes + 1)
        known = all(prior.knows(p) for prior in [everything, *left_out] for p in positions)
        return Looks(everything, left_out, parts) if known else None

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
        prior = self.everything if plane is None else self._left_out[self._parts[plane]]
        found = [prior.log_odds(features, position) for position in prior.class_ids[1:]]
        return torch.cat(found, dim=1)
