"""The model process: a `Segmenter` that answers the calls of one `SegmenterProcess`.

Started as ``python -m napari_scsam.inference.process_server CACHE_FOLDER CACHE_GB``. Calls
come in on standard input and answers go out on standard output, both pickled: each end is the
other's own process. What anything else prints goes to standard error, which is a log file.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import pickle
import queue
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import psutil

from napari_scsam.core.errors import ModelError, ScsamError
from napari_scsam.core.memory import keep_freed_memory
from napari_scsam.core.threads import MODELS, step_back, wait_briefly
from napari_scsam.inference.process_client import Call, Reply, send
from napari_scsam.inference.segmenter import Segmenter

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)


def main() -> None:
    """Answer calls until standard input ends."""
    wait_briefly()
    step_back(MODELS)
    os.environ.setdefault("OMP_NUM_THREADS", str(_threads()))
    keep_freed_memory()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    faulthandler.enable()
    calls, replies = _own_streams()
    waiting: queue.SimpleQueue[Call] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(calls, waiting), daemon=True).start()
    segmenter = Segmenter(Path(sys.argv[1]), cache_gb=float(sys.argv[2]))
    while True:
        send(replies, reply_to(segmenter, waiting.get()))


def reply_to(segmenter: Segmenter, call: Call) -> Reply:
    """What a segmenter says to one call; an error that is not ours becomes one line."""
    name, arguments = call
    methods: dict[str, Callable[..., Any]] = {
        "prepare": segmenter.prepare,
        "describe": segmenter.describe,
        "embed": segmenter.embed,
        "decode": segmenter.decode,
        "suggest": segmenter.suggest,
        "prefetch": segmenter.prefetch,
        "carry": segmenter.carry,
    }
    try:
        result = methods[name](*arguments)
    except ScsamError as error:
        return (False, error)
    except Exception as error:  # noqa: BLE001 - the job's boundary: carried to the window
        _log.exception("%s failed", name)
        return (False, ModelError(_one_line(error)))
    # Models and embeddings stay here.
    return (True, None if name in ("prepare", "embed") else result)


def _receive(calls: BinaryIO, waiting: queue.SimpleQueue[Call]) -> None:
    """Queue what comes in; the end of the stream is the end of this process."""
    try:
        while True:
            waiting.put(pickle.load(calls))
    except (EOFError, OSError, pickle.UnpicklingError):
        # At once, also in the middle of a decode whose answer nobody waits for.
        os._exit(0)


def _own_streams() -> tuple[BinaryIO, BinaryIO]:
    """The two streams of the talk, out of the reach of libraries that read or print."""
    calls, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return calls, replies


def _threads() -> int:
    """The cores that this process may use, less one for the window where that leaves two."""
    cores = psutil.cpu_count(logical=False) or 1
    if hasattr(os, "sched_getaffinity"):
        cores = min(cores, len(os.sched_getaffinity(0)))
    return cores if cores <= 2 else cores - 1


def _one_line(error: Exception) -> str:
    text = next(iter(str(error).splitlines()), "")
    if isinstance(error, MemoryError) or "out of memory" in text.lower():
        return (
            "The model ran out of memory on this slice: close other programs, "
            "or train the next round with a smaller SAM."
        )
    return f"The model failed on this slice ({type(error).__name__}: {text[:200]})."


if __name__ == "__main__":
    main()
