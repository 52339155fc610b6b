"""Prompts on one plane, in the image's own pixels and napari's (row, col) order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_scsam.core.errors import InputError

Point = tuple[float, float]
Box = tuple[float, float, float, float]
Kind = Literal["confirm", "query", "missed", "negative"]
Origin = Literal["model", "person"]
State = Literal["proposed", "accepted", "edited", "rejected"]


@dataclass(frozen=True, eq=False)
class Prompts:
    """What SAM is asked, for one object on one plane.

    Attributes
    ----------
    points : sequence of (row, col)
        Floats in image pixels, pixel centres at whole numbers.
    labels : sequence of int
        1 inside, 0 outside; one for each point.
    box : (row0, col0, row1, col1), optional
        Inclusive pixel centres.
    mask : ndarray of shape (rows, cols), optional
        bool, or float32 logits, on the image's grid.

    Raises
    ------
    InputError
        If lengths differ, a number is not finite, a label is not 0 or 1, the box is
        upside down, or the mask is not two-dimensional.
    """

    points: Sequence[Point] = ()
    labels: Sequence[int] = ()
    box: Box | None = None
    mask: NDArray[np.bool_] | NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        points = tuple((float(r), float(c)) for r, c in self.points)
        labels = tuple(int(v) for v in self.labels)
        if len(points) != len(labels):
            raise InputError(
                f"Each point needs a label: got {len(points)} points and {len(labels)} labels."
            )
        if not np.isfinite(points).all():
            raise InputError("A point's row and column must be finite numbers.")
        if any(v not in (0, 1) for v in labels):
            raise InputError(f"A point's label is 1 (inside) or 0 (outside), got {labels}.")
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "labels", labels)
        if self.box is not None:
            object.__setattr__(self, "box", _checked_box(self.box))
        if self.mask is not None and np.ndim(self.mask) != 2:
            raise InputError(f"A mask prompt is (rows, cols), got shape {np.shape(self.mask)}.")

    @property
    def is_empty(self) -> bool:
        """True when there is nothing to ask."""
        return not self.points and self.box is None and self.mask is None

    def check_inside(self, shape: tuple[int, int]) -> None:
        """Raise InputError when a prompt lies outside an image of (rows, cols)."""
        rows, cols = shape
        for row, col in self.points:
            if not (-0.5 <= row <= rows - 0.5 and -0.5 <= col <= cols - 0.5):
                raise InputError(
                    f"The point ({row:g}, {col:g}) is outside the image of "
                    f"{rows} rows and {cols} columns."
                )
        if self.box is not None:
            r0, c0, r1, c1 = self.box
            if r1 < 0 or c1 < 0 or r0 > rows - 1 or c0 > cols - 1:
                raise InputError(
                    f"The box {self.box} is outside the image of {rows} rows and {cols} columns."
                )
        if self.mask is not None and self.mask.shape != shape:
            raise InputError(
                f"The mask prompt has shape {self.mask.shape}, but the image has {shape}."
            )


def _checked_box(box: Sequence[float]) -> Box:
    values = tuple(float(v) for v in box)
    if len(values) != 4 or not np.isfinite(values).all():
        raise InputError(f"A box is (row0, col0, row1, col1), got {tuple(box)}.")
    r0, c0, r1, c1 = values
    if r1 < r0 or c1 < c0:
        raise InputError(f"A box runs from its top left to its bottom right, got {values}.")
    if r1 == r0 and c1 == c0:
        raise InputError(f"The box {values} has no area: draw it around the object.")
    return (r0, c0, r1, c1)


@dataclass(frozen=True)
class PointPrompt:
    """One point on the canvas: proposed by the model, or put there by a person.

    Attributes
    ----------
    row, col : float
        Image pixels of the plane, pixel centres at whole numbers.
    class_id : int
        The class that it is a prompt for.
    positive : bool
        True for inside, False for outside.
    origin : {'model', 'person'}
        Who put it there; a proposal that a person changed is 'edited', still 'model'.
    kind : {'confirm', 'query', 'missed', 'negative'}
        Why the model proposes it (METHOD 6.3). A person's points are 'confirm' inside
        and 'negative' outside.
    confidence : float
        0..1; 1 for a person's.
    state : {'proposed', 'accepted', 'edited', 'rejected'}
        What a person has decided about it.
    round : int, optional
        The round whose models proposed it.
    """

    row: float
    col: float
    class_id: int
    positive: bool = True
    origin: Origin = "person"
    kind: Kind = "confirm"
    confidence: float = 1.0
    state: State = "accepted"
    round: int | None = None


@dataclass(frozen=True)
class PromptSet:
    """All prompts of one plane; a value, so that undo is keeping the old one."""

    points: tuple[PointPrompt, ...] = ()
    boxes: dict[int, Box] = field(default_factory=dict)

    def for_class(self, class_id: int) -> Prompts:
        """The prompts of one class as SAM takes them; rejected points are left out."""
        mine = [p for p in self.points if p.class_id == class_id and p.state != "rejected"]
        return Prompts(
            points=[(p.row, p.col) for p in mine],
            labels=[int(p.positive) for p in mine],
            box=self.boxes.get(class_id),
        )

    def class_ids(self) -> tuple[int, ...]:
        """Classes that have any prompt, ascending."""
        ids = {p.class_id for p in self.points if p.state != "rejected"} | set(self.boxes)
        return tuple(sorted(ids))
