"""What other rooms ask of a propagation without importing torch: it is imported when they ask."""

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
    taught: RoundModels | None = None,
    around: Around | None = None,
) -> Carried:
    """Find the masks of a neighbouring plane again: one step of `propagate`.

    On the annotated plane itself, whose trail knows nothing yet, it only learns how loose a
    box suits each class of a SAM that is asked by boxes alone. From there on each object is
    asked for by a box around it, with its softened mask and points in the objects next to it,
    where the SAM understands those; where there is a round, its U-Net's log-odds are averaged
    in. A class stops where its area jumps, SAM's own estimate is low, its shape or the two
    models do not agree, nothing is left, or three planes in a row want a look.

    Parameters
    ----------
    sam : SamBackend
    pixels : ndarray of shape (rows, cols) or (rows, cols, 3)
        The plane's own values.
    trail : Trail
        The plane that the masks come from.
    cache : EmbeddingCache, optional
        Keeps embeddings; small objects of large planes are then found as by `decode_region`.
    taught : RoundModels, optional
        The active round; `sam` is its SAM.
    around : pair of ndarrays of the shape of `pixels`, optional
        As for `RoundModels.probabilities`.
    """
    carried: Carried = imported("napari_scsam.propagation.step").carry(
        sam, pixels, trail, cache=cache, taught=taught, around=around
    )
    return carried
