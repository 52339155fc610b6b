"""A segmenter in a process of its own, so that no model ever holds up the window."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from napari_scsam.core.errors import Cancelled, ModelError
from napari_scsam.core.settings import CACHE_GB

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_scsam.inference.messages import Answer, Question
    from napari_scsam.propagation import Carried, Trail

SERVER = "napari_scsam.inference.process_server"
LOG_FILE = "models.log"
# A process that was killed, or has lost its streams, is gone within this.
END_S = 5.0
# The name of a Segmenter's method and its arguments.
Call = tuple[str, tuple[Any, ...]]
# Whether the call succeeded, and its result or its ScsamError.
Reply = tuple[bool, Any]


class SegmenterProcess:
    """A `Segmenter` whose models, embeddings and imports live in a child process.

    The child starts with the first call and is started again by the call after the one in
    which it died. It ends with this process, however this process ends. Calls are answered
    one at a time; `close` may be called from any thread.

    Parameters
    ----------
    cache_folder : Path
        Where embeddings are kept for later.
    cache_gb : float
        Size that the folder is kept under.

    Attributes
    ----------
    log_path : Path
        What the child has to say, beside `cache_folder`; begun anew by each object.
    """

    def __init__(self, cache_folder: Path, cache_gb: float = CACHE_GB) -> None:
        self._cache_folder = cache_folder
        self._cache_gb = cache_gb
        self.log_path = cache_folder.with_name(LOG_FILE)
        self._started = False
        self._closed = False
        self._child: subprocess.Popen[bytes] | None = None
        # The first lets one call through at a time, the second guards the child's coming
        # and going, which `close` must not wait for.
        self._talking = threading.Lock()
        self._changing = threading.Lock()

    def prepare(self, round_folder: Path | None) -> None:
        """Start the child, and load what the active round needs."""
        self._call("prepare", round_folder)

    def describe(self) -> str:
        """What runs where; see `Segmenter.describe`."""
        return cast("str", self._call("describe"))

    def embed(self, question: Question) -> None:
        """Prepare a plane; its embedding stays in the child."""
        self._call("embed", question)

    def decode(self, question: Question) -> Answer:
        """Masks of every class that has prompts; see `Segmenter.decode`."""
        return cast("Answer", self._call("decode", question))

    def suggest(self, question: Question, class_ids: Iterable[int]) -> Answer:
        """Proposals and their masks; see `Segmenter.suggest`."""
        return cast("Answer", self._call("suggest", question, tuple(class_ids)))

    def carry(self, question: Question, trail: Trail) -> Carried:
        """Masks of a neighbouring plane found again; see `Segmenter.carry`."""
        return cast("Carried", self._call("carry", question, trail))

    def prefetch(self, questions: Iterable[Question]) -> None:
        """Embed planes ahead; the child does it after it has answered. See `Segmenter`."""
        self._call("prefetch", tuple(questions))

    def close(self) -> None:
        """End the child at once, whatever it does; a call in it raises Cancelled."""
        with self._changing:
            self._closed = True
            child, self._child = self._child, None
        if child is not None:
            child.kill()
            with self._talking:
                _bury(child)

    def _call(self, name: str, *arguments: Any) -> Any:
        """The result of one call in the child.

        Raises
        ------
        ScsamError
            What the call raised there; a ModelError when it raised something else or the
            child ended, and Cancelled when this was closed.
        """
        with self._talking:
            child = self._running_child()
            try:
                succeeded, result = _ask(child, name, arguments)
            except (OSError, EOFError, pickle.UnpicklingError) as error:
                raise self._ended(child) from error
        if succeeded:
            return result
        raise result

    def _running_child(self) -> subprocess.Popen[bytes]:
        with self._changing:
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
                # Its own session: Ctrl+C in a terminal is for the window to handle.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            raise ModelError(f"The model process can't be started: {error}.") from error
        finally:
            if not isinstance(log, int):
                log.close()

    def _open_log(self) -> Any:
        """The log, new in each session; without one where the folder can't be written."""
        mode = "ab" if self._started else "wb"
        self._started = True
        try:
            self.log_path.parent.mkdir(parents=True, exist_ok=True)
            return self.log_path.open(mode)
        except OSError:
            return subprocess.DEVNULL

    def _ended(self, child: subprocess.Popen[bytes]) -> ModelError | Cancelled:
        with self._changing:
            if self._closed:
                return Cancelled("The project was closed.")
            self._child = None
        return ModelError(
            f"The model process stopped (exit code {_bury(child)}), perhaps for want of memory; "
            f"it is started again with the next click. Its log: {self.log_path}"
        )


def send(stream: BinaryIO, message: Call | Reply) -> None:
    """Write one message, from either side."""
    stream.write(pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL))
    stream.flush()


def _ask(child: subprocess.Popen[bytes], name: str, arguments: tuple[Any, ...]) -> Reply:
    calls, replies = child.stdin, child.stdout
    if calls is None or replies is None:
        raise EOFError
    send(cast("Any", calls), (name, arguments))
    return cast("Reply", pickle.load(replies))


def _bury(child: subprocess.Popen[bytes]) -> int:
    """Close the streams of a child that is ending, and wait for it; returns its exit code."""
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            with suppress(OSError):  # what was not sent yet can't be sent any more
                stream.close()
    try:
        return child.wait(END_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()
