"""A segmenter in a separate process, so that models never block the window."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from napari_scsam.core.errors import Cancelled, ModelError
from napari_scsam.core.settings import CACHE_GB
from napari_scsam.inference.messages import Answer
from napari_scsam.io.real_files import open_new, open_to_append

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_scsam.inference.messages import Question
    from napari_scsam.propagation import Carried, Trail

_log = logging.getLogger(__name__)

SERVER = "napari_scsam.inference.process_server"
LOG_FILE = "models.log"
# Time limit for a killed process, or one without streams, to end.
END_S = 5.0
# Name and arguments of a Segmenter's method.
Call = tuple[str, tuple[Any, ...]]
# Whether the call succeeded, and its result or ScsamError.
Reply = tuple[bool, Any]


class _ChildEnded(ModelError):
    """The child ended during a call."""


class SegmenterProcess:
    """A `Segmenter` whose models, embeddings and imports are in a child process.

    The child is started by the first call. If it has crashed, it is started again and the call is
    repeated once; the note of an `Answer` says so. It ends with this process, however that ends.
    Calls are processed one at a time; `close` may be called from any thread.

    Parameters
    ----------
    cache_folder : Path
        Folder of the embedding cache.
    cache_gb : float
        Size limit of the folder, in GB.

    Attributes
    ----------
    log_path : Path
        The child's log, beside `cache_folder`; overwritten by each object.
    """

    def __init__(self, cache_folder: Path, cache_gb: float = CACHE_GB) -> None:
        self._cache_folder = cache_folder
        self._cache_gb = cache_gb
        self.log_path = cache_folder.with_name(LOG_FILE)
        self._started = False
        self._closed = False
        self._child: subprocess.Popen[bytes] | None = None
        # The first serialises calls. The second guards the child's start and end, for which
        # `close` must not wait.
        self._calling = threading.Lock()
        self._starting = threading.Lock()

    def prepare(self, round_folder: Path | None) -> None:
        """Start the child and load the models of the active round."""
        self._call("prepare", round_folder)

    def describe(self) -> str:
        """Describe model and device; see `Segmenter.describe`."""
        return cast("str", self._call("describe"))

    def embed(self, question: Question) -> None:
        """Embed a plane; the embedding stays in the child."""
        self._call("embed", question)

    def decode(self, question: Question) -> Answer:
        """Segment every class that has prompts; see `Segmenter.decode`."""
        return cast("Answer", self._call("decode", question))

    def suggest(self, question: Question, class_ids: Iterable[int]) -> Answer:
        """Propose prompts and decode them; see `Segmenter.suggest`."""
        return cast("Answer", self._call("suggest", question, tuple(class_ids)))

    def carry(self, question: Question, trail: Trail) -> Carried:
        """Propagate masks of a neighbouring plane; see `Segmenter.carry`."""
        return cast("Carried", self._call("carry", question, trail))

    def prefetch(self, questions: Iterable[Question]) -> None:
        """Embed planes ahead, in the child's idle time; see `Segmenter.prefetch`."""
        self._call("prefetch", tuple(questions))

    def close(self) -> None:
        """Kill the child at once; a call in progress raises Cancelled."""
        with self._starting:
            self._closed = True
            child, self._child = self._child, None
        if child is not None:
            child.kill()
            with self._calling:
                _wait_for_end(child)

    def _call(self, name: str, *arguments: Any) -> Any:
        """Return the result of one call in the child.

        Raises
        ------
        ScsamError
            The error of the call; ModelError if it raised another error or the child ended twice,
            and Cancelled if this object was closed.
        """
        with self._calling:
            try:
                succeeded, result = self._once(name, arguments)
                restarted = ""
            except _ChildEnded as error:
                _log.warning("%s", error)
                restarted = f"{error} It was started again."
                succeeded, result = self._once(name, arguments)
        if not succeeded:
            raise result
        if restarted and isinstance(result, Answer):
            return replace(result, note=restarted)
        return result

    def _once(self, name: str, arguments: tuple[Any, ...]) -> Reply:
        """Make one call; raises _ChildEnded if the child ends."""
        child = self._running_child()
        try:
            return _exchange(child, name, arguments)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            raise self._ended(child) from error

    def _running_child(self) -> subprocess.Popen[bytes]:
        with self._starting:
            if self._closed:
                raise Cancelled("The project was closed.")
            if self._child is None:
                self._child = self._start()
            return self._child

    def _start(self) -> subprocess.Popen[bytes]:
        # -P: a folder named napari_scsam in the current folder must not run instead.
        command = [sys.executable, "-P", "-m", SERVER]
        command += [str(self._cache_folder), str(self._cache_gb)]
        log = self._open_log()
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # A session of its own: Ctrl+C in a terminal is handled by the window.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            raise ModelError(f"The model process can't be started: {error}.") from error
        finally:
            if not isinstance(log, int):
                log.close()

    def _open_log(self) -> Any:
        """Open the log, new in each session; no log if the folder can't be written."""
        opened = open_to_append if self._started else open_new
        self._started = True
        try:
            self.log_path.parent.mkdir(parents=True, exist_ok=True)
            return opened(self.log_path)
        except OSError:
            return subprocess.DEVNULL

    def _ended(self, child: subprocess.Popen[bytes]) -> _ChildEnded | Cancelled:
        with self._starting:
            if self._closed:
                return Cancelled("The project was closed.")
            self._child = None
        return _ChildEnded(
            f"The model process stopped (exit code {_wait_for_end(child)}), perhaps because memory "
            f"ran out. Its log: {self.log_path}."
        )


def send(stream: BinaryIO, message: Call | Reply) -> None:
    """Write one message."""
    stream.write(pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL))
    stream.flush()


def _exchange(child: subprocess.Popen[bytes], name: str, arguments: tuple[Any, ...]) -> Reply:
    calls, replies = child.stdin, child.stdout
    if calls is None or replies is None:
        raise EOFError
    send(cast("Any", calls), (name, arguments))
    return cast("Reply", pickle.load(replies))


def _wait_for_end(child: subprocess.Popen[bytes]) -> int:
    """Close the streams of an ending child and wait for it; returns its exit code."""
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            with suppress(OSError):  # unsent data is lost
                stream.close()
    try:
        return child.wait(END_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()
