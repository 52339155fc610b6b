"""How far two people agree on slices that both labelled without seeing the other's label."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_scsam.core.errors import ProjectError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.labels import NOT_ANNOTATED
from napari_scsam.core.volume import take_plane
from napari_scsam.project.opinions import (
    Opinion,
    added_versions,
    author_of,
    leading_to_current,
    opinions,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from napari_scsam.core.arrays import LabelArray
    from napari_scsam.project import CommitRecord, Project

NOBODY = "nobody named"


@dataclass(frozen=True)
class Compared:
    """One slice that two people labelled.

    Attributes
    ----------
    image : str
    plane : int
    first, second : str
        Who made the label that is current, and the one that is kept beside it.
    current, other : int
        Versions of the two.
    dice : mapping of int to float
        By class id, of the classes that one of them has; classes that only one of them judged
        are left out.
    """

    image: str
    plane: int
    first: str
    second: str
    current: int
    other: int
    dice: Mapping[int, float]


def compare_opinions(project: Project) -> tuple[list[Compared], list[str]]:
    """Compare the last second opinion of each person on each slice with the current label.

    Returns
    -------
    compared : list of Compared
    problems : list of str
        Labels that can't be read.
    """
    found: list[Compared] = []
    problems: list[str] = []
    current, undone = project.labelled(), project.events("revert")
    for image, made in opinions(project).items():
        if image in current:
            try:
                chain = leading_to_current(project, image, undone)
                authors = partial(author_of, chain, added=added_versions(project, image))
                found += _of_image(project, chain[-1], authors, made)
            except ProjectError as exc:
                problems.append(str(exc))
    return found, problems


def _of_image(
    project: Project,
    current: CommitRecord,
    author: Callable[[int], str | None],
    made: Sequence[Opinion],
) -> Iterator[Compared]:
    image, version = current.image, current.version
    last = {(opinion.commit.by, plane): opinion for opinion in made for plane in opinion.planes}
    label = project.label(image, version)
    for (second, plane), opinion in last.items():
        first = author(plane)
        if first is None or first == second or label is None:
            continue
        other = project.label(image, opinion.commit.version)
        judged = set(current.judged.on(plane)) & set(opinion.commit.judged.on(plane))
        dice = _dice(label, other, plane, sorted(judged))
        number = opinion.commit.version
        yield Compared(image, plane, first or NOBODY, second or NOBODY, version, number, dice)


def _dice(
    label: LabelArray, other: LabelArray | None, plane: int, classes: Sequence[int]
) -> dict[int, float]:
    if other is None:
        return {}
    one, two = (take_plane(a, Plane(0, plane), a.ndim) for a in (label, other))
    known = (one != NOT_ANNOTATED) & (two != NOT_ANNOTATED)
    found = {}
    for class_id in classes:
        a, b = (one == class_id) & known, (two == class_id) & known
        if a.any() or b.any():
            found[class_id] = float(2 * (a & b).sum() / (a.sum() + b.sum()))
    return found


def as_report(compared: Sequence[Compared], names: Mapping[int, str]) -> list[dict[str, Any]]:
    """Return the agreement of each pair of people as plain values: mean Dice of each class."""
    pairs: dict[tuple[str, str], list[Compared]] = defaultdict(list)
    for one in compared:
        first, second = sorted((one.first, one.second))
        pairs[first, second].append(one)
    return [
        {
            "annotators": list(pair),
            "slices": len(own),
            "classes": [
                {"class": names.get(c, str(c)), "slices": len(values), "dice": _mean(values)}
                for c, values in sorted(_by_class(own).items())
            ],
            "compared": [
                {"image": o.image, "plane": o.plane, "current": o.current, "beside": o.other}
                for o in own
            ],
        }
        for pair, own in sorted(pairs.items())
    ]


def _by_class(compared: Sequence[Compared]) -> dict[int, list[float]]:
    found: dict[int, list[float]] = defaultdict(list)
    for one in compared:
        for class_id, dice in one.dice.items():
            found[class_id].append(dice)
    return found


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
