"""Result of a command: data for scripts and text for people."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

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
            Console().print(self.text, highlight=False)


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
        self._console.out(text, highlight=False)

    def __call__(self, progress: Progress) -> None:
        """Show the progress."""
        if self._status is not None:
            self._status.update(f"{progress.message} {progress.fraction:.0%}")
        elif progress.message != self._shown:
            self._shown = progress.message
            self._console.out(progress.message, highlight=False)
