"""Classes and label arrays: 0 background, 1..K classes, 255 not annotated."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_scsam.core.arrays import LabelArray

# Values of a label map in uint8 (docs/reference/project-folder.md): 1 to 254 are classes, and 255,
# the largest value, is common for pixels that a loss ignores.
BACKGROUND, NOT_ANNOTATED, MAX_CLASSES = 0, 255, 254

# Okabe and Ito (2008): distinguishable with all common forms of colour vision.
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#0072B2", "#F0E442")


@dataclass(frozen=True)
class LabelClass:
    """A named, coloured target structure.

    Attributes
    ----------
    id : int
        Value in label arrays, 1..254.
    name : str
        Name for display.
    colour : str
        ``#RRGGBB``.
    """

    id: int
    name: str
    colour: str


def make_classes(names: Sequence[str]) -> tuple[LabelClass, ...]:
    """Number and colour classes in the order of `names`.

    Raises
    ------
    InputError
        If there is no name, an empty one, a duplicate, or more than 254.
    """
    cleaned = [name.strip() for name in names]
    if not cleaned or not all(cleaned):
        raise InputError("A project needs at least one class, and no class name may be empty.")
    twice = sorted({name for name in cleaned if cleaned.count(name) > 1})
    if twice:
        raise InputError(f"Class names must differ; given twice: {', '.join(twice)}.")
    if len(cleaned) > MAX_CLASSES:
        raise InputError(f"At most {MAX_CLASSES} classes fit a label map, got {len(cleaned)}.")
    return tuple(
        LabelClass(i + 1, name, PALETTE[i % len(PALETTE)]) for i, name in enumerate(cleaned)
    )


def changed_classes(
    classes: Sequence[LabelClass], wanted: Sequence[LabelClass] | None
) -> tuple[LabelClass, ...]:
    """Return the class table that replaces another one; None for the same.

    Raises
    ------
    InputError
        If a class of the old table is missing, a name is empty or given twice, or a colour is not
        ``#RRGGBB``.
    """
    if wanted is None:
        return tuple(classes)
    names = [c.name.strip() for c in wanted]
    make_classes(names)
    missing = [c.name for c in classes if c.id not in {w.id for w in wanted}]
    if missing:
        raise InputError(f"Classes can't be removed, since labels may hold them: {missing[0]}.")
    table = tuple(replace(c, name=name) for c, name in zip(wanted, names, strict=True))
    try:
        check_classes(table)
    except ValueError as exc:
        raise InputError(f"The classes can't be used: {exc}.") from exc
    return table


def check_classes(classes: Sequence[LabelClass]) -> None:
    """Raise ValueError where a class table that was read from a file can't be one."""
    ids = [c.id for c in classes]
    if not ids or len(set(ids)) < len(ids):
        raise ValueError("class table: it needs classes, each with an id of its own")
    for c in classes:
        if not 1 <= c.id <= MAX_CLASSES or not c.name.strip():
            raise ValueError(f"class {c.id}: ids are 1 to {MAX_CLASSES}, and names not empty")
        if re.fullmatch(r"#[0-9A-Fa-f]{6}", c.colour) is None:
            raise ValueError(f"class {c.id}: its colour {c.colour[:20]!r} is not #RRGGBB")


def as_label_array(
    label: NDArray[np.generic],
    shape: tuple[int, ...],
    classes: Iterable[LabelClass],
    mapping: Mapping[int, int] | None = None,
) -> LabelArray:
    """Validate a mask against an image and a class table, and return it as uint8.

    Parameters
    ----------
    label : ndarray
        Whole numbers (any dtype, including bool) on the image's grid.
    shape : tuple of int
        Spatial shape of the image.
    classes : iterable of LabelClass
        The project's classes.
    mapping : mapping of int to int, optional
        Values to replace before the check, such as ``{255: 1}`` for a {0, 255} PNG.

    Raises
    ------
    InputError
        If the shape differs from the image's, or a value is not whole or not a class.
    """
    array = np.asarray(label)
    if array.shape != tuple(shape):
        raise InputError(
            f"The mask has shape {array.shape}, but the image has {tuple(shape)}. "
            "Resample the mask onto the image's grid first."
        )
    values = np.unique(array)
    if array.dtype.kind not in "biuf":
        raise InputError(f"A mask holds whole numbers; this one holds values of {array.dtype}.")
    finite = np.isfinite(values).all()
    if not finite or not np.array_equal(values, np.round(values)):
        raise InputError("A mask holds whole numbers; this one has fractions or NaN.")
    mapping = dict(mapping or {})
    known = {BACKGROUND, NOT_ANNOTATED, *(c.id for c in classes)}
    lookup = {int(v): mapping.get(int(v), int(v)) for v in values}
    unknown = sorted({v for v in lookup.values() if v not in known})
    only_255 = not mapping and set(lookup) <= {0, NOT_ANNOTATED} and NOT_ANNOTATED in lookup
    if unknown or only_255:
        named = ", ".join(f"{c.id}={c.name}" for c in classes)
        got = "only 0 and 255 (255 means not annotated)" if only_255 else f"also {unknown}"
        example = 255 if only_255 else unknown[0]
        raise InputError(
            f"A mask holds 0 and the class values ({named}); this one holds {got}. "
            f"Name what its values mean, for example --map {example}=1."
        )
    out = np.zeros(array.shape, np.uint8)
    for value, target in lookup.items():
        if target:
            out[array == value] = target
    return out


def is_done(plane: LabelArray) -> bool:
    """Whether most of a plane's pixels are annotated.

    A line left by a committed plane along another axis is not enough.
    """
    return bool((plane != NOT_ANNOTATED).mean() > 0.5)


def done_planes(label: LabelArray) -> list[int]:
    """Return the indices along axis 0 of planes for which `is_done` holds."""
    if label.ndim == 2:
        return [0] if is_done(label) else []
    return [index for index, plane in enumerate(label) if is_done(plane)]


def scribbled_planes(label: LabelArray) -> list[int]:
    """Return the indices along axis 0 of planes with annotations not left by crossing planes.

    A plane committed along another axis leaves a whole row or column.
    """
    planes = (label != NOT_ANNOTATED).reshape(-1, *label.shape[-2:])
    crossing = planes.all(axis=2, keepdims=True) | planes.all(axis=1, keepdims=True)
    return [int(i) for i in np.flatnonzero((planes & ~crossing).any(axis=(1, 2)))]


def annotated_planes(label: LabelArray) -> list[int]:
    """Return the indices along axis 0 of planes with any annotated pixel."""
    if label.ndim == 2:
        return [0] if (label != NOT_ANNOTATED).any() else []
    flat = (label != NOT_ANNOTATED).reshape(label.shape[0], -1).any(axis=1)
    return [int(i) for i in np.flatnonzero(flat)]
