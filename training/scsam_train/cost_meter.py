"""Measured cost of a round, from which the cost of the next one is estimated."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_scsam.core.jobs import CancelToken
    from napari_scsam.models import Embedding, EmbeddingCache, SamBackend


class CostMeter:
    """Sums seconds by activity, and counts the embeddings that were not in the cache.

    Parameters
    ----------
    now : callable
        Seconds of a clock that stops while the round is paused.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._seconds: dict[str, float] = {}
        self._times: Counter[str] = Counter()
        self._latest: dict[str, float] = {}
        self._lock = threading.Lock()
        self._made = self._charged = 0
        self._lap = now()

    @contextmanager
    def timing(self, what: str) -> Iterator[None]:
        """Add the duration of the block to `what`, unless it raises."""
        began = self._now()
        yield
        self.add(what, self._now() - began)

    def add(self, what: str, seconds: float) -> None:
        """Add `seconds` to `what`."""
        self._seconds[what] = self._seconds.get(what, 0.0) + seconds
        self._times[what] += 1
        self._latest[what] = seconds

    def latest(self, what: str) -> float | None:
        """Return the seconds last added to `what`; None if there are none."""
        return self._latest.get(what)

    def counting(self, cache: EmbeddingCache) -> EmbeddingCache:
        """Return the cache wrapped so that embeddings computed by it are counted."""
        self._lap = self._now()
        return _CountingCache(cache, self._count)

    def _count(self) -> None:
        with self._lock:  # embeddings may be computed in parallel
            self._made += 1

    def lap(self) -> None:
        """Add the time since the last lap to the embeddings computed in it."""
        now = self._now()
        if self._made > self._charged:
            self.add("embedding", now - self._lap)
        self._charged, self._lap = self._made, now

    def seconds(self, what: str) -> float:
        """Return the seconds added to `what`."""
        return self._seconds.get(what, 0.0)

    def rates(self, device: str, pictures: int) -> dict[str, Any]:
        """Return the rates for metrics.json; None for activities that did not occur."""
        return {
            "device": device,
            "seconds_loading": round(self._seconds.get("loading", 0.0), 2),
            "embeddings": self._charged,
            "seconds_per_embedding": _per(self._seconds.get("embedding"), self._charged),
            "seconds_per_step": _per(self._seconds.get("step"), self._times["step"]),
            "seconds_per_picture": _per(self._seconds.get("step"), pictures),
            "pictures": pictures,
            "seconds_looking": round(self.seconds("interim evaluation"), 2),
            "seconds_judging": round(self._seconds.get("validation", 0.0), 2),
            "memory_gb": round(peak_memory() / 1e9, 3),
        }


def _per(seconds: float | None, count: int) -> float | None:
    return None if seconds is None or not count else round(seconds / count, 4)


class _CountingCache:
    def __init__(self, cache: EmbeddingCache, on_made: Callable[[], None]) -> None:
        self._cache, self._on_made = cache, on_made

    def get_or_embed(
        self, backend: SamBackend, image: NDArray[Any], cancel: CancelToken | None = None
    ) -> Embedding:
        """See `EmbeddingCache.get_or_embed`."""
        counted = cast("SamBackend", _CountingBackend(backend, self._on_made))
        return self._cache.get_or_embed(counted, image, cancel)


class _CountingBackend:
    def __init__(self, backend: SamBackend, on_made: Callable[[], None]) -> None:
        self._backend, self._on_made = backend, on_made

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def embed(self, image: NDArray[Any], cancel: CancelToken | None = None) -> Embedding:
        """See `SamBackend.embed`."""
        self._on_made()
        return self._backend.embed(image, cancel)


def peak_memory() -> int:
    """Return the peak resident memory of this process, in bytes."""
    if sys.platform == "win32":
        peak = psutil.Process().memory_info().peak_wset
    elif sys.platform == "linux":
        # Not getrusage: its peak includes that of the parent process.
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    else:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    return int(peak)
