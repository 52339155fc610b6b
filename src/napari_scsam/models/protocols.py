"""Data types and protocols of the models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_scsam.core.arrays import FloatArray, Mask
    from napari_scsam.core.jobs import CancelToken
    from napari_scsam.core.prompts import Prompts
    from napari_scsam.core.settings import PredictWith
    from napari_scsam.core.volume import Around


@dataclass(frozen=True, eq=False)
class Embedding:
    """Output of SAM's image encoder for one plane; opaque outside `models`.

    Attributes
    ----------
    features : object
        Tensors of the backend.
    shape : tuple of int
        (rows, cols) of the plane, the grid of the masks.
    view : ndarray of shape (h, w), float32
        Resized grey picture in 0..1, the encoder's input without padding.
    key : str
        Hash of pixels, base weights, encoder adapter and preprocessing version.
    """

    features: Any
    shape: tuple[int, int]
    view: FloatArray
    key: str


@dataclass(frozen=True, eq=False)
class Decoded:
    """SAM's prediction on the plane's own grid.

    Attributes
    ----------
    mask : ndarray of shape (rows, cols), bool
        ``logits > 0``.
    logits : ndarray of shape (rows, cols), float32
        Log-odds of the object.
    iou : float
        IoU of the mask predicted by SAM, 0..1.
    via : {'points', 'box', 'mask', 'box from clicks', 'class', 'outline'}
        How the prompts were used: 'box from clicks' for a model without point prompts, 'class' if
        only class tokens were used, 'outline' for the pair's own mask.
    """

    mask: Mask
    logits: FloatArray
    iou: float
    via: str = "points"


class SamBackend(Protocol):
    """A promptable segmentation model. Thread-safe for one call at a time."""

    @property
    def name(self) -> str:
        """Name in the zoo, such as ``lite-medsam``."""

    @property
    def device(self) -> str:
        """Device that it runs on: ``cpu``, ``cuda`` or ``mps``."""

    @property
    def understands_points(self) -> bool:
        """False for LiteMedSAM as released, where clicks are converted to a box."""

    @property
    def base_hash(self) -> str:
        """SHA-256 of the base weights."""

    def embedding_key(self, image: NDArray[Any]) -> str:
        """Return the `Embedding.key` that `embed` would give this plane, without encoding it."""

    def embed(self, image: NDArray[Any], cancel: CancelToken | None = None) -> Embedding:
        """Encode one plane.

        Parameters
        ----------
        image : ndarray of shape (rows, cols) or (rows, cols, 3), any real dtype
            Original values; the backend normalises.
        cancel : CancelToken, optional
            Checked between the encoder's parts; raises Cancelled.

        Raises
        ------
        InputError
            If the shape is wrong, a side is below 2 pixels, a value is not finite, or all values
            are equal.
        """

    def decode(
        self, embedding: Embedding, prompts: Prompts, *, class_id: int | None = None
    ) -> Decoded:
        """Segment one object.

        Parameters
        ----------
        embedding : Embedding
            From this backend's `embed`.
        prompts : Prompts
            In pixels of the plane. May be empty only with a `class_id` for which the adapter has
            tokens.
        class_id : int, optional
            1..K: adds the class tokens, if the adapter has them, and, without a mask prompt, the
            class prior.

        Raises
        ------
        InputError
            If a prompt is outside the plane, or there is no prompt.
        """

    def class_log_odds(self, embedding: Embedding, class_id: int) -> FloatArray | None:
        """Return the log-odds of a class by the class prior, for each pixel of the plane.

        Returns
        -------
        ndarray of shape (rows, cols), float32, or None
            None without a prior for the class.
        """


class EmbeddingCache(Protocol):
    """Stores embeddings, so that a plane is encoded only once. Thread-safe."""

    def get_or_embed(
        self, backend: SamBackend, image: NDArray[Any], cancel: CancelToken | None = None
    ) -> Embedding:
        """Return the backend's embedding of this plane, from the cache or newly computed.

        If another thread is computing the same embedding, wait for its result.

        Raises
        ------
        InputError
            As for `SamBackend.embed`; never because of the cache.
        """


class RoundModels(Protocol):
    """The pair trained by one round."""

    @property
    def sam(self) -> SamBackend:
        """The adapted SAM."""

    @property
    def base(self) -> SamBackend:
        """The SAM without its adapter, on the same embeddings; `sam` if there is none."""

    @property
    def trained(self) -> tuple[str, ...]:
        """Members that the round's recipe trained: 'unet', 'sam'."""

    @property
    def joins_sam(self) -> bool:
        """Whether its U-Net takes SAM's embedding of the plane as additional input."""

    @property
    def class_ids(self) -> tuple[int, ...]:
        """Its classes, ascending."""

    @property
    def number(self) -> int | None:
        """Its round number in the project, if it has one."""

    def decode(
        self,
        image: NDArray[Any],
        embedding: Embedding,
        prompts: Prompts,
        class_id: int,
        around: Around | None = None,
        *,
        proposed: bool = False,
    ) -> Decoded:
        """Segment one object of a class of the round.

        SAM decodes boxes, masks and, once it was trained with points, clicks. Before that, clicks
        select and correct components of the pair's own mask (`via` is 'outline'). Points that the
        round `proposed` itself always do so: they summarise that mask, and SAM could segment
        something else from them alone. `around` as for `probabilities`.
        """

    def probabilities(
        self,
        image: NDArray[Any],
        embedding: Embedding | None = None,
        which: PredictWith = "pair",
        around: Around | None = None,
    ) -> FloatArray:
        """Predict class probabilities of one plane.

        Parameters
        ----------
        image : ndarray of shape (rows, cols) or (rows, cols, 3)
        embedding : Embedding, optional
            SAM's embedding of the plane; computed if it is needed and missing.
        which : {'unet', 'sam', 'pair'}
        around : pair of ndarrays of the shape of `image`, optional
            The planes before and after (`Window.around`). Only used by a U-Net with context; a
            missing one is replaced by the plane itself.

        Returns
        -------
        ndarray of shape (K + 1, rows, cols), float32
            Background first, then `class_ids`; sums to 1.
        """
