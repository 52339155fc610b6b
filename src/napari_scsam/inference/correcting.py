"""The part of an existing label that the prompts of an object correct."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_scsam.core.labels import BACKGROUND
from napari_scsam.core.prompts import ObjectKey, Point, PromptSet, pixels_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_scsam.core.arrays import IndexArray, LabelArray, Mask


def begun_from(draft: LabelArray | None, key: ObjectKey, prompts: PromptSet) -> Mask | None:
    """Return the mask that the prompts of an object correct; None if they start a new mask.

    If a class has several components, it consists of those that the prompts touch. If they touch
    none, a box, a lasso or a further object starts a new mask, and clicks correct the whole class.

    Parameters
    ----------
    draft : ndarray of shape (rows, cols), uint8, optional
        Label of the plane: class ids.
    key : (class id, object number)
    prompts : PromptSet
        Prompts of the plane, of all objects.

    Returns
    -------
    ndarray of shape (rows, cols), bool, or None
    """
    if draft is None or not (draft == key[0]).any():
        return None
    mask: Mask = draft == key[0]
    pieces, _ = ndimage.label(mask)
    lassos = [s for s in prompts.strokes if s.object_key == key and s.kind == "lasso"]
    touched = set(pieces[tuple(_places(prompts, key, mask.shape).T)].tolist())
    touched |= set(np.unique(pieces[_boxed(prompts, key)]).tolist())
    for lasso in lassos:
        touched |= set(np.unique(pieces[lasso.region((mask.shape[0], mask.shape[1]))]).tolist())
    touched -= {0}
    if touched:
        return np.isin(pieces, list(touched))
    encircled = key in prompts.boxes or any(s.positive for s in lassos)
    return mask if key[1] == 1 and not encircled else None


def only_outside(prompts: PromptSet, key: ObjectKey) -> bool:
    """Return whether an object has negative prompts alone."""
    said = [p.positive for p in prompts.points if p.object_key == key and p.state != "rejected"]
    said += [s.positive for s in prompts.strokes if s.object_key == key]
    return key not in prompts.boxes and not any(said)


def says_nothing(prompts: PromptSet, key: ObjectKey, begun: Mask | None) -> bool:
    """Return whether an object stays unchanged: all of its prompts are negative and outside."""
    if begun is None or not only_outside(prompts, key):
        return False
    lassos = [s for s in prompts.strokes if s.object_key == key and s.kind == "lasso"]
    met = begun[tuple(_places(prompts, key, begun.shape).T)].any()
    shape = (begun.shape[0], begun.shape[1])
    return not met and not any((begun & lasso.region(shape)).any() for lasso in lassos)


def left_of(draft: LabelArray | None, begun: Iterable[Mask | None]) -> LabelArray | None:
    """Return a label without the masks that prompts correct."""
    if draft is None:
        return None
    left = draft.copy()
    for mask in begun:
        if mask is not None:
            left[mask] = BACKGROUND
    return left


def _places(prompts: PromptSet, key: ObjectKey, shape: tuple[int, ...]) -> IndexArray:
    """Return the pixels (N, 2) below an object's points and scribbles."""
    places: list[Point] = [
        (p.row, p.col) for p in prompts.points if p.object_key == key and p.state != "rejected"
    ]
    for stroke in prompts.strokes:
        scribbled = stroke.object_key == key and stroke.kind == "scribble"
        places += stroke.path if scribbled else ()
    return pixels_of(places, shape)


def _boxed(prompts: PromptSet, key: ObjectKey) -> tuple[slice, slice]:
    """Return the pixels in an object's box; none without one."""
    if key not in prompts.boxes:
        return (slice(0, 0), slice(0, 0))
    r0, c0, r1, c1 = (round(max(v, 0)) for v in prompts.boxes[key])
    return (slice(r0, r1 + 1), slice(c0, c1 + 1))
