"""The model process: a `Segmenter` that processes the calls of one `SegmenterProcess`.

Started as ``python -m napari_scsam.inference.process_server CACHE_FOLDER CACHE_GB``. Calls arrive
on standard input and results are written to standard output, both pickled; both ends are processes
of the same program. Everything else that is printed goes to standard error, which is a log file.
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
    """Process calls until standard input ends."""
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
    """Run one call on a segmenter; unexpected errors become a one-line ModelError."""
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
    # Models and embeddings are not sent.
    return (True, None if name in ("prepare", "embed") else result)


def _receive(calls: BinaryIO, waiting: queue.SimpleQueue[Call]) -> None:
    """Queue incoming calls; the end of the stream ends this process."""
    try:
        while True:
            waiting.put(pickle.load(calls))
    except (EOFError, OSError, pickle.UnpicklingError):
        # At once, even during a decode: nobody waits for its result.
        os._exit(0)


def _own_streams() -> tuple[BinaryIO, BinaryIO]:
    """Return the streams for messages, and redirect those that libraries read or print to."""
    calls, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return calls, replies


def _threads() -> int:
    """Return the available cores, minus one for the window if at least two remain."""
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
