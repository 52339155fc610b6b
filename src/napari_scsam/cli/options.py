"""Option types shared by several commands, and their parsers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from napari_scsam.core.errors import InputError
from napari_scsam.core.prompts import Box, Prompts

Json = Annotated[
    bool, Parameter(name="--json", negative="", help="Print a JSON object as the last line.")
]
Overwrite = Annotated[
    bool,
    Parameter(
        name="--overwrite",
        negative="",
        help="Replace existing files; never an image or another input.",
    ),
]
Many = Parameter(consume_multiple=True, negative="")
Mapping = Annotated[
    list[str] | None,
    Parameter(
        name="--map",
        consume_multiple=True,
        negative="",
        help="Replace values of a mask, such as 255=1 for a {0, 255} PNG.",
    ),
]
Resample = Annotated[
    bool,
    Parameter(
        negative="",
        help="A mask on another grid: take the nearest of its voxels for each pixel.",
    ),
]
SameGrid = Annotated[
    bool,
    Parameter(
        negative="",
        help="A mask whose header is wrong: take it as it is, if its shape is the image's.",
    ),
]


def split_names(values: Sequence[str]) -> list[str]:
    """Split names given one by one, by commas, or both."""
    return [name for value in values for name in value.split(",")]


def parse_mapping(values: Sequence[str] | None) -> dict[int, int]:
    """Parse ``["255=1"]`` as ``{255: 1}``."""
    mapping = {}
    for text in split_names(values or []):
        try:
            source, target = (int(part) for part in text.split("="))
        except ValueError:
            raise InputError(f"--map takes FROM=TO, such as 255=1; got {text!r}.") from None
        mapping[source] = target
    return mapping


def parse_prompts(points: Sequence[str] | None, box: str | None) -> Prompts:
    """Parse ``["R,C,+", "R,C,-"]`` and ``"R0,C0,R1,C1"``.

    Raises
    ------
    InputError
        If a point or the box can't be read, or there is neither.
    """
    if not points and box is None:
        raise InputError("Say where the object is: give --point R,C,+ or --box R0,C0,R1,C1.")
    places, labels = [], []
    for text in points or []:
        try:
            row, col, sign = text.split(",")
            labels.append({"+": 1, "-": 0}[sign.strip()])
            places.append((float(row), float(col)))
        except (ValueError, KeyError):
            raise InputError(
                f"A point is R,C,+ (inside) or R,C,- (outside), such as 120,88,+; got {text!r}."
            ) from None
    return Prompts(points=places, labels=labels, box=None if box is None else _parse_box(box))


def _parse_box(text: str) -> Box:
    try:
        r0, c0, r1, c1 = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"A box is R0,C0,R1,C1, its top left and bottom right; got {text!r}."
        ) from None
    return (r0, c0, r1, c1)
