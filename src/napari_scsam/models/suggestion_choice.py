"""Which of two suggestions for a class is shown: the round's, or that of a few outlines.

The rule and what it gains are described in docs/explanation/suggestions.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.core.prompts import Prompts, deepest
from napari_scsam.models.doubtful_outlines import doubtful_as_questions
from napari_scsam.models.prior_proposals import outlined_from_prior
from napari_scsam.models.proposals import proposed_outline
from napari_scsam.models.self_prompting import largest_parts, refined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_scsam.core.arrays import FloatArray, Mask
    from napari_scsam.core.prompts import Point, PointPrompt
    from napari_scsam.core.volume import Around
    from napari_scsam.models.protocols import Embedding, RoundModels, SamBackend


def propose_either(
    models: RoundModels,
    tuned: SamBackend,
    image: NDArray[Any],
    embedding: Embedding,
    class_id: int,
    around: Around | None = None,
) -> list[PointPrompt]:
    """Propose points of a round, or of the class prior of a SAM that was tuned on outlines.

    The tuned SAM is prompted by the round's outline: once by box, centre and map, and once by the
    centre alone. What the prior outlines is taken if it is more similar to these two masks than the
    round's outline is (sum of Dice). Where one of the two outlines nothing, the round's suggestion
    is taken. What is taken of the round is an outline or a question (`doubtful_as_questions`).

    Parameters
    ----------
    models : RoundModels
    tuned : SamBackend
        On the same embeddings as the round's SAM.
    image : ndarray of shape (rows, cols) or (rows, cols, 3)
    embedding : Embedding
        Of the image.
    class_id : int
        A class of the round.
    around : pair of ndarrays, optional
        As for `RoundModels.probabilities`.

    Returns
    -------
    list of PointPrompt
        In state 'proposed'. `round` tells whose they are: None for the prior's.
    """
    by_round, odds = proposed_outline(models, image, embedding, class_id, around)
    sure = [(p.row, p.col) for p in by_round if p.kind == "confirm"]
    found = outlined_from_prior(tuned, embedding, class_id) if sure else []
    by_prior = [(point, mask) for point, mask in found if point.kind == "confirm"]
    if by_prior:
        prompts = Prompts(sure, [1] * len(sure))
        outline = models.decode(image, embedding, prompts, class_id, around, proposed=True)
        suggested: Mask = np.any([mask for _, mask in by_prior], axis=0)
        if _is_closer(suggested, outline.logits, tuned, embedding, class_id):
            return [point for point, _ in by_prior]
    return doubtful_as_questions(by_round, models, embedding, odds)


def _is_closer(
    suggested: Mask, odds: FloatArray, sam: SamBackend, embedding: Embedding, class_id: int
) -> bool:
    """Whether SAM's answers to a map (rows, cols) are closer to another mask than to the map."""
    refinement = refined(sam, embedding, odds, class_id)
    if refinement is None:
        return False
    centres = [deepest(part) for part in largest_parts(odds > 0)]
    answers = [refinement > 0, _at_each(sam, embedding, centres, class_id)]
    return sum(_dice(suggested, mask) - _dice(odds > 0, mask) for mask in answers) > 0


def _at_each(sam: SamBackend, embedding: Embedding, places: Sequence[Point], class_id: int) -> Mask:
    """Return the union of SAM's masks of one click at each place."""
    masks = [
        sam.decode(embedding, Prompts([place], [1]), class_id=class_id).mask for place in places
    ]
    union: Mask = np.any(masks, axis=0)
    return union


def _dice(a: Mask, b: Mask) -> float:
    total = int(a.sum()) + int(b.sum())
    return 2 * float((a & b).sum()) / total if total else 1.0
