"""Cache of embeddings, in memory and in a folder that may be deleted at any time."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
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

# Largest file that is read: SAM's embedding has 4 MB, and a picture of 1024 x 1024 another 4.
# Arbitrary.
_MOST_BYTES = 2**26
_SUFFIX = ".safetensors"
_PARTIAL = ".partial"
# The names of what is written here: an embedding, and one that is being written.
_OURS = re.compile(rf"[0-9a-f]{{64}}({re.escape(_SUFFIX)}|\.\d+-\d+{re.escape(_PARTIAL)})")


def embedding_key(image: NDArray[Any], base_hash: str, encoder_hash: str = "") -> str:
    """Return the cache key of the embedding of one plane by one encoder.

    Parameters
    ----------
    image : ndarray of shape (rows, cols) or (rows, cols, 3)
    base_hash : str
        SHA-256 of the base weights.
    encoder_hash : str
        Hash of the adapter inside the image encoder; empty without one.

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
    """An `EmbeddingCache`: the most recently used in memory, more of them in a folder.

    Problems with the folder (read-only, full, deleted, damaged files) cost time but never raise.
    Several processes may share it; each enforces the size limit.

    Parameters
    ----------
    folder : Path, optional
        Created when first needed. None: embeddings are kept in memory only.
    memory_items : int
        Number kept in memory; one of LiteMedSAM has 4 MB.
    max_bytes : int
        Size limit of the folder; the least recently used files are deleted first. 0: nothing is
        stored there.
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
        # After an unmount, what is at the folder's place is not it.
        self._device = None if folder is None else _device(folder)
        self._memory: OrderedDict[str, Embedding] = OrderedDict()
        self._lock = threading.Lock()
        # Locks of embeddings being computed, each with the number of threads that hold or await
        # it.
        self._computing: dict[str, tuple[threading.Lock, int]] = {}

    def get_or_embed(
        self, backend: SamBackend, image: NDArray[Any], cancel: CancelToken | None = None
    ) -> Embedding:
        """Return the embedding of a plane; see `EmbeddingCache.get_or_embed`."""
        key = backend.embedding_key(image)
        with self._locked(key):
            found = self._from_memory(key) or self._from_folder(key)
            if found is None:
                found = backend.embed(image, cancel)
                self._to_folder(found)
            self._to_memory(found)
        return found

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Let one thread at a time compute the embedding `key`."""
        with self._lock:
            lock, users = self._computing.get(key, (threading.Lock(), 0))
            self._computing[key] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._lock:
                lock, users = self._computing.pop(key)
                if users > 1:
                    self._computing[key] = (lock, users - 1)

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
            content = path.read_bytes() if _is_own_file(path) and _is_small(path) else None
        except OSError:
            return None
        if content is None:
            return None
        try:
            found = _unpack(content, key)
        except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as exc:
            _log.info("Dropping the damaged embedding %s: %s", path.name, exc)
            _remove(path)
            return None
        _touch(path)
        return found

    def _to_folder(self, embedding: Embedding) -> None:
        if self._folder is None or not self._max_bytes or self._folder.is_symlink():
            return
        path = self._folder / f"{embedding.key}{_SUFFIX}"
        partial = self._folder / f"{embedding.key}.{os.getpid()}-{threading.get_ident()}{_PARTIAL}"
        content = _pack(embedding)
        if len(content) > self._max_bytes:
            return
        try:
            if _device(self._folder) != self._device:
                raise OSError(f"another disk is at {self._folder} now")
            self._folder.mkdir(parents=True, exist_ok=True)
            partial.unlink(missing_ok=True)  # it may be a link
            partial.write_bytes(content)
            partial.replace(path)
            self._evict(keep=path)
        except OSError as exc:
            _log.info("An embedding was not stored in %s: %s", self._folder, exc)
            _remove(partial)

    def _evict(self, keep: Path) -> None:
        """Delete the least recently used files until the folder is below its size limit."""
        entries = []
        for path in self._folder.iterdir() if self._folder else ():
            # Nothing else is deleted, whatever lies in the folder.
            if _OURS.fullmatch(path.name) and path != keep and _is_own_file(path):
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
    if {features.dtype, view.dtype} != {torch.float32} or (view.ndim, shape.numel()) != (2, 2):
        raise ValueError("its tensors are not those of an embedding")
    if _crc(features, view, shape) != int(tensors["crc"]):
        raise ValueError("its checksum is wrong")
    rows, cols = (int(side) for side in shape)
    return Embedding(features, (rows, cols), view.numpy(), key)


def _crc(*tensors: Tensor) -> int:
    crc = 0
    for tensor in tensors:
        crc = zlib.crc32(tensor.numpy().tobytes(), crc)
    return crc


def _device(folder: Path) -> int | None:
    """The disk that a folder is on, or will be on when it is made."""
    there = next((place for place in (folder, *folder.parents) if place.exists()), None)
    return None if there is None else there.stat().st_dev


def _is_small(path: Path) -> bool:
    return path.stat().st_size <= _MOST_BYTES


def _is_own_file(path: Path) -> bool:
    """Whether a path is a file: no link, which would lead elsewhere, no pipe and no device."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _touch(path: Path) -> None:
    try:
        os.utime(path)
    except OSError:
        _log.debug("The access time of %s could not be updated.", path.name)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        _log.debug("%s could not be removed.", path.name)
