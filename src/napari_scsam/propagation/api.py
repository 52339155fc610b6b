"""The step function for other rooms; torch is imported when it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_scsam.core.optional import imported

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_scsam.core.volume import Around
    from napari_scsam.models import EmbeddingCache, RoundModels, SamBackend
    from napari_scsam.propagation.walk import Carried, Trail


def carry(
    sam: SamBackend,
    pixels: NDArray[Any],
    trail: Trail,
    *,
    cache: EmbeddingCache | None = None,
    round_models: RoundModels | None = None,
    around: Around | None = None,
) -> Carried:
    """Segment the objects of a neighbouring plane on the next plane: one step of `propagate`.

    On the annotated plane itself, it only prepares the trail: for a SAM that takes boxes only,
    it finds the margin of the box that suits each class. On other planes, each object is prompted
    by a box around it. A SAM that takes masks and points also gets its softened mask, and negative
    points in adjacent objects. The log-odds of an active round's U-Net are averaged with SAM's. A
    class stops if its area jumps, SAM's predicted IoU is low, its shape changes, the models
    disagree, nothing is left, or three planes in a row are flagged.

    Parameters
    ----------
    sam : SamBackend
    pixels : ndarray of shape (rows, cols) or (rows, cols, 3)
        The plane's own values.
    trail : Trail
        State of the propagation at the previous plane.
    cache : EmbeddingCache, optional
        Caches embeddings; small objects of large planes are then decoded by `decode_region`.
    round_models : RoundModels, optional
        The active round; `sam` is its SAM.
    around : pair of ndarrays of the shape of `pixels`, optional
        As for `RoundModels.probabilities`.
    """
    carried: Carried = imported("napari_scsam.propagation.step").carry(
        sam, pixels, trail, cache=cache, round_models=round_models, around=around
    )
    return carried
