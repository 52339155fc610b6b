"""Suggested outlines that SAM does not agree with become questions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scipy import ndimage
from skimage.morphology import convex_hull_image

from napari_scsam.core.prompts import pixels_of
from napari_scsam.models.body import REFERENCE_SIDE
from napari_scsam.models.outline import connected_parts
from napari_scsam.models.self_prompting import prompts_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_scsam.core.arrays import FloatArray, Mask
    from napari_scsam.core.prompts import PointPrompt
    from napari_scsam.models.protocols import Embedding, RoundModels, SamBackend

# Dice of an outline with SAM's answer to it, below which the outline is doubtful; the pixels of a
# mask of SAM (256 on the longest side) by which the borders of the two differ at least, on average;
# and the part of its convex hull that it fills at least to be judged so. Chosen on four rounds of
# polyps and hearts (docs/explanation/suggestions.md).
AGREED, LEAST_SHIFT, SOLID = 0.93, 1.2, 0.6
# Components that are looked at, the largest first. Arbitrary.
MOST_PARTS = 8
# Points of a class without an outline, once doubtful components are questions. Arbitrary: as many
# as a person places.
MOST_ASKED = 3


def doubtful_as_questions(
    proposals: Iterable[PointPrompt],
    models: RoundModels,
    embedding: Embedding,
    odds: FloatArray,
) -> list[PointPrompt]:
    """Turn the points of doubtful components into questions, which have no outline.

    A component is doubtful if SAM, prompted by its loose box, its centre and its map, answers with
    another mask. That is a test only of shapes that SAM can outline from such prompts: thin and
    curved ones, such as the wall of a heart, are left alone, and so are small ones that differ by
    the width of a pixel.

    Parameters
    ----------
    proposals : iterable of PointPrompt
        Of one class. A component has one or more of kind 'confirm'.
    models : RoundModels
        If its round did not train SAM, nothing is doubted: the shipped SAM is a worse judge.
    embedding : Embedding
    odds : ndarray of shape (rows, cols), float32
        Log-odds of the class; the components are those above 0.

    Returns
    -------
    list of PointPrompt
        A doubtful component keeps the first of its points, of kind 'query'. Of the points without
        an outline at most `MOST_ASKED` are left, the first ones.
    """
    points = list(proposals)
    if "sam" not in models.trained or not any(p.kind == "confirm" for p in points):
        return points
    kept: list[PointPrompt] = []
    doubtful = _doubtful_parts(points, models.sam, embedding, odds)
    asked: set[int] = set()
    for point in points:
        part = _part_of(point, doubtful) if point.kind == "confirm" else None
        if part is None:
            kept.append(point)
        elif part not in asked:
            asked.add(part)
            kept.append(replace(point, kind="query"))
    left = [p for p in kept if p.kind != "confirm"][:MOST_ASKED]
    return [p for p in kept if p.kind == "confirm" or p in left]


def _doubtful_parts(
    points: list[PointPrompt], sam: SamBackend, embedding: Embedding, odds: FloatArray
) -> list[Mask]:
    class_id = points[0].class_id
    found = []
    for part in connected_parts(odds > 0, 1)[:MOST_PARTS]:
        if part.sum() < SOLID * convex_hull_image(part).sum():
            continue
        answer = sam.decode(embedding, prompts_for(part, odds), class_id=class_id).mask
        dice = 2 * (part & answer).sum() / (part.sum() + answer.sum())
        # Of two discs of radius r, one larger by a rim of width d: Dice is about 1 - d / r.
        if dice < AGREED and (1 - dice) * _radius(part) >= LEAST_SHIFT:
            found.append(part)
    return found


def _radius(part: Mask) -> float:
    """Radius of a disc with the same ratio of area to border, in pixels of SAM's masks."""
    border = part & ~ndimage.binary_erosion(part)
    ratio = float(part.sum()) / float(border.sum())
    radius: float = 2 * ratio * REFERENCE_SIDE / max(part.shape)
    return radius


def _part_of(point: PointPrompt, parts: list[Mask]) -> int | None:
    """Number of the component that a point is in; None if it is in none."""
    for number, part in enumerate(parts):
        (row, col) = pixels_of([(point.row, point.col)], part.shape)[0]
        if part[row, col]:
            return number
    return None
