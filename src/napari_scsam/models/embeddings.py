"""Embeddings kept for later: in memory, and in a folder that may be deleted at any time."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_scsam.models.preprocess import PREPROCESS_VERSION


def embedding_key(image: NDArray[Any], base_hash: str, encoder_hash: str = "") -> str:
    """Name of what one encoder makes of one plane.

    Parameters
    ----------
    image : ndarray of shape (rows, cols) or (rows, cols, 3)
    base_hash : str
        SHA-256 of the base weights.
    encoder_hash : str
        Hash of the adapter inside the image encoder; empty where there is none.

    Returns
    -------
    str
        64 hex digits over pixels, shape, dtype, both hashes and the preprocessing version.
    """
    array = np.ascontiguousarray(image)
    digest = hashlib.sha256()
    parts = (array.shape, array.dtype.str, base_hash, encoder_hash, PREPROCESS_VERSION)
    digest.update(repr(parts).encode())
    digest.update(array.data.cast("B") if array.size else b"")
    return digest.hexdigest()
