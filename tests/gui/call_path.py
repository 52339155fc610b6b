"""Finds the files to read to follow an action through the process of the window."""

from __future__ import annotations

import sys
import threading
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari_scsam

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PACKAGE = Path(napari_scsam.__file__).parent


class CallPath:
    """Follows an action from place to place, across threads and processes.

    A place is a function in which the action leaves a thread, or reaches the screen, the disk or
    another process. The path consists of the functions on the call stack at these places. Work on
    the side, such as drawing the rest of the window, is touched but is not on the path.

    `core` is not counted, since its values are only passed on. Only threads that were started
    after this object was created are followed.

    Parameters
    ----------
    places : iterable of str
        Qualified names of functions.
    """

    def __init__(self, places: Iterable[str]) -> None:
        self._places = frozenset(places)
        self._on = False
        self._last: Callable[[Any], bool] = lambda _: False
        self._touched: set[Any] = set()
        self._stacks: set[tuple[Any, ...]] = set()
        threading.setprofile(self._record)

    def close(self) -> None:
        """Remove the profiling hooks."""
        self._on = False
        sys.setprofile(None)
        threading.setprofile(None)

    def start(self, last: Callable[[Any], bool] = lambda _: False) -> None:
        """Start a new path; it ends at the first place for whose frame `last` is true."""
        self._touched, self._stacks, self._on = set(), set(), True
        self._last = last
        sys.setprofile(self._record)

    def stop(self) -> None:
        """End the path."""
        self._on = False
        sys.setprofile(None)

    @property
    def path(self) -> dict[str, list[str]]:
        """Files on the path, each with its functions there."""
        return _by_file({code for stack in self._stacks for code in stack})

    @property
    def touched(self) -> dict[str, list[str]]:
        """Files in which anything ran, on the path or on the side."""
        return _by_file(self._touched)

    @property
    def reached(self) -> set[str]:
        """Places on the path."""
        return {stack[0].co_qualname for stack in self._stacks}

    def _record(self, frame: Any, event: str, _argument: Any) -> None:
        if not self._on or event != "call":
            return
        self._touched.add(frame.f_code)
        if frame.f_code.co_qualname in self._places:
            stack = []
            above = frame
            while above is not None:
                stack.append(above.f_code)
                above = above.f_back
            self._stacks.add(tuple(stack))
            if self._last(frame):
                self._on = False


def _by_file(codes: set[Any]) -> dict[str, list[str]]:
    found = defaultdict(list)
    for code in codes:
        path = Path(code.co_filename)
        if path.is_relative_to(PACKAGE) and code.co_name != "<module>":
            inside = path.relative_to(PACKAGE)
            if inside.parts[0] != "core":
                found[inside.as_posix()].append(code.co_qualname)
    return {name: sorted(found[name]) for name in sorted(found)}
