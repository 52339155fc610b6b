"""One command line, run here by its entry point or as a process of its own."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

from napari_scsam.cli.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]


def process(*arguments: object, cwd: Path | None = None) -> Done:
    """Python starts, imports and ends: what a person's shell sees."""
    command = [sys.executable, "-m", "napari_scsam.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def here(*arguments: object) -> Done:
    """The same in this process, which has imported before what takes seconds to import."""
    words = [str(argument) for argument in arguments]
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = main(words)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def ok(*arguments: object, run: Run = here) -> dict:
    """The JSON object of a command that succeeds."""
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def refused(*arguments: object, run: Run = here) -> str:
    """The one line that a refused command writes."""
    done = run(*arguments)
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    return line
