"""Point proposals before the first round, from the class prior of a SAM tuned on a few outlines.

The rules are described in docs/explanation/suggestions.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_scsam.core.log_odds import SURE
from napari_scsam.core.prompts import PointPrompt, Prompts
from napari_scsam.models.body import REFERENCE_SIDE
from napari_scsam.models.outline import connected_parts
from napari_scsam.models.proposals import MIN_AREA, within_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_scsam.core.arrays import FloatArray, Mask
    from napari_scsam.models.protocols import Embedding, SamBackend

# Objects of a class suggested on a plane: few before many. Arbitrary.
MAX_OBJECTS = 2
# A second object must have at least this share of the evidence for the first. Arbitrary.
SECOND_SHARE = 0.5
# Dice of SAM's mask and the prior's region from which the suggestion has an outline, and from which
# it is a question. Chosen on training cases (docs/explanation/suggestions.md): outlines from .8 on
# had a mean Dice of .84 (polyps, prior of five pictures), .90 and .96 (right and left ventricle,
# prior of three slices), and no absent ventricle was outlined. Below .5, three of ten points were
# inside.
AGREED, DOUBTFUL = 0.8, 0.5


def propose_from_prior(sam: SamBackend, embedding: Embedding, class_id: int) -> list[PointPrompt]:
    """Propose points for one class from SAM's class prior; no round is needed.

    A component of the region where the prior's log-odds are above 0 is a candidate for an object.
    Its point is its innermost, likeliest pixel. SAM decodes it together with the prior. If SAM's
    mask and the component agree, the point is of kind 'confirm'. If they agree in part, it is of
    kind 'missed': a question without an outline. Otherwise it is dropped.

    Parameters
    ----------
    sam : SamBackend
        From `load_tuned`.
    embedding : Embedding
        Of the plane, from its base.
    class_id : int

    Returns
    -------
    list of PointPrompt
        In state 'proposed', best first, at most two; empty if SAM has no prior for the class, or
        the prior finds nothing. `confidence` is the Dice of mask and component. Deterministic.
    """
    return [point for point, _ in outlined_from_prior(sam, embedding, class_id)]


def outlined_from_prior(
    sam: SamBackend, embedding: Embedding, class_id: int
) -> list[tuple[PointPrompt, Mask]]:
    """Return the points of `propose_from_prior`, each with SAM's mask (rows, cols)."""
    odds = sam.class_log_odds(embedding, class_id)
    if odds is None:
        return []

    def decode(row: float, col: float) -> Mask:
        prompts = Prompts(points=[(row, col)], labels=[1])
        return sam.decode(embedding, prompts, class_id=class_id).mask

    found = [_proposal(odds, part, class_id, decode) for part in _objects(odds)]
    sure = [(point, mask) for point, mask in found if point.confidence >= DOUBTFUL]
    kept = within_body([point for point, _ in sure], embedding)
    return [(point, mask) for point, mask in sure if point in kept]


def _objects(odds: FloatArray) -> list[Mask]:
    """Return the components with the most evidence, the best first."""
    unit = max(odds.shape) / REFERENCE_SIDE
    parts = connected_parts(odds > 0, MIN_AREA * unit**2)
    evidence = [float(np.minimum(odds[part], SURE).sum()) for part in parts]
    order = np.argsort(evidence)[::-1][:MAX_OBJECTS]
    return [parts[i] for i in order if evidence[i] >= SECOND_SHARE * evidence[order[0]]]


def _proposal(
    odds: FloatArray, part: Mask, class_id: int, decode: Callable[[float, float], Mask]
) -> tuple[PointPrompt, Mask]:
    depth = ndimage.distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]
    height = depth * np.minimum(odds, SURE)
    row, col = np.unravel_index(int(height.argmax()), height.shape)
    mask = decode(float(row), float(col))
    agreement = 2 * float((mask & part).sum()) / float(mask.sum() + part.sum())
    point = PointPrompt(
        row=float(row),
        col=float(col),
        class_id=class_id,
        positive=True,
        origin="model",
        kind="confirm" if agreement >= AGREED else "missed",
        confidence=agreement,
        state="proposed",
    )
    return point, mask
