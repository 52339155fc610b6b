"""Embeddings kept for later: in memory, and in a folder that may be deleted at any time."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import zlib
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from napari_scsam.models.preprocess import PREPROCESS_VERSION
from napari_scsam.models.protocols import Embedding, SamBackend

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_scsam.core.jobs import CancelToken

_log = logging.getLogger(__name__)

_SUFFIX = ".safetensors"
_PARTIAL = ".partial"


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
    parts = (array.shape, array.dtype.str, base_hash, encoder_hash, PREPROCESS_VERSION)
    digest = hashlib.sha256(repr(parts).encode())
    digest.update(array.tobytes())
    return digest.hexdigest()


class LruEmbeddingCache:
    """An `EmbeddingCache`: the last used in memory, more of them in a folder.

    Whatever happens to the folder (read-only, full, deleted, damaged files) costs time,
    never an error. Several processes may share it; each keeps it under its size.

    Parameters
    ----------
    folder : Path, optional
        Made when first needed. Without it embeddings live in memory only.
    memory_items : int
        How many stay in memory; one of LiteMedSAM's is 4 MB.
    max_bytes : int
        Size that the folder is kept under; what was used longest ago goes first. 0 keeps
        nothing there.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        memory_items: int = 32,
        max_bytes: int = 2 * 10**9,
    ) -> None:
        self._folder = folder
        self._memory_items = memory_items
        self._max_bytes = max_bytes
        self._memory: OrderedDict[str, Embedding] = OrderedDict()
        self._lock = threading.Lock()
        # Locks of the embeddings that are being made, each with the threads that hold or
        # await it.
        self._making: dict[str, tuple[threading.Lock, int]] = {}

    def get_or_embed(
        self, backend: SamBackend, image: NDArray[Any], cancel: CancelToken | None = None
    ) -> Embedding:
        """Embedding of a plane; see `EmbeddingCache.get_or_embed`."""
        key = backend.embedding_key(image)
        with self._alone(key):
            found = self._from_memory(key) or self._from_folder(key)
            if found is None:
                found = backend.embed(image, cancel)
                self._to_folder(found)
            self._to_memory(found)
        return found

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """Let one thread at a time make the embedding `key`."""
        with self._lock:
            lock, users = self._making.get(key, (threading.Lock(), 0))
            self._making[key] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._lock:
                lock, users = self._making.pop(key)
                if users > 1:
                    self._making[key] = (lock, users - 1)

    def _from_memory(self, key: str) -> Embedding | None:
        with self._lock:
            return self._memory.get(key)

    def _to_memory(self, embedding: Embedding) -> None:
        with self._lock:
            self._memory[embedding.key] = embedding
            self._memory.move_to_end(embedding.key)
            while len(self._memory) > self._memory_items:
                self._memory.popitem(last=False)

    def _from_folder(self, key: str) -> Embedding | None:
        if self._folder is None:
            return None
        path = self._folder / f"{key}{_SUFFIX}"
        try:
            content = path.read_bytes()
        except OSError:
            return None
        try:
            found = _unpack(content, key)
        except (SafetensorError, ValueError, KeyError) as exc:
            _log.info("Dropping the damaged embedding %s: %s", path.name, exc)
            _remove(path)
            return None
        _touch(path)
        return found

    def _to_folder(self, embedding: Embedding) -> None:
        if self._folder is None or not self._max_bytes:
            return
        path = self._folder / f"{embedding.key}{_SUFFIX}"
        partial = self._folder / f"{embedding.key}.{os.getpid()}-{threading.get_ident()}{_PARTIAL}"
        content = _pack(embedding)
        if len(content) > self._max_bytes:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content)
            partial.replace(path)
            self._evict(keep=path)
        except OSError as exc:
            _log.info("An embedding was not kept in %s: %s", self._folder, exc)
            _remove(partial)

    def _evict(self, keep: Path) -> None:
        """Delete what was used longest ago until the folder is under its size."""
        entries = []
        for path in self._folder.iterdir() if self._folder else ():
            if path.suffix in (_SUFFIX, _PARTIAL) and path != keep:
                try:
                    entries.append((path.stat().st_mtime_ns, path.stat().st_size, path))
                except OSError:
                    continue  # another process was faster
        total = keep.stat().st_size + sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self._max_bytes:
                return
            _remove(path)
            total -= size


def _pack(embedding: Embedding) -> bytes:
    features = embedding.features.detach().float().cpu().contiguous()
    view = torch.from_numpy(np.ascontiguousarray(embedding.view))
    shape = torch.tensor(embedding.shape)
    crc = torch.tensor([_crc(features, view, shape)])
    return save({"features": features, "view": view, "shape": shape, "crc": crc})


def _unpack(content: bytes, key: str) -> Embedding:
    tensors = load(content)
    features, view, shape = tensors["features"], tensors["view"], tensors["shape"]
    if _crc(features, view, shape) != int(tensors["crc"]):
        raise ValueError("its checksum is wrong")
    rows, cols = (int(side) for side in shape)
    return Embedding(features, (rows, cols), view.numpy(), key)


def _crc(*tensors: Tensor) -> int:
    crc = 0
    for tensor in tensors:
        crc = zlib.crc32(tensor.numpy().tobytes(), crc)
    return crc


def _touch(path: Path) -> None:
    try:
        os.utime(path)
    except OSError:
        _log.debug("%s could not be marked as used.", path.name)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        _log.debug("%s could not be removed.", path.name)
