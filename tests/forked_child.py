"""A training process as a fork of the test's, which has imported what takes seconds to import.

It is a process that can be killed, paused and found again, and it runs the module as ``python -m``
does. Rounds as new processes are started by `test_cli_round`, `test_cli_train` and `test_gui_dock`.
"""

from __future__ import annotations

import gc
import io
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

import monai.networks.nets.basic_unet  # noqa: F401
import torch

# Both once, and not in every fork.
import scsam_train.loop  # noqa: F401
from napari_scsam.rounds.child_process import start_child

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# CUDA, and autograd after it has used CUDA, do not work in a fork.
FORKS = sys.platform == "linux" and not torch.cuda.is_available()


class ForkedChild:
    """What `start_child` returns, as far as rounds use it.

    Parameters
    ----------
    pid : int
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return self._ended(os.WNOHANG)

    def wait(self) -> int | None:
        """Wait for its end."""
        return self._ended(0)

    def kill(self) -> None:
        """Kill it, if it has not been reaped."""
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)

    def _ended(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode


class ForkedChildren:
    """Starts children as forks; `end` kills those that are left."""

    def __init__(self) -> None:
        self._started: list[ForkedChild] = []

    def start(
        self, module: str, folder: Path, log_path: Path, cwd: Path, *_: object
    ) -> ForkedChild | subprocess.Popen[bytes]:
        """Take the place of `start_child`."""
        if not FORKS:
            return start_child(module, folder, log_path, cwd)
        with log_path.open("wb") as log:
            return self._fork(partial(_run_module, [module, str(folder)], (log, log), cwd))

    def run(
        self, command: Sequence[str], cwd: Path | None = None, **_: object
    ) -> subprocess.CompletedProcess[str]:
        """Take the place of `subprocess.run` for ``python -P -m MODULE ARGUMENT...``."""
        if not FORKS:
            return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
        words = list(command)[list(command).index("-m") + 1 :]
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            code = self._fork(partial(_run_module, words, (out, err), cwd or Path.cwd())).wait()
            for stream in (out, err):
                stream.seek(0)
            said = [stream.read().decode() for stream in (out, err)]
        assert code is not None
        return subprocess.CompletedProcess(command, code, *said)

    def call(self, function: Callable[[], object]) -> ForkedChild:
        """Call a function in a fork, with the output of this process."""
        return self._fork(function)

    def end(self) -> None:
        """Kill and reap every child."""
        for child in self._started:
            with suppress(ChildProcessError, ProcessLookupError):
                child.kill()
                child.wait()

    def _fork(self, work: Callable[[], object]) -> ForkedChild:
        with warnings.catch_warnings():
            # From Python 3.12: other threads, of pytest-xdist, have locks, which it never takes.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if not pid:
            _run(work)
        self._started.append(ForkedChild(pid))
        return self._started[-1]


def _run(work: Callable[[], object]) -> None:
    """Do the work in the fork, and end it."""
    code: object = 1
    try:
        gc.freeze()  # nothing of the window that the test's process may have is destroyed here
        os.setsid()
        torch.set_num_threads(1)
        warnings.simplefilter("ignore")
        work()
        code = 0
    except SystemExit as exc:
        code = exc.code or 0
    except BaseException:  # noqa: BLE001 - otherwise it would go on as a second test process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def _run_module(words: list[str], streams: tuple[IO[bytes], IO[bytes]], cwd: Path) -> None:
    """Run a module as ``python -m`` does, with its output and errors in open files."""
    os.chdir(cwd)
    for at, stream in enumerate(streams, start=1):
        os.dup2(stream.fileno(), at)
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(at, "w")) for at in (1, 2))
    sys.argv = list(words)
    runpy.run_module(words[0], run_name="__main__")
