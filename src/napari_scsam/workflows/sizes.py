"""Sizes of the labelled structures, and which of them are unlike the others."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_scsam.core.errors import ProjectError
from napari_scsam.core.labels import NOT_ANNOTATED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_scsam.project import ImageRecord, Project

# Outliers: a modified z-score above 3.5 (Iglewicz and Hoaglin, How to Detect and Handle Outliers,
# 1993), which makes sense for a few sizes at least; that number is arbitrary.
MOST_Z, FEWEST = 3.5, 5


@dataclass(frozen=True)
class Size:
    """The size of a class in a labelled image.

    Attributes
    ----------
    image : str
    class_id : int
    size : float
    unit : str
        'mm³', 'mm²' or 'px'.
    whole : bool
        Whether the image is labelled completely; otherwise the size is that of a part.
    outlier : bool
        Whether it is unlike the sizes of the class in other complete images.
    """

    image: str
    class_id: int
    size: float
    unit: str
    whole: bool
    outlier: bool = False


def sizes(project: Project) -> tuple[list[Size], list[str]]:
    """Measure every labelled image; images are not read, only their labels.

    Returns
    -------
    sizes : list of Size
    problems : list of str
        Labels that can't be read.
    """
    found, problems = [], []
    names = {record.id: record for record in project.images()}
    for image in project.labelled():
        try:
            found += _sizes_of(project, names[image])
        except ProjectError as exc:
            problems.append(str(exc))
    return _with_outliers(found), problems


def _sizes_of(project: Project, record: ImageRecord) -> list[Size]:
    label = project.label(record.id)
    if label is None:
        return []
    counts = np.bincount(label.ravel(), minlength=256)
    whole = not counts[NOT_ANNOTATED]
    voxel = math.prod(record.spacing) if record.spacing_known else 1.0
    unit = ("mm²" if label.ndim == 2 else "mm³") if record.spacing_known else "px"
    return [
        Size(record.id, c.id, float(counts[c.id]) * voxel, unit, whole)
        for c in project.classes
        if counts[c.id]
    ]


def _with_outliers(found: Sequence[Size]) -> list[Size]:
    groups: dict[tuple[int, str], list[float]] = defaultdict(list)
    for one in found:
        if one.whole:
            groups[one.class_id, one.unit].append(one.size)
    return [replace(one, outlier=_is_outlier(one, groups)) for one in found]


def _is_outlier(one: Size, groups: Mapping[tuple[int, str], Sequence[float]]) -> bool:
    others = groups.get((one.class_id, one.unit), ())
    return one.whole and len(others) >= FEWEST and _z(one.size, others) > MOST_Z


def _z(value: float, values: Sequence[float]) -> float:
    """Return the modified z-score of a logarithm of a size, as sizes differ by factors."""
    logs = np.log(values)
    centre = float(np.median(logs))
    spread = float(np.median(np.abs(logs - centre)))
    distance = abs(math.log(value) - centre)
    # 0.6745: of a normal distribution, over its standard deviation (Iglewicz and Hoaglin).
    if spread:
        return 0.6745 * distance / spread
    return math.inf if distance else 0.0
