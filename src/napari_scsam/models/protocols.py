"""What the models take and give: values, and protocols of what there is to ask."""

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
    """What SAM's image encoder made of one plane; opaque outside `models`.

    Attributes
    ----------
    features : object
        The backend's own tensors.
    shape : tuple of int
        (rows, cols) of the plane, the grid that masks come back on.
    view : ndarray of shape (h, w), float32
        The resized grey picture in 0..1 that the encoder saw, without its padding.
    key : str
        Hash of pixels, base weights, encoder adapter and preprocessing version.
    """

    features: Any
    shape: tuple[int, int]
    view: FloatArray
    key: str


@dataclass(frozen=True, eq=False)
class Decoded:
    """SAM's answer on the plane's own grid.

    Attributes
    ----------
    mask : ndarray of shape (rows, cols), bool
        ``logits > 0``.
    logits : ndarray of shape (rows, cols), float32
        Log-odds of being inside.
    iou : float
        SAM's own estimate of the mask's IoU, 0..1.
    via : {'points', 'box', 'mask', 'box from clicks', 'class', 'outline'}
        How the prompts were used; 'box from clicks' by a model that can't take points,
        'class' where only the class's learned tokens were asked.
    """

    mask: Mask
    logits: FloatArray
    iou: float
    via: str = "points"


class SamBackend(Protocol):
    """A promptable segmenter. Thread-safe for one call at a time."""

    @property
    def name(self) -> str:
        """Name in the zoo, such as ``lite-medsam``."""

    @property
    def device(self) -> str:
        """Where it runs: ``cpu``, ``cuda`` or ``mps``."""

    @property
    def understands_points(self) -> bool:
        """False for LiteMedSAM as released, whose clicks are turned into a box."""

    @property
    def base_hash(self) -> str:
        """SHA-256 of the base weights."""

    def embedding_key(self, image: NDArray[Any]) -> str:
        """The `Embedding.key` that `embed` would give this plane, without encoding it."""

    def embed(self, image: NDArray[Any], cancel: CancelToken | None = None) -> Embedding:
        """Encode one plane.

        Parameters
        ----------
        image : ndarray of shape (rows, cols) or (rows, cols, 3), any real dtype
            Its own values; the backend normalises.
        cancel : CancelToken, optional
            Looked at between the encoder's parts: raises Cancelled.

        Raises
        ------
        InputError
            If the shape is wrong, a side is under 2 pixels, a value is not finite, or
            all values are the same.
        """

    def decode(
        self, embedding: Embedding, prompts: Prompts, *, class_id: int | None = None
    ) -> Decoded:
        """Mask for one object.

        Parameters
        ----------
        embedding : Embedding
            From this backend's `embed`.
        prompts : Prompts
            In the plane's own pixels. May be empty only with a `class_id` that the
            adapter has learned tokens for.
        class_id : int, optional
            1..K: adds that class's learned tokens, where the adapter has them, and, without a
            mask prompt, what is known of its looks.

        Raises
        ------
        InputError
            If a prompt is outside the plane, or there is nothing to ask.
        """


class EmbeddingCache(Protocol):
    """Keeps embeddings, so that a plane is encoded once. Thread-safe."""

    def get_or_embed(
        self, backend: SamBackend, image: NDArray[Any], cancel: CancelToken | None = None
    ) -> Embedding:
        """The backend's embedding of this plane, kept or made now.

        Who asks for one that another thread is making waits for that one.

        Raises
        ------
        InputError
            As `SamBackend.embed`; never because of the cache.
        """


class RoundModels(Protocol):
    """The pair that one round trained."""

    @property
    def sam(self) -> SamBackend:
        """The adapted SAM."""

    @property
    def trained(self) -> tuple[str, ...]:
        """The members that its round's recipe trained: 'unet', 'sam'."""

    @property
    def joins_sam(self) -> bool:
        """Whether its U-Net answers better where it is given SAM's embedding of the plane."""

    @property
    def class_ids(self) -> tuple[int, ...]:
        """Classes that it knows, ascending."""

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
        """Mask for one object of a class that the round knows.

        SAM's answer to a box, a mask or, once its SAM has learned points, to clicks. Before
        that, clicks pick and correct parts of the pair's own outline (`via` is 'outline').
        Points that the round `proposed` itself always do so: they summarise that outline, and
        SAM, asked by them alone, may draw something else. `around` as for `probabilities`.
        """

    def probabilities(
        self,
        image: NDArray[Any],
        embedding: Embedding | None = None,
        which: PredictWith = "pair",
        around: Around | None = None,
    ) -> FloatArray:
        """Class probabilities of one plane.

        Parameters
        ----------
        image : ndarray of shape (rows, cols) or (rows, cols, 3)
        embedding : Embedding, optional
            SAM's of the plane; made where it is needed and not given.
        which : {'unet', 'sam', 'pair'}
        around : pair of ndarrays of the shape of `image`, optional
            The planes before and after (`Window.around`). Only a U-Net that was trained
            with context looks at them, and takes the plane itself where they are missing.

        Returns
        -------
        ndarray of shape (K + 1, rows, cols), float32
            Background first, then `class_ids`; sums to 1.
        """
