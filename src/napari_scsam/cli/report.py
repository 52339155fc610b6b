"""Result of a command: data for scripts and text for people."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.segment import Segments
from rich.text import Text

from napari_scsam.core.jobs import Progress


@dataclass(frozen=True)
class Report:
    """Result of a command.

    Attributes
    ----------
    data : dict
        Data for ``--json``: whole numbers, floats, strings, lists, dicts, paths, None.
    text : str or rich renderable
        Text for people.
    as_json : bool
        Whether to print `data` as the last line of standard output.
    """

    data: dict[str, Any]
    text: RenderableType
    as_json: bool = False

    def show(self) -> None:
        """Write to standard output."""
        if self.as_json:
            line = json.dumps(_plain(self.data), allow_nan=False)
            Console(soft_wrap=True).out(line, highlight=False)
        else:
            _print(self.text)


def printable(text: str) -> str:
    """Text that a terminal shows and does not obey: control characters are replaced by ``?``.

    Names of files may hold any character, and some of them move the cursor or clear the screen.
    What the terminal's encoding lacks, such as bytes that are no text, is replaced, too.
    """
    shown = "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return shown.encode(encoding, "replace").decode(encoding)


def _print(shown: RenderableType) -> None:
    """Write to standard output what is printable; square brackets in a text are no markup."""
    console = Console(highlight=False)
    found = console.render(Text(shown) if isinstance(shown, str) else shown)
    safe = [s if s.control else s._replace(text=printable(s.text)) for s in found]
    console.print(Segments(safe), end="")


def _plain(value: Any) -> Any:
    # JSON has no NaN and no infinity: an undefined distance is null.
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class StderrProgress:
    """Progress on standard error: an updated line on a terminal, a few lines elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._status = self._console.status("") if self._console.is_terminal else None
        self._shown = ""

    def __enter__(self) -> StderrProgress:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, text: str) -> None:
        """Write a permanent line."""
        self._console.out(printable(text), highlight=False)

    def __call__(self, progress: Progress) -> None:
        """Show the progress."""
        if self._status is not None:
            self._status.update(Text(f"{printable(progress.message)} {progress.fraction:.0%}"))
        elif progress.message != self._shown:
            self._shown = progress.message
            self._console.out(printable(progress.message), highlight=False)
