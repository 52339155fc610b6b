"""Parse and validate everything that is read from a project's files.

A project may come from a stranger or from a damaged disk. Everything in its journal is parsed by
the functions of this module, which raise ValueError, TypeError or KeyError for invalid content.
The rest of the program only gets valid values.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from napari_scsam.core.errors import INVALID, ProjectError
from napari_scsam.core.geometry import SMALLEST, is_invertible
from napari_scsam.core.judged import Judged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_scsam.core.arrays import Affine

_T = TypeVar("_T")
_IMAGE_ID = re.compile(r"[0-9a-f]{8,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Largest number that is accepted: that of 32 bits with a sign (arbitrary; no version, round, slice
# or side of an image comes near it).
_MAX_NUMBER = 2**31 - 1
# Largest number of pixels of an image (arbitrary: a label map of it takes 256 GiB of memory).
MAX_PIXELS = 2**38
_MODELS = ("unet", "sam", "prompted", "pair")
_UNITS = ("meter", "mm", "micron", "unknown")


class Reading(Generic[_T]):
    """Convert parsing errors in a block to a one-line ProjectError that names the file.

    A class of its own, since a project has many events and `contextlib` takes some microseconds.

    Parameters
    ----------
    what : str
        What is parsed, such as ``"event 12 (commit)"``.
    path : Path
        The file that it was read from.
    value : object
        What the block gets.
    """

    __slots__ = ("_path", "_value", "_what")

    def __init__(self, what: str, path: Path, value: _T) -> None:
        self._what, self._path, self._value = what, path, value

    def __enter__(self) -> _T:
        return self._value

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        if isinstance(exc, KeyError):
            raise ProjectError(f"{self._path} is damaged: {self._what} has no {exc}.") from exc
        if isinstance(exc, INVALID):
            raise ProjectError(
                f"{self._path} is damaged: {self._what} can't be read ({exc})."
            ) from exc


def reading(what: str, path: Path) -> Reading[None]:
    """A block in which `what` of the file `path` is parsed."""
    return Reading(what, path, None)


def image_id(value: Any) -> str:
    """An image ID: 8 to 64 hexadecimal digits, so that it is safe as one component of a path."""
    return _matching(_IMAGE_ID, value, "an image's id is 8 or more hexadecimal digits")


def sha256(value: Any) -> str:
    """A SHA-256 in hexadecimal."""
    return _matching(_SHA256, value, "a hash is 64 hexadecimal digits")


def name(value: Any) -> str:
    """A name that is safe as a file name: one component of a path, and not `..`."""
    if not isinstance(value, str) or value in ("", ".", "..") or re.search(r"[/\0]", value):
        raise ValueError(f"a name is one part of a path; got {_short(value)}")
    return value


def text(value: Any) -> str:
    """Any text."""
    if not isinstance(value, str):
        raise TypeError(f"text was expected; got {_short(value)}")
    return value


def number(value: Any, low: int = 0) -> int:
    """A whole number from `low` to 2**31 - 1."""
    if type(value) is not int or not low <= value <= _MAX_NUMBER:
        raise ValueError(f"a whole number from {low} was expected; got {_short(value)}")
    return value


def flag(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise TypeError(f"true or false was expected; got {_short(value)}")
    return value


def shape(value: Any) -> tuple[int, ...]:
    """(rows, cols) or (slices, rows, cols)."""
    sides = tuple(number(side, 1) for side in _list(value))
    if len(sides) not in (2, 3):
        raise ValueError(f"a shape has 2 or 3 sides; got {_short(value)}")
    if math.prod(sides) > MAX_PIXELS:
        raise ValueError(f"an image of {_short(value)} is larger than any that can be read")
    return sides


def spacing(value: Any, ndim: int) -> tuple[float, ...]:
    """The spacing: one positive, finite distance for each axis."""
    steps = tuple(float(step) for step in _list(value))
    if len(steps) != ndim or not all(math.isfinite(step) and step > 0 for step in steps):
        raise ValueError(f"a spacing is {ndim} distances; got {_short(value)}")
    return steps


def affine(value: Any) -> Affine:
    """An affine: an invertible 4 x 4 matrix of finite numbers; read-only, since it is shared."""
    try:
        return _affine(tuple(tuple(row) for row in _list(value)))
    except INVALID as exc:
        raise ValueError(f"an affine is a matrix of 4 x 4; got {_short(value)}") from exc


# Most images of a project have the same affine, and checking one takes 30 microseconds.
@lru_cache(maxsize=64)
def _affine(rows: tuple[tuple[Any, ...], ...]) -> Affine:
    matrix: Affine = np.array(rows, dtype=np.float64)
    good = matrix.shape == (4, 4) and np.isfinite(matrix).all() and is_invertible(matrix)
    if not good or np.abs(matrix).max() > 1 / SMALLEST:
        raise ValueError("not invertible")
    matrix.flags.writeable = False
    return matrix


def header(value: Any) -> Mapping[str, Any]:
    """Header fields of the source format that an export preserves."""
    facts = table(value)
    if facts.get("unit", "mm") not in _UNITS:
        raise ValueError(f"a unit is one of {', '.join(_UNITS)}; got {_short(facts['unit'])}")
    for code in ("sform_code", "qform_code"):
        number(facts.get(code, 1))
    if "qform" in facts:
        affine(facts["qform"])
    return facts


def place(value: Mapping[str, Any]) -> tuple[str, str | None]:
    """An image's absolute path, and its path relative to the project if there is one."""
    relative = value["relative"]
    paths = (text(value["absolute"]), None if relative is None else text(relative))
    if any(not path or "\0" in path for path in paths if path is not None):
        raise ValueError(f"a path was expected; got {_short(paths)}")
    return paths


