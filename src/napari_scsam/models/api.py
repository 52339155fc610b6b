"""Functions for other rooms; torch is imported only when they are called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_scsam.core.optional import imported
from napari_scsam.core.settings import CACHE_GB, Device

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from napari_scsam.core.prompts import PointPrompt, Prompts
    from napari_scsam.core.volume import Around
    from napari_scsam.models.metrics import Evaluation
    from napari_scsam.models.pair import Pair
    from napari_scsam.models.protocols import (
        Decoded,
        Embedding,
        EmbeddingCache,
        RoundModels,
        SamBackend,
    )
    from napari_scsam.models.sam import SamModel
    from napari_scsam.models.slice_features import FeatureEncoder


def load_sam(
    name: str = "lite-medsam",
    *,
    device: Device = "auto",
    checkpoint: str | Path | None = None,
    adapter: str | Path | None = None,
) -> SamModel:
    """Load a SAM.

    Parameters
    ----------
    name : {'lite-medsam', 'lite-medsam-released', 'vit_b', 'vit_l', 'vit_h'}
        The first two include their weights: with our point warm-up, and as released by their
        authors, for boxes only. The others need `checkpoint`.
    device : {'auto', 'cpu', 'cuda', 'mps'}
        ``auto`` selects the best available one.
    checkpoint : path, optional
        The published ``.pth`` file; loaded strictly and without running code in it.
    adapter : path, optional
        A ``sam_adapter`` folder of a round; refused on another base.

    Raises
    ------
    ModelError
        If the name, checkpoint, adapter or device can't be used.
    MissingDependencyError
        If torch or segment-anything is not installed.
    """
    sam = _imported("sam")
    backend: SamModel = sam.load_sam(name, device=device, checkpoint=checkpoint, adapter=adapter)
    return backend


def load_round(folder: str | Path, *, device: Device = "auto") -> Pair:
    """Load the pair of a finished round folder (docs/reference/project-folder.md).

    Raises
    ------
    ModelError
        If the folder is not a round, or a hash in its manifest does not match.
    """
    models: Pair = _imported("pair").load_round(folder, device=device)
    return models


def load_feature_encoder(device: Device = "auto") -> FeatureEncoder:
    """Load the encoder that gives each slice a feature vector, before any training.

    Raises
    ------
    ModelError
        If its weights or the device can't be used.
    """
    where = _imported("device").resolve_device(device)
    encoder: FeatureEncoder = _imported("slice_features").FeatureEncoder(where)
    return encoder


def load_tuned(folder: str | Path, *, device: Device = "auto") -> SamModel:
    """Load the SAM of a finished tuning (``tuned/NNNN``); embeddings of its base stay valid.

    Raises
    ------
    ModelError
        If the folder is not a tuning, was refused, is damaged, or belongs to another base.
    """
    backend: SamModel = _imported("tuned_sam").load_tuned(folder, device=device)
    return backend


def one_thread() -> AbstractContextManager[None]:
    """Run torch with one thread; see `napari_scsam.models.device.one_thread`."""
    from napari_scsam.models import device

    return device.one_thread()


def open_cache(
    folder: str | Path | None = None,
    *,
    memory_items: int = 32,
    max_gb: float = CACHE_GB,
) -> EmbeddingCache:
    """Open a cache of embeddings.

    Parameters
    ----------
    folder : path, optional
        Where to store them between sessions; may be deleted at any time.
    memory_items : int
        Number kept in memory; one of LiteMedSAM has 4 MB.
    max_gb : float
        Size limit of the folder, in GB of 10^9 bytes.
    """
    path = None if folder is None else Path(folder)
    cache: EmbeddingCache = _imported("embeddings").LruEmbeddingCache(
        path, memory_items=memory_items, max_bytes=int(max_gb * 1e9)
    )
    return cache


def decode_region(
    backend: SamBackend,
    cache: EmbeddingCache,
    image: NDArray[Any],
    embedding: Embedding,
    prompts: Prompts,
    class_id: int | None = None,
) -> Decoded:
    """Decode one object, at the plane's own resolution if the object is small.

    Planes are scaled to SAM's input, so that `SamBackend.decode` returns a coarse mask for a small
    object in a large plane. This function crops a region of about twice the object's size, embeds
    and decodes it, and pastes the result into the plane; outside the region is background. An
    object that fills most of its plane, and any plane less than 1.5 times SAM's input, is
    decoded on the whole plane. The result depends on the arguments only.

    Parameters
    ----------
    backend : SamBackend
    cache : EmbeddingCache
        Stores the embeddings of regions, which are mostly shared by later prompts.
    image : ndarray of shape (rows, cols) or (rows, cols, 3)
        The plane of `embedding`.
    embedding : Embedding
    prompts, class_id
        As for `SamBackend.decode`.

    Raises
    ------
    InputError
        As for `SamBackend.decode`.
    """
    decoded: Decoded = _imported("crop_decoding").decode_region(
        backend, cache, image, embedding, prompts, class_id
    )
    return decoded


def propose(
    models: RoundModels,
    image: NDArray[Any],
    embedding: Embedding,
    class_id: int,
    around: Around | None = None,
) -> list[PointPrompt]:
    """Propose point prompts for one class, from the round's U-Net and SAM.

    The rules are described in docs/explanation/suggestions.md.

    Deterministic; the list may be empty. `around` as for `RoundModels.probabilities`.
    """
    proposals: list[PointPrompt] = _imported("proposals").propose(
        models, image, embedding, class_id, around
    )
    return proposals


def propose_from_prior(sam: SamBackend, embedding: Embedding, class_id: int) -> list[PointPrompt]:
    """Propose point prompts for one class from the class prior of a tuned SAM, without a round.

    See `napari_scsam.models.prior_proposals.propose_from_prior`.
    """
    proposals: list[PointPrompt] = _imported("prior_proposals").propose_from_prior(
        sam, embedding, class_id
    )
    return proposals


def evaluate(
    prediction: NDArray[np.generic],
    truth: NDArray[np.generic],
    *,
    spacing_mm: Sequence[float] | None = None,
    class_names: Mapping[int, str] | None = None,
) -> Evaluation:
    """Compute Dice, IoU, HD95 and ASSD per class of a label map.

    See `napari_scsam.models.metrics.evaluate`.
    """
    result: Evaluation = _imported("metrics").evaluate(
        prediction, truth, spacing_mm=spacing_mm, class_names=class_names
    )
    return result


def describe(backend: SamBackend) -> str:
    """Return a description such as ``"LiteMedSAM on CPU, 2 threads"``."""
    text: str = _imported("device").describe(backend.name, backend.device)
    return text


def available_devices() -> list[str]:
    """Return the devices that torch can use on this machine, best first."""
    devices: list[str] = _imported("device").available_devices()
    return devices


def _imported(name: str) -> Any:
    return imported(f"napari_scsam.models.{name}")