def plane(value: Any) -> int | None:
    """A slice index; None for the whole image."""
    return None if value is None else number(value)


def base(value: Any, version: int) -> int | None:
    """The version that another one refers to, which is earlier; None without one."""
    if value is not None and number(value, 1) >= version:
        raise ValueError(f"version {version} refers to version {value}, which is not earlier")
    return value if value is None else int(value)


def planes(value: Any) -> tuple[int, ...]:
    """Slice indices."""
    return tuple(number(index) for index in _list(value))


def judged(value: Any) -> Judged:
    """The classes that were judged on each slice."""
    found = Judged.from_json(table(value))
    class_ids(list(found.classes))
    for ids in found.planes.values():
        class_ids(list(ids))
    return found


def class_ids(value: Any) -> tuple[int, ...]:
    """Class IDs."""
    return tuple(number(one, 1) for one in _list(value))


def metrics(value: Any) -> dict[str, Any]:
    """The metrics of a round; the Dice of its models may be missing."""
    found = table(value)
    for count in ("labelled_planes", "unlabelled_planes"):
        number(found.get(count, 0))
    for name, rate in table(found.get("rates") or {}).items():
        if type(rate) not in ((str,) if name == "device" else (int, float, type(None))):
            raise TypeError(f"a rate is a number, and a device is text; got {_short(rate)}")
    for name, figure in table(found.get("comparison") or {}).items():
        if type(figure) not in ((str,) if name == "unit" else (int, float, type(None))):
            raise TypeError(f"a comparison is a number, and its unit is text; got {_short(figure)}")
    measured = table(found.get("dice") or {})
    for model in _MODELS:
        for dice in table(measured.get(model) or {}).values():
            if dice is not None and type(dice) not in (int, float):
                raise TypeError(f"a Dice is a number; got {_short(dice)}")
    return found


def table(value: Any) -> dict[str, Any]:
    """A table (JSON object)."""
    if not isinstance(value, dict):
        raise TypeError(f"a table was expected; got {_short(value)}")
    return value


def _matching(pattern: re.Pattern[str], value: Any, rule: str) -> str:
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise ValueError(f"{rule}; got {_short(value)}")
    return value


def _list(value: Any) -> Sequence[Any]:
    if not isinstance(value, list):
        raise TypeError(f"a list was expected; got {_short(value)}")
    return value


def _short(value: Any) -> str:
    """The value as text for a message: on one line, of at most 60 characters (arbitrary)."""
    line = " ".join(repr(value).split())
    return line if len(line) <= 60 else f"{line[:57]}..."
